"""The report page in a real browser: what is painted, what the controls do, what may not run."""

import json

import numpy as np
import pytest
from PIL import Image
from report_fixture import HOSTILE, NAMES, write_json, write_run
from report_viewer import LEFT, RIGHT, TAB, Viewer

from segkit.contract import UNKNOWN
from segkit.labels import LabelSpace
from segkit.report import write
from segkit.report.gallery import encode_mask
from segkit.targets import encode

LABELS = LabelSpace(NAMES)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Two runs: shapes with everything recorded, and one whose class names attack the page."""
    folder = tmp_path_factory.mktemp("runs")
    plain = write_run(folder / "plain", items=8)
    described = json.loads((plain / "gallery" / "gallery.json").read_text())
    # Item 0 is fully known, item 1 has something of everything, item 2 has no truth.
    described["items"][0]["annotated"] = [True] * 4
    described["items"][1]["annotated"] = [True, True, False, True]
    described["items"][2]["truth"] = None
    for number in (0, 1):
        mask = np.zeros((64, 64), np.uint8)
        mask[10:30, 10:30], mask[40:50, 20:60] = 1, 3
        mask[:4, :9] = 255 if number else 0
        Image.fromarray(mask).save(plain / "gallery" / described["items"][number]["mask"])
    write_json(plain / "gallery" / "gallery.json", described)
    hostile = write_run(folder / "hostile", ("background", *HOSTILE), items=2, truth=False)
    return {"plain": write(plain), "hostile": write(hostile)}


@pytest.fixture
def viewer(browser, pages):
    return Viewer(browser, pages["plain"])


MASKS = {
    "random": np.random.default_rng(0).integers(0, 256, (37, 53)),
    "one pixel": np.array([[255]]),
    "one run": np.full((300, 301), 7),
    "16 bit": np.random.default_rng(1).integers(0, 65536, (9, 4)),
    "borders of the code": np.repeat([0, 127, 128, 16383, 16384, 65535], 16384)[None],
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_decoding_undoes_encoding(viewer, mask):
    code = "return Array.from(decodeMask(arguments[0], arguments[1]))"
    assert viewer.run(code, encode_mask(mask), mask.size) == mask.ravel().tolist()


@pytest.mark.parametrize("size, words", [(5, "more pixels"), (7, "fewer pixels")])
def test_mask_of_the_wrong_size_is_refused(viewer, size, words):
    code = "try { decodeMask(arguments[0], arguments[1]) } catch (error) { return error.message }"
    assert words in viewer.run(code, encode_mask(np.arange(6)), size)


@pytest.mark.parametrize("page", ["plain", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runs_silently_and_alone(browser, pages, page, scheme):
    viewer = Viewer(browser, pages[page], scheme=scheme)
    viewer.go_to(1)
    assert viewer.errors() == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"] for e in events if e["method"] == "Network.requestWillBeSent"]
    schemes = {request["url"].split(":")[0] for request in sent}
    assert schemes <= {"file", "data"} and "file" in schemes
    assert sum(request["url"].startswith("file") for request in sent) == 1


def test_hostile_names_are_shown_and_not_run(browser, pages):
    viewer = Viewer(browser, pages["hostile"])
    assert viewer.run("return window.hacked") is None
    chips = "return [...document.querySelectorAll('.chip bdi')].map((node) => node.textContent)"
    assert viewer.run(chips) == ["background", *HOSTILE]
    caption = viewer.run("return document.getElementById('caption').textContent")
    assert all(name in caption for name in HOSTILE)


def test_policy_stops_what_slips_through(viewer):
    viewer.run(
        """document.body.insertAdjacentHTML("beforeend", '<img src=x onerror="hacked=1">')"""
    )
    viewer.run(
        "const s = document.body.appendChild(document.createElement('script'));"
        "s.text = 'hacked=1'"
    )
    assert viewer.run("return window.hacked") is None
    assert any("Content Security Policy" in message for message in viewer.errors())


@pytest.mark.parametrize("layer", ["truth", "prediction"])
def test_every_pixel_has_the_colour_of_its_class(viewer, layer):
    viewer.set([layer])
    ids, image = viewer.file(f"0000_{layer}.png"), viewer.file("0000.png")
    expected = np.where((ids > 0)[..., None], np.array(LABELS.palette)[ids], image)
    assert len(np.unique(ids)) > 1
    np.testing.assert_array_equal(viewer.middles()[0], expected)


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("style", ["fill", "outline"])
def test_hatching_is_where_the_target_is_unknown_and_nowhere_else(viewer, index, style):
    viewer.go_to(index)
    viewer.set(["mask"], style)
    hatched = viewer.middles()[1]
    viewer.press("u")
    changed = (hatched != viewer.middles()[1]).any(axis=(2, 3, 4))
    annotated = np.array([[True, True, index == 0, True]])
    target = encode(viewer.file(f"{index:04d}_mask.png")[None], annotated, LABELS)[0]
    unknown = (target == UNKNOWN).any(axis=-1)
    assert unknown.any() == (index == 1)
    np.testing.assert_array_equal(changed, unknown)


@pytest.mark.parametrize("layer", ["truth", "prediction"])
def test_only_the_annotation_is_hatched(viewer, layer):
    viewer.go_to(1)
    viewer.set([layer])
    before = viewer.pixels()
    viewer.press("u")
    np.testing.assert_array_equal(viewer.pixels(), before)


def test_legend_of_the_hatching_says_what_is_open(viewer):
    items = "[...document.querySelectorAll('#unknowns li')]"
    reasons = f"return {items}.map((item) => item.textContent.trim())"
    assert viewer.run(reasons) == []
    viewer.go_to(1)
    assert viewer.run(reasons) == [
        "background or one of: rectangle: nobody looked",
        "ignored: nobody judged these pixels",
    ]


def test_outline_paints_the_rim_and_spares_the_inside(viewer):
    viewer.set(["mask"], "outline")
    middles, blocks = viewer.middles()
    image = viewer.file("0000.png")
    np.testing.assert_array_equal(middles[14:26, 14:26], image[14:26, 14:26])
    rim = (blocks[10, 10:30] == LABELS.palette[1]).all(axis=-1)
    assert rim.any(axis=(1, 2)).all()


def test_without_opacity_only_the_image_is_left(viewer):
    viewer.set(["mask", "truth", "prediction"], opacity=0)
    np.testing.assert_array_equal(viewer.middles()[0], viewer.file("0000.png"))


def test_half_opacity_mixes_image_and_class(viewer):
    viewer.set(["mask"], opacity=50)
    mixed = viewer.file("0000.png")[15, 15] / 2 + np.array(LABELS.palette[1]) / 2
    np.testing.assert_allclose(viewer.middles()[0][15, 15], mixed, atol=2)


@pytest.mark.parametrize("key, id_", [("1", 1), ("3", 3)])
def test_digits_hide_classes(viewer, key, id_):
    viewer.set(["mask"])
    viewer.press(key)
    inside = viewer.file("0000_mask.png") == id_
    shown, image = viewer.middles()[0], viewer.file("0000.png")
    np.testing.assert_array_equal(shown[inside], image[inside])
    viewer.press(key)
    assert (viewer.middles()[0][inside] == LABELS.palette[id_]).all()


@pytest.mark.parametrize("key, layer", [("g", "mask"), ("t", "truth"), ("p", "prediction")])
def test_letters_toggle_layers(viewer, key, layer):
    pressed = f"return document.querySelector('[data-layer={layer}]').ariaPressed"
    viewer.set(["mask", "truth", "prediction"])
    before = viewer.pixels()
    viewer.press(key)
    assert viewer.run(pressed) == "false" and (before != viewer.pixels()).any()
    viewer.press(key)
    assert viewer.run(pressed) == "true" and (before == viewer.pixels()).all()


def test_arrows_and_buttons_turn_pages_and_wrap_around(viewer):
    caption = "return document.getElementById('caption').textContent"
    assert viewer.run(caption).startswith("1 of 8, scene_0000, annotated: background, ellipse")
    viewer.press(LEFT)
    viewer.wait_for(7)
    assert viewer.run(caption).startswith("8 of 8, scene_0007")
    viewer.browser.find_element("id", "next").click()
    viewer.wait_for(0)
    viewer.press(RIGHT)
    viewer.wait_for(1)
    assert "unknown: rectangle; mean IoU: no evidence" in viewer.run(caption)
    assert "scene_0001" in viewer.run("return document.getElementById('canvas').ariaLabel")


def test_layer_that_an_item_lacks_is_disabled_and_its_panel_hidden(viewer):
    state = """const button = document.querySelector('[data-layer="truth"]');
    const panel = document.querySelector('[data-panel="truth"]');
    return [button.disabled, panel.offsetParent === null]"""
    assert viewer.run(state) == [False, False]
    viewer.go_to(2)
    assert viewer.run(state) == [True, True]


def test_shortcuts_can_be_switched_off_and_leave_form_fields_alone(viewer):
    drawn = "return document.getElementById('canvas').dataset.drawn"
    viewer.browser.find_element("id", "opacity").send_keys(RIGHT)
    assert viewer.run(drawn) == "0"
    viewer.browser.find_element("id", "shortcuts").click()
    viewer.press(RIGHT)
    assert viewer.run(drawn) == "0"


@pytest.mark.parametrize("page", ["plain", "hostile"])
def test_phone_width_does_not_scroll_sideways(browser, pages, page):
    viewer = Viewer(browser, pages[page], width=360)
    assert viewer.run("return document.documentElement.scrollWidth") <= 360
    wide = """return [...document.querySelectorAll(".scroll")]
      .some((box) => box.scrollWidth > box.clientWidth)"""
    assert viewer.run(wide)  # the tables do, in their own boxes


def test_dark_scheme_changes_page_and_pictures(browser, pages):
    code = """return [getComputedStyle(document.body).backgroundColor,
      document.querySelector("picture img").currentSrc]"""
    light, dark = (Viewer(browser, pages["plain"], scheme=s).run(code) for s in ("light", "dark"))
    assert light[0] != dark[0] and light[1] != dark[1]


def test_keyboard_focus_is_seen_and_everything_has_a_name(viewer):
    viewer.press(TAB, TAB)
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert viewer.run(style) == "solid"
    nameless = """return [...document.querySelectorAll("button, select, input, canvas, img")]
      .filter((n) => !(n.ariaLabel || n.alt || n.textContent.trim() || n.labels?.length)).length"""
    assert viewer.run(nameless) == 0

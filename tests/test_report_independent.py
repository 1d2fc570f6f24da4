"""The page of a run whose classes overlap: packed from sets of classes, and in a real browser."""

import json

import independent_run
import numpy as np
import pytest
from PIL import Image
from report_viewer import Viewer
from selenium.webdriver.common.action_chains import ActionChains

from segkit.labels import LabelSpace
from segkit.report import facts, gallery, write

MANY = 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return independent_run.write(tmp_path_factory.mktemp("runs") / "some", classes=5)


@pytest.fixture(scope="module")
def pages(folder, tmp_path_factory):
    many = independent_run.write(tmp_path_factory.mktemp("runs") / "many", classes=MANY)
    return {"some": write(folder), "many": write(many)}


def described(folder):
    return json.loads((folder / "gallery" / "gallery.json").read_text())


def pack(folder, changed):
    labels = LabelSpace.from_json(folder / "labels.json")
    return gallery.pack(changed, folder / "gallery", labels)


def test_the_gallery_names_the_sets_of_each_image(folder):
    packed = pack(folder, described(folder))
    assert packed["left_out"] == [] and not packed["space"]["exclusive"]
    item = packed["items"][0]
    assert item["combinations"][0] == {"classes": [], "ignored": []}
    assert {"classes": [], "ignored": [0, 1, 2, 3, 4]} in item["combinations"]
    assert any(len(one["classes"]) > 1 for one in item["combinations"])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"combinations": None}, "need a list of combinations"),
        ({"combinations": [{"classes": [5], "ignored": []}]}, "no ids of classes from 0 to 4"),
        ({"combinations": [{"classes": [], "ignored": []}]}, "holds ids that labels.json"),
    ],
)
def test_an_item_with_other_sets_is_left_out_with_the_reason(folder, change, words):
    changed = described(folder)
    changed["items"][0] |= change
    packed = pack(folder, changed)
    assert len(packed["items"]) == len(changed["items"]) - 1
    assert words in packed["left_out"][0]["why"]


def test_the_table_of_pairs_has_shares_of_the_labelled_pixels(folder):
    blocks = json.loads((folder / "metrics.json").read_text())
    for matrix, block in zip(facts.confusions(blocks, exclusive=False), blocks.values()):
        assert matrix["mix_ups"] == []
        for row, scores in zip(matrix["rows"], block["per_class"]):
            right = next(cell for cell in row["cells"] if cell["right"])
            assert row["total"] == scores["pixels"] and right["share"] == scores["recall"]


def test_the_page_speaks_of_classes_that_overlap(pages):
    text = pages["some"].read_text()
    assert "Classes may overlap, so a row may add up to more" in text
    assert "each row adds up to 100 %" not in text and "stored as absent" in text


@pytest.fixture
def viewer(browser, pages):
    return Viewer(browser, pages["some"])


def sets_of(folder, number):
    """Layer -> planes (H, W, C) of an item, from its files."""
    item = described(folder)["items"][number]
    found = {}
    for layer in ("mask", "truth", "prediction"):
        ids = np.asarray(Image.open(folder / "gallery" / item[layer]))
        planes = np.zeros((*ids.shape, 5), bool)
        for place, one in enumerate(item["combinations"]):
            planes[np.ix_(*map(np.arange, ids.shape), one["classes"])] |= (ids == place)[..., None]
        found[layer] = planes
    return found


def canvas_at(viewer, size):
    """The canvas at the middle of each pixel of the image."""
    pixels = viewer.pixels()
    scale = pixels.shape[0] // size
    return pixels[scale // 2 :: scale, scale // 2 :: scale].astype(int)


def test_a_pixel_of_several_classes_has_their_mean_colour(viewer, folder):
    viewer.go_to(1)
    viewer.set(["prediction"])
    palette = np.array(LabelSpace.from_json(folder / "labels.json").palette)
    planes = sets_of(folder, 1)["prediction"]
    there = planes.sum(-1) > 0
    expected = (planes @ palette)[there] / planes.sum(-1)[there][:, None]
    assert np.abs(canvas_at(viewer, 32)[there] - expected).max() <= 1
    assert (planes.sum(-1) > 1).any()


def test_a_class_that_is_switched_off_leaves_the_colour_of_the_others(viewer, folder):
    viewer.go_to(1)
    viewer.set(["prediction"])
    palette = np.array(LabelSpace.from_json(folder / "labels.json").palette)
    planes = sets_of(folder, 1)["prediction"]
    off = int(planes[planes.sum(-1) > 1].sum(0).argmax())
    viewer.run(f"document.querySelector('[data-class=\"{off}\"]').click()")
    viewer.browser.execute_async_script("setTimeout(arguments[0], 50)")
    planes[..., off] = False
    there = planes.sum(-1) > 0
    expected = (planes @ palette)[there] / planes.sum(-1)[there][:, None]
    assert np.abs(canvas_at(viewer, 32)[there] - expected).max() <= 1


def test_pointing_names_every_class_of_each_layer(viewer, folder):
    names = LabelSpace.from_json(folder / "labels.json").names
    planes = sets_of(folder, 0)
    canvas = viewer.browser.find_element("id", "canvas")
    viewer.browser.execute_script("arguments[0].scrollIntoView()", canvas)
    ActionChains(viewer.browser).move_to_element(canvas).perform()
    viewer.browser.execute_async_script("setTimeout(arguments[0], 50)")
    text = viewer.run("return document.getElementById('pixel').textContent")
    row, column = (int(part.split()[1]) for part in text.split(":")[0].lower().split(", "))
    assert (row, column) in {(r, c) for r in (15, 16) for c in (15, 16)}
    for layer, said in (("truth", "truth"), ("prediction", "prediction"), ("mask", "given mask")):
        there = " + ".join(names[c] for c in np.flatnonzero(planes[layer][row, column]))
        assert f"{said}: {there or 'none'}" in text


def test_what_nobody_looked_for_and_what_is_ignored_is_hatched(viewer, folder):
    assert viewer.run("return document.getElementById('unknowns').textContent").count("ignored")
    viewer.set(["mask"])
    first = viewer.pixels()[:20].reshape(-1, 3)
    viewer.run("document.getElementById('unknown').click()")
    viewer.browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert (first != viewer.pixels()[:20].reshape(-1, 3)).any()


def chips(viewer):
    code = "[...document.querySelectorAll('[data-class]')].filter(n => !n.hidden)"
    return viewer.run(f"return {code}.map(n => n.title)")


def test_of_many_classes_those_of_the_image_are_offered_and_others_found(browser, pages):
    viewer = Viewer(browser, pages["many"])
    assert 2 <= len(chips(viewer)) < 15
    viewer.run("document.getElementById('only-here').click()")
    assert len(chips(viewer)) == MANY
    find = browser.find_element("id", "find")
    find.send_keys("STAR_0")
    found = chips(viewer)
    assert found and all(name.startswith("star_0") for name in found)
    viewer.run("document.getElementById('none').click()")
    pressed = "return document.querySelectorAll('[data-class][aria-pressed=\"true\"]').length"
    assert viewer.run(pressed) == MANY - len(found)
    assert viewer.errors() == []


def test_few_classes_need_no_sieve(viewer):
    assert viewer.run("return document.getElementById('find')") is None

"""The page of an evaluation in a real browser: what it says, what it paints, what may not run."""

import json

import numpy as np
import pytest
from evaluated import Discs, Oracle
from report_fixture import HOSTILE
from report_viewer import RIGHT, TAB, Viewer

from segkit.evaluation import evaluate, files
from segkit.labels import LabelSpace
from segkit.report import evaluation_page

SETTINGS = {
    "runs": ["runs/a"],
    "data": "cells & <i>more</i>",
    "own": False,
    "unit": "mm",
    "pixel_size": [0.5, 0.25],
    "tolerance": 2.0,
    "tta": "flips",
    "precision": "auto",
    "bootstrap": 100,
    "level": 0.9,
    "worst": 24,
    "decisions": None,
}
TUNED = {"temperature": 1.5, "thresholds": {"background": 0.5}, "score": "iou"}


def write(folder, source, oracle, **settings):
    """A folder as `segkit evaluate` leaves it."""
    found = evaluate(oracle, source, bootstrap=settings.get("bootstrap", 100), level=0.9)
    blocks, labels = found.to_dict("val"), source.labels
    units = {"unit_of_intervals": found.unit, "units": found.units}
    blocks["val"]["settings"] = SETTINGS | units | settings
    columns = {"name": found.names, "group": found.groups, "source": found.origins}
    folder.mkdir()
    files.write_json(folder / "metrics.json", blocks)
    files.write_images(folder / "images.csv", found.known, found.truth, columns, source.labels)
    worst = found.worst[: blocks["val"]["settings"]["worst"]]
    files.write_worst(folder / "worst", worst, labels, "val")
    return evaluation_page.write(folder)


class Named(Discs):
    def __getitem__(self, index):
        return super().__getitem__(index)._replace(name=f"{HOSTILE[index % 2]} {index}")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Shapes that are predicted more and more beside their places, and names that attack."""
    folder = tmp_path_factory.mktemp("evaluations")
    shifted = lambda index: 5 - index  # noqa: E731
    plain = Discs(groups=["p1", "p1", "p2", "p2", "p3", "p3"], truth=True)
    labels = LabelSpace(["background", *HOSTILE[:2]])
    hostile = Named(4, groups=[HOSTILE[0]] * 2 + [HOSTILE[2]] * 2, labels=labels)
    return {
        "plain": write(folder / "plain", plain, Oracle(shift=shifted, sure=0.8), decisions=TUNED),
        "hostile": write(folder / "hostile", hostile, Oracle(labels, shift=shifted)),
        "one": write(folder / "one", Discs(1), Oracle(), worst=0),
    }


@pytest.fixture
def viewer(browser, pages):
    return Viewer(browser, pages["plain"])


def texts(viewer, selector):
    code = "return [...document.querySelectorAll(arguments[0])].map((n) => n.textContent.trim())"
    return [" ".join(text.split()) for text in viewer.run(code, selector)]


def test_the_numbers_of_the_files_are_on_the_page(viewer, pages):
    block = json.loads((pages["plain"].parent / "metrics.json").read_text())["val"]
    row = block["per_class"][1]
    (low, high), (first, second) = row["iou_interval"], texts(viewer, "#scores tbody tr")[1:3]
    assert f"{row['iou']:.3f} {low:.3f} to {high:.3f}" in first and "nucleus" in second
    assert "90 %: " in " ".join(texts(viewer, ".tiles small"))
    cells = texts(viewer, "#outlines tbody tr:nth-child(2) td")[:3]
    surface, far = row["surface_dice"], row["hausdorff_95"]
    assert cells == [f"{surface['median']:.3f}", f"{surface['mean']:.3f}", f"{far['median']:.2f}"]
    assert texts(viewer, "#parts tbody th") == ["p1", "p2", "p3"]
    setup = " ".join(texts(viewer, "#setup dd"))
    assert "0.5 x 0.25 mm" in setup and "1.5" in setup and "background 0.5 (tuned for iou)" in setup


def test_what_there_is_no_evidence_for_is_a_dash_and_said(pages):
    text = pages["one"].read_text()
    assert "they need two images, and there is 1." in text
    assert "None is shown: none was asked for." in text and 'id="parts"' not in text
    assert 'title="No evidence' in text


def test_worst_images_are_listed_from_the_worst_on_and_open_below(viewer):
    names = texts(viewer, "#worst bdi")
    assert names == [f"disc_{index}" for index in range(6)]
    buttons = viewer.browser.find_elements("css selector", "[data-item]")
    for wanted in (4, 1):
        buttons[wanted].click()
        viewer.wait_for(wanted)
        assert f"{wanted + 1} of 6, disc_{wanted}," in " ".join(texts(viewer, "#caption"))
    viewer.press(RIGHT)
    viewer.wait_for(2)
    buttons[0].click()
    viewer.wait_for(0)


def test_prediction_and_mask_are_painted(viewer):
    """The canvas has 38 pixels for each of the 16 rows: image, mask and prediction differ."""
    viewer.set([])
    bare = viewer.pixels()
    viewer.set(["mask"])
    mask = viewer.pixels()
    viewer.set(["prediction"])
    prediction = viewer.pixels()
    assert (bare != mask).any() and (mask != prediction).any() and (bare != prediction).any()
    assert bare.shape == (16 * 38, 20 * 38, 3)


@pytest.mark.parametrize("page", ["plain", "hostile"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_runs_silently_and_alone(browser, pages, page, scheme):
    viewer = Viewer(browser, pages[page], scheme=scheme)
    viewer.go_to(1)
    assert viewer.errors() == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [r["url"][:5] for r in sent if not r["url"].startswith("data:")] == ["file:"]
    assert viewer.run("return window.hacked") is None


def test_hostile_names_are_text(browser, pages):
    viewer = Viewer(browser, pages["hostile"])
    assert set(texts(viewer, ".chip bdi")) == {"background", *HOSTILE[:2]}
    assert texts(viewer, "h1 bdi") == ["cells & <i>more</i>"]
    assert {"".join(name.split()) for name in texts(viewer, "#parts tbody th")} == {
        "".join(name.split()) for name in (HOSTILE[0], HOSTILE[2])
    }


@pytest.mark.parametrize("page", ["plain", "hostile"])
def test_phone_width_does_not_scroll_sideways(browser, pages, page):
    viewer = Viewer(browser, pages[page], width=360)
    assert viewer.run("return document.documentElement.scrollWidth") <= 360


def test_dark_scheme_has_pictures_of_its_own(browser, pages):
    code = """return [...document.querySelectorAll("picture img")].map((n) => n.currentSrc)"""
    light, dark = (Viewer(browser, pages["plain"], scheme=s).run(code) for s in ("light", "dark"))
    assert len(light) == 2 and not set(light) & set(dark)


def test_keyboard_focus_is_seen_and_everything_has_a_name(viewer):
    viewer.press(TAB, TAB)
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert viewer.run(style) == "solid"
    nameless = """return [...document.querySelectorAll("button, select, input, canvas, img")]
      .filter((n) => !(n.ariaLabel || n.alt || n.textContent.trim() || n.labels?.length)).length"""
    assert viewer.run(nameless) == 0


def test_a_damaged_file_is_named(pages, tmp_path):
    (tmp_path / "metrics.json").write_text("[")
    with pytest.raises(ValueError, match="metrics.json is not valid JSON"):
        evaluation_page.write(tmp_path)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(ValueError, match="metrics.json must hold names with values. segkit eval"):
        evaluation_page.write(tmp_path)


def test_bars_of_the_intervals_end_where_the_numbers_do(viewer, pages):
    block = json.loads((pages["plain"].parent / "metrics.json").read_text())["val"]
    code = """const cell = document.querySelector("#scores .range");
    return ["--low", "--high", "--at"].map((n) => Number(cell.style.getPropertyValue(n)));"""
    row = block["per_class"][0]
    np.testing.assert_allclose(viewer.run(code), [*row["iou_interval"], row["iou"]])

"""The page of a check in a real browser: masks are painted, nothing else runs or is loaded."""

import json

import numpy as np
import pytest

from segkit.data.checks.specimens import BARE, specimen
from segkit.labels import LabelSpace
from segkit.report import check_page

LABELS = LabelSpace(
    ["background", "cell", "<b>nucleus</b>"], palette=[[0] * 3, [255, 0, 0], [0, 255, 0]]
)
PLANES = LabelSpace(["one", "two"], background=None, exclusive=False)


def result(problems=()):
    rows = [
        {"name": name, "annotated": 3, "present": 2, "verified_absent": 1, "unknown": 1}
        | {"pixels": 10, "share": 0.2}
        for name in LABELS.names
    ]
    return {
        "name": "cells",
        "verdict": "Training can begin.",
        "errors": sum(p["fatal"] for p in problems),
        "warnings": sum(not p["fatal"] for p in problems),
        "images": 4,
        "images_found": 6,
        "problems": list(problems),
        "splits": {"train": {"images": 4, "classes": rows}},
        "data_sets": [
            {"name": "cells", "root": "r" * 300, "images": 4, "sizes": {"9x9": 4}}
            | {"dtypes": {"uint8": 4}, "channels": [{"low": 0.0, "high": 255.0, "mean": 9.5}]}
        ],
        "samples": [],
    }


def samples():
    image = np.full((40, 30, 3), 200, np.uint8)
    ids = np.zeros((40, 30), np.uint8)
    ids[:20], ids[20:, :15] = 1, 255
    looked = np.ones(3, bool)
    planes = np.zeros((40, 30, 2), np.uint8)
    planes[:, :20, 0], planes[:10, :, 1] = 1, 1
    whole = specimen("train/a", "cell covers 50 %", False, image, ids, looked, LABELS)
    grey = image[..., :1].astype("float32") / 255
    return [whole, specimen("x/b", "odd", True, grey, planes, np.ones(2, bool), PLANES)]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    problems = [
        {"kind": "bad <i>file</i>", "path": "p", "text": f"<script>x</script> {n}", "fatal": n < 12}
        for n in range(14)
    ]
    path = tmp_path_factory.mktemp("check") / "check.html"
    return check_page.write(path, result(problems), LABELS, samples())


def test_independent_classes_lie_on_each_other():
    """Below, the larger class; the smaller one covers it, and elsewhere there is none."""
    mask = samples()[1].mask
    assert (mask[20:, :20] == 0).all() and (mask[:10] == 1).all() and (mask[10:, 20:] == BARE).all()


def test_large_images_are_shrunk():
    image, ids = np.zeros((1000, 500, 1), np.uint8), np.zeros((1000, 500), np.uint8)
    shrunk = specimen("a", "", False, image, ids, np.ones(3, bool), LABELS)
    assert shrunk.image.shape == (256, 128, 3) and shrunk.mask.shape == (256, 128)


def test_two_channels_and_five():
    ids = np.zeros((4, 4), np.uint8)
    two = specimen("a", "", False, np.full((4, 4, 2), 9, np.uint8), ids, np.ones(3, bool), LABELS)
    assert two.image[0, 0].tolist() == [9, 9, 0]
    stack = np.arange(5, dtype=np.uint8) * np.ones((4, 4, 1), np.uint8)
    five = specimen("a", "", False, stack, ids, np.ones(3, bool), LABELS)
    assert five.image[0, 0].tolist() == [0, 1, 2]


def test_problems_are_text_in_groups(page):
    text = page.read_text()
    assert "<script>x" not in text and "&lt;script&gt;x&lt;/script&gt; 0" in text
    assert "Bad &lt;i&gt;file&lt;/i&gt;, 12 times" in text and "And 2 more" in text
    assert text.index(">Error<") < text.index(">Warning<")
    assert "<dd>4 of 6 usable</dd>" in text


def problem(kind, path, text, fatal=True):
    return {"kind": kind, "path": path, "text": text, "fatal": fatal}


def test_what_differs_in_the_file_alone_is_said_once():
    alike = [problem("odd", f"m/{n}.png", f"m/{n}.png shows cell. Look.") for n in range(6)]
    other = problem("odd", "m/9.png", "m/9.png shows nucleus. Look.")
    (group,) = check_page.grouped([*alike[:3], other, *alike[3:]], 2)
    assert group["texts"] == ["m/0.png shows cell. Look. Likewise m/1.png, m/2.png and 3 more."] + [
        other["text"]
    ]
    assert (group["count"], group["more"]) == (7, 0)
    (group,) = check_page.grouped([*alike, other], 1)
    assert (len(group["texts"]), group["more"]) == (1, 1)
    (group,) = check_page.grouped([problem("odd", "", "Nothing.")] * 2, 3)
    assert group["texts"] == ["Nothing."] * 2


def test_causes_go_before_what_follows_from_them():
    kinds = ["empty split", "image that cannot be used", "splits", "leak"]
    found = check_page.grouped([problem(kind, "", kind) for kind in kinds], 3)
    assert [group["kind"] for group in found] == [kinds[1], kinds[3], kinds[0], kinds[2]]


@pytest.mark.parametrize("width", [1200, 390])
def test_masks_are_painted_and_nothing_is_asked_for(browser, page, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    code = """const done = arguments[0];
      (function look() {
        const all = [...document.querySelectorAll("[data-sample]")];
        if (all.every((canvas) => canvas.dataset.drawn)) done(all.length);
        else setTimeout(look, 10);
      })();"""
    assert browser.execute_async_script(code) == 2
    pixel = """const [number, x, y] = arguments;
      const canvas = document.querySelector(`[data-sample="${number}"]`);
      const data = canvas.getContext("2d").getImageData(x, y, 1, 1).data;
      return Array.from(data).slice(0, 3);"""
    red, green, blue = browser.execute_script(pixel, 0, 60, 30)  # six pixels a pixel of the mask
    assert red > 220 and green == blue < 80
    assert browser.execute_script(pixel, 0, 150, 200) == [200, 200, 200]  # background is bare
    wide = "return document.documentElement.scrollWidth"
    assert browser.execute_script(wide) <= width
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert [text for text in said if "readback" not in text] == []  # which this test does itself
    log = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in log if e["method"] == "Network.requestWillBeSent"
    ]
    assert [url[:5] for url in asked if not url.startswith("data:")] == ["file:"]

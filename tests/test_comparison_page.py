"""The page of a comparison in a real browser: sorted, painted, silent, and safe."""

import json

import numpy as np
import pytest
from comparison_runs import block, dump, write_gallery, write_run
from PIL import Image

from segkit.comparison import run
from segkit.config import compose
from segkit.labels import LabelSpace
from segkit.report.comparison_gallery import LONGER_SIDE, pack

HOSTILE = '<script>window.hacked = 1</script>"><img src=x onerror="window.hacked = 1">'
TURNED = "O'Brien & \u202egnissim {{ 7 * 7 }} </script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A sweep with everything, and one whose names attack the page."""
    folder = tmp_path_factory.mktemp("compared")
    for number, loss in enumerate(("cross_entropy", "tversky", "sum")):
        for width in (8, 16):
            for seed in (0, 1):
                mean = 0.4 + 0.1 * number + 0.01 * seed + 0.001 * width * (number + 1) * (seed + 1)
                name = f"plain/{loss}_{width}_{seed}"
                scores = (mean + 0.2, mean, None)
                write_run(
                    folder / name, scores, loss=loss, seed=seed, model__filters=width, images=3
                )
    names = ("background", "<b>cell</b> & co", "nucleus")
    for number in range(2):
        loss = {"_target_": "x", "name": HOSTILE if number else TURNED}
        write_run(folder / f"hostile/{number}", names=names, loss=loss, images=2)
        gallery = folder / f"hostile/{number}/gallery/gallery.json"
        content = json.loads(gallery.read_text())
        content["items"][0]["name"] = HOSTILE
        dump(gallery, content)
    (folder / "hostile/3").mkdir()
    dump(folder / "hostile/3/trial.json", {"status": HOSTILE, "error": HOSTILE})
    made = {}
    for name in ("plain", "hostile"):
        run(compose("compare", [f"runs=[{folder / name}]"]))
        made[name] = folder / name / "comparison" / "comparison.html"
    return made


def load(browser, path, width=1200, scheme="light"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
    code = """const done = arguments[0];
      (function look() {
        const all = [...document.querySelectorAll("[data-cell]")];
        if (all.every((canvas) => canvas.dataset.drawn)) done(all.length);
        else setTimeout(look, 10);
      })();"""
    browser.set_script_timeout(10)
    return browser.execute_async_script(code)


@pytest.mark.parametrize("page", ["plain", "hostile"])
@pytest.mark.parametrize("width, scheme", [(1200, "light"), (390, "dark")])
def test_runs_silently_alone_and_within_its_width(browser, pages, page, width, scheme):
    painted = load(browser, pages[page], width, scheme)
    assert painted == {"plain": 3 * (1 + 6), "hostile": 2 * (1 + 2)}[page]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script("return window.hacked || null") is None
    assert browser.get_log("browser") == []
    log = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [
        e["params"]["request"]["url"] for e in log if e["method"] == "Network.requestWillBeSent"
    ]
    assert [url[:5] for url in asked if not url.startswith("data:")] == ["file:"]


def test_hostile_names_are_read_and_not_run(browser, pages):
    load(browser, pages["hostile"])
    text = browser.execute_script("return document.body.textContent")
    assert HOSTILE in text and "{{ 7 * 7 }}" in text and "<b>cell</b> & co" in text
    assert browser.execute_script("return document.querySelectorAll('b, img[src=x]').length") == 0


def test_pressing_a_heading_sorts(browser, pages):
    load(browser, pages["plain"])
    column = """return [...document.querySelectorAll("#groups tbody tr")]
      .map((row) => row.cells[arguments[0]].textContent.trim())"""
    press = "document.querySelectorAll('#groups thead th')[arguments[0]].firstElementChild.click()"
    assert browser.execute_script(column, 0) == list("123456")
    browser.execute_script(press, 4)  # the score
    assert browser.execute_script(column, 0) == list("654321")
    browser.execute_script(press, 4)
    assert browser.execute_script(column, 0) == list("123456")
    browser.execute_script(press, 2)  # the loss
    losses = browser.execute_script(column, 2)
    assert losses == sorted(losses) and len(set(losses)) == 3
    headings = "return document.querySelectorAll('#groups th')[2].ariaSort"
    assert browser.execute_script(headings) == "ascending"
    browser.execute_script(press, 8)  # p: the baseline has none and stays last
    assert browser.execute_script(column, 6)[-1] == "baseline"


def test_predictions_are_painted_over_their_image(browser, pages):
    load(browser, pages["plain"])
    pixel = """const [cell, x, y] = arguments;
      const canvas = document.querySelector(`[data-cell="${cell}"]`);
      const scale = canvas.width / 48;
      const data = canvas.getContext("2d").getImageData((x + 0.5) * scale, (y + 0.5) * scale, 1, 1);
      return Array.from(data.data).slice(0, 3)"""
    folder = pages["plain"].parent.parent / "cross_entropy_8_0" / "gallery"
    image = np.asarray(Image.open(folder / "0000.png")).astype(int)
    cell = np.array(LabelSpace.from_json(folder.parent / "labels.json").palette[1])
    expected = np.round(0.6 * cell + 0.4 * image[30, 40])
    assert np.abs(browser.execute_script(pixel, "0:0", 40, 30) - expected).max() <= 2
    bare = browser.execute_script(pixel, "0:given", 40, 30)  # background there
    assert np.abs(np.array(bare) - image[30, 40]).max() <= 1


def test_what_the_page_says(pages):
    text = pages["plain"].read_text()
    assert "Best: filters=16, MarginalCrossEntropy + MarginalDice, with mean_iou" in text
    assert text.count('class="track"') == 6 + 3 + 2  # groups, losses, widths
    assert "no evidence" in text  # of the third class, which nobody annotated
    assert "that with seed 0" in text
    assert "Without scores" not in text and "Without scores" in pages["hostile"].read_text()


def test_images_of_other_seeds_are_not_put_side_by_side(tmp_path):
    """They have the same names and are others."""
    runs = [("a", write_run(tmp_path / "a", images=2)), ("b", write_run(tmp_path / "b", images=2))]
    runs.append(("c", write_run(tmp_path / "c", seed=1, images=2)))
    packed = pack(runs, 6)
    assert packed["models"] == ["a", "b"] and packed["left_out"] == ["c"]
    assert [item["name"] for item in packed["items"]] == ["scene_0000", "scene_0001"]


def test_many_and_large_images_are_sampled_and_shrunk(tmp_path):
    folder = write_run(tmp_path / "a")
    write_gallery(folder, 5, 0, (500, 1000))
    packed = pack([("a", folder)], 2)
    assert [item["name"] for item in packed["items"]] == ["scene_0000", "scene_0004"]
    assert (packed["items"][0]["width"], packed["items"][0]["height"]) == (LONGER_SIDE, 160)
    assert pack([("a", folder)], 0) is None


@pytest.mark.parametrize("file", ["../../secret.png", "/etc/passwd", "missing.png", 3, None])
def test_galleries_show_nothing_but_their_own_files(tmp_path, file):
    write_run(tmp_path / "a", images=2)
    Image.new("RGB", (48, 40)).save(tmp_path / "secret.png")
    path = tmp_path / "a" / "gallery" / "gallery.json"
    content = json.loads(path.read_text())
    content["items"][0]["image"] = file
    dump(path, content)
    packed = pack([("a", tmp_path / "a")], 6)
    assert [item["name"] for item in packed["items"]] == ["scene_0001"]
    (tmp_path / "a" / "gallery" / "0001.png").unlink()
    (tmp_path / "a" / "gallery" / "0001.png").symlink_to(tmp_path / "secret.png")
    assert pack([("a", tmp_path / "a")], 6) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"items": [3]}', '{"items": 3}', "{}"])
def test_without_a_gallery_the_page_does_without(tmp_path, text):
    write_run(tmp_path / "a", images=1)
    (tmp_path / "a" / "gallery" / "gallery.json").write_text(text)
    assert pack([("a", tmp_path / "a")], 6) is None


def test_pages_of_many_groups_stay_small(tmp_path):
    names = ["background", *(f"class {n}" for n in range(60))]
    for number in range(230):
        found = {"val": block([0.001 * number] * 61, names)}
        write_run(tmp_path / str(number), names=names, blocks=found, trainer__x=f"v{number:04d}")
    run(compose("compare", [f"runs=[{tmp_path}]"]))
    page = (tmp_path / "comparison" / "comparison.html").read_text()
    assert "The best 201 of 230 groups" in page and "21 more classes" in page
    assert len(page) < 1_500_000
    assert len((tmp_path / "comparison" / "comparison.csv").read_text().splitlines()) == 231

"""The review page in a real browser: decided by keyboard alone, saved, and trained on."""

import csv
import json
import shutil
import time

import numpy as np
import pytest
from audited import empty, probabilities, square, write_folder
from report_viewer import Viewer
from small_runs import write_run

from segkit import audit, predictor, training
from segkit.config import compose
from segkit.labels import LabelSpace

NAMES = ["background", "cell", '<img src=x onerror="window.hacked=1">']
HOSTILE = 'a"b&lt;i&gt;, c'  # a stem that could end an attribute, with a comma
STEMS = [HOSTILE, *(f"image_{i}" for i in range(1, 10))]


class Reader:
    """A model that reads the ids off the grey of an image."""

    def __init__(self, labels):
        self.labels = labels

    def each(self, images):
        for image in images:
            ids = np.rint(image[..., 0] / 80).astype(int)
            yield probabilities(ids, self.labels, 0.94)


def truth(number):
    ids = square(empty((32, 32)), 1, 3 + number, 4, 8)
    return square(ids, 2, 18, 18, 7) if number % 2 else ids


def mask(number):
    """Cells are missing in images 2 and 5, and nuclei in 1; in 7 a cell was drawn as nucleus."""
    ids = truth(number)
    if number in (2, 5):
        ids[ids == 1] = 0
    if number == 1:
        ids[ids == 2] = 0
    if number == 7:
        ids[ids == 1] = 2
    return ids


def options(root, policy="manifest"):
    data = compose("train", ["data=folder", f"data.root={root}", f"data.annotated={policy}"]).data
    return {**data, "size": None, "cache": "none"}


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """A data set, and the folder of its audit; the column group ties images 8 and 9."""
    folder = tmp_path_factory.mktemp("audit")
    second = NAMES[2].replace('"', '""')
    rows = ["image,annotated,group,weight"]
    rows += [f'image_{i},"cell;{second}",{"pair" if i > 7 else ""},' for i in range(1, 9)]
    rows += [f'"{HOSTILE.replace(chr(34), chr(34) * 2)}",cell,,0.5', "image_9,,pair,"]
    masks = [(truth(i), mask(i)) for i in range(10)]
    root = write_folder(folder / "set", STEMS, masks, "\n".join(rows), NAMES)
    run = write_run(folder / "run", data=_plain(options(root)), names=NAMES)
    with pytest.MonkeyPatch.context() as patch, pytest.warns(UserWarning, match="contradiction"):
        labels = LabelSpace(NAMES)
        patch.setattr(predictor, "load", lambda paths, **_: Reader(labels))
        audit.run(compose("audit", [f"run={run}", "audit.folds=0", f"output={folder / 'out'}"]))
    return root, folder / "out"


def _plain(options):
    return json.loads(json.dumps(options, default=dict))


class Desk(Viewer):
    """The page, and what its keys do."""

    def state(self):
        return self.run("return document.getElementById('what').textContent")

    def decide_all(self, decisions):
        """{(image, class, kind): key} for each card, in their order."""
        items = self.run("return JSON.parse(document.getElementById('audit-data').textContent)")
        for number, item in enumerate(items["items"]):
            self.wait_for(number)
            key = (item["image"], NAMES[item["class"]], item["kind"])
            self.press(decisions.get(key, "j"))
        return items


def downloaded(browser, folder, name):
    until = time.monotonic() + 10
    while not (folder / name).exists():
        assert time.monotonic() < until, list(folder.iterdir())
        time.sleep(0.02)
    return (folder / name).read_text()


@pytest.fixture
def desk(browser, audited, tmp_path):
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    viewer = Desk(browser, audited[1] / "audit.html")
    viewer.run("localStorage.clear()")
    return Desk(browser, audited[1] / "audit.html")


def test_what_is_missing_comes_first(audited):
    rows = list(csv.DictReader((audited[1] / "audit.csv").read_text().splitlines()))
    missing = [r for r in rows if r["kind"] == "missing" and float(r["score"]) > 0.5]
    found = {(r["image"], r["class"]) for r in missing}
    expected = {
        ("image_2", "cell"),
        ("image_5", "cell"),
        ("image_1", NAMES[2]),
    }
    assert found == expected
    wrong = [r for r in rows if r["kind"] == "wrong_class"]
    assert [(r["image"], r["says"]) for r in wrong] == [("image_7", "cell")]


def test_a_review_by_keyboard_becomes_a_manifest_that_trains(desk, audited, tmp_path):
    root, _ = audited
    second = NAMES[2]
    decisions = {
        ("image_2", "cell", "missing"): "m",
        ("image_5", "cell", "missing"): "m",
        ("image_1", second, "missing"): "m",
        (HOSTILE, second, "missing"): "a",
        ("image_4", second, "missing"): "d",
        ("image_7", second, "wrong_class"): "m",
    }
    desk.decide_all(decisions)
    desk.press("s")
    text = downloaded(desk.browser, tmp_path, "annotations.csv")
    rows = {row["image"]: row for row in csv.DictReader(text.splitlines())}
    assert set(rows) == set(STEMS)  # every image, whatever the policy says of those left out
    assert rows["image_2"]["annotated"] == second and rows["image_1"]["annotated"] == "cell"
    assert rows[HOSTILE]["annotated"] == "*" and rows["image_4"]["annotated"] == "*"
    assert rows["image_9"]["annotated"] == ""
    assert [rows[s]["weight"] for s in (HOSTILE, "image_7", "image_3")] == ["0.5", "0", "1"]
    assert rows["image_8"]["group"] == rows["image_9"]["group"] == "pair"
    assert {row["split"] for row in rows.values()} == {"train", "val"}

    copy = shutil.copytree(root, tmp_path / "set")
    shutil.copy(tmp_path / "annotations.csv", copy / "annotations.csv")
    small = ["model=unet_small", "model.filters=2", "model.depth=1", "trainer.epochs=1"]
    given = ["data=folder", f"data.root={copy}", "data.size=32", "data.cache=none", *small]
    with pytest.warns(UserWarning, match="contradiction"):
        training.run(compose("train", [*given, f"output={tmp_path / 'run'}"]))
    taken = {
        r["image"]: r["split"]
        for r in csv.DictReader((tmp_path / "run/splits.csv").read_text().splitlines())
    }
    assert taken == {name: row["split"] for name, row in rows.items()}


@pytest.fixture
def twins(tmp_path, monkeypatch):
    """Two data sets, in each of which train and val have an image of the same name."""
    pages = []
    monkeypatch.setattr(predictor, "load", lambda paths, **_: Reader(LabelSpace(NAMES)))
    for name in ("one", "two"):
        root = tmp_path / name / "set"
        for n, split in enumerate(("train", "val"), start=1):
            write_folder(root / split, ["a"], [(truth(n), mask(n))], names=NAMES)
        (root / "train/classes.json").rename(root / "classes.json")
        run = write_run(tmp_path / name / "run", data=_plain(options(root, "all")), names=NAMES)
        audit.run(compose("audit", [f"run={run}", "audit.folds=0"]))
        text = (run / "audit/audit.html").read_text()
        content = text.partition('id="audit-data">')[2].partition("</script>")[0]
        pages.append((run / "audit/audit.html", json.loads(content)))
    return pages


def test_a_decision_is_about_one_image_of_one_data_set(twins, browser, tmp_path):
    where = {"behavior": "allow", "downloadPath": str(tmp_path)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    desk = Desk(browser, twins[0][0])
    desk.run("localStorage.clear()")
    desk = Desk(browser, twins[0][0])
    assert sorted({item["key"] for item in twins[0][1]["items"]}) == ["train/a", "val/a"]
    desk.press("m", "s")
    rows = list(csv.DictReader(downloaded(browser, tmp_path, "annotations.csv").splitlines()))
    assert sorted(row["annotated"] == "*" for row in rows) == [False, True]
    assert twins[0][1]["guard"] != twins[1][1]["guard"]  # one browser may keep both


def test_decisions_survive_a_reload_and_can_be_undone(desk, browser, audited):
    progress = "return document.getElementById('progress').textContent"
    desk.press("m", "a")
    assert desk.run(progress).startswith("2 of ")
    again = Desk(browser, audited[1] / "audit.html")
    assert again.run(progress).startswith("2 of ")
    pressed = "return document.querySelector('.choices [aria-pressed=true]').id"
    assert again.run(pressed) == "missing"
    again.press("d", "u")  # only this one
    assert again.run(pressed) == "missing" and again.run(progress).startswith("2 of ")
    again.run("localStorage.setItem(Object.keys(localStorage)[0], 'no JSON')")
    broken = Desk(browser, audited[1] / "audit.html")
    assert broken.run(progress).startswith("0 of ")
    assert "cannot be read" in broken.run(
        "return document.getElementById('audit-error').textContent"
    )


def test_keys_move_and_filter(desk):
    first = desk.state()
    desk.press("j")
    second = desk.state()
    desk.press("k")
    assert desk.state() == first != second
    desk.press("t")
    count = "return [...document.querySelectorAll('.card')].filter((c) => !c.hidden).length"
    all_, missing = desk.run("return document.querySelectorAll('.card').length"), desk.run(count)
    assert missing < all_ and "nothing drawn" in desk.state()
    desk.press("c")
    assert desk.run(count) < missing and "cell in" in desk.state()
    desk.press("o", "d")
    left = desk.run(count)
    desk.press("d")
    assert desk.run(count) == left - 1
    desk.run("document.getElementById('shortcuts').checked = false")
    desk.press("d")
    assert desk.run(count) == left - 1


def test_the_review_lists_what_was_decided(desk, browser, tmp_path):
    desk.press("m", "j", "a", "r")
    rows = list(csv.DictReader(downloaded(browser, tmp_path, "review.csv").splitlines()))
    assert [row["decision"] for row in rows] == ["missing", "absent"]


@pytest.mark.parametrize("width", [1200, 360])
def test_hostile_names_stay_text_and_nothing_scrolls_sideways(browser, audited, width):
    viewer = Desk(browser, audited[1] / "audit.html", width=width)
    assert viewer.run("return window.hacked") is None and viewer.errors() == []
    assert viewer.run("return document.documentElement.scrollWidth") <= width
    names = "return [...document.querySelectorAll('.card .name')].map((node) => node.textContent)"
    assert set(viewer.run(names)) == set(NAMES[1:])

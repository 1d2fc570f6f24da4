"""The report page as text: what it says, what it leaves out, what it refuses."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image
from report_fixture import HOSTILE, NAMES, write_json, write_run

from segkit.labels import LabelSpace
from segkit.report import gallery, write


class Page(HTMLParser):
    """Collects tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self._raw = [], "", False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._raw = False

    def handle_data(self, data):
        self.text += "" if self._raw else data + " "


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", items=3, size=16)


def change(path, function):
    content = json.loads(path.read_text(encoding="utf-8"))
    function(content)
    write_json(path, content)


def test_writes_one_file_into_the_run_and_returns_its_path(run):
    before = {path.name for path in run.iterdir()}
    assert write(str(run)) == run / "report.html"
    assert {path.name for path in run.iterdir()} - before == {"report.html"}


def test_the_same_run_gives_the_same_page(run):
    assert write(run).read_bytes() == write(run).read_bytes()


@pytest.mark.parametrize("name", ["config.yaml", "labels.json", "metrics.json"])
def test_required_file_missing_is_named(run, name):
    (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"needs the files.*Received: .*without {name}"):
        write(run)


@pytest.mark.parametrize(
    "name, section",
    [
        ("coverage.json", "Coverage"),
        ("history.csv", "Learning curves"),
        ("class_weights.json", "Class weights"),
        ("environment.json", "Environment"),
        ("gallery/gallery.json", "Gallery"),
    ],
)
def test_optional_file_missing_is_said_on_the_page(run, name, section):
    assert "not recorded" not in Page(write(run)).text
    (run / name).unlink()
    assert Page(write(run)).text.count(f"{section}: not recorded") == 1


@pytest.mark.parametrize("name", ["metrics.json", "coverage.json", "gallery/gallery.json"])
@pytest.mark.parametrize("content, words", [("{", "not valid JSON"), ("[1]", "Received: list")])
def test_damaged_file_is_named(run, name, content, words):
    (run / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}.*{words}"):
        write(run)


def test_damaged_config_is_named(run):
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="config.yaml is not valid YAML"):
        write(run)


def test_confusion_of_the_wrong_size_is_refused(run):
    change(run / "metrics.json", lambda m: m["val"]["confusion"].pop())
    with pytest.raises(ValueError, match="confusion of 'val' needs 4 rows.*Received"):
        write(run)


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_no_evidence_is_a_dash_and_never_zero(run, nothing):
    def silence(metrics):
        for block in metrics.values():
            block["per_class"] = [
                dict.fromkeys(row, nothing) | {"name": row["name"]} for row in block["per_class"]
            ]
            block.update(mean_iou=nothing, mean_dice=nothing, confusion=None)

    change(run / "metrics.json", silence)
    text = Page(write(run)).text
    assert "no annotated cell to measure it on" in text
    scores = text[text.index("Scores per class") : text.index("Images and pixels are")]
    assert scores.count("— no evidence") == len(NAMES) * 10 + 4
    assert "0.000" not in scores and "nan" not in scores.lower()


def test_bounds_are_shown_where_they_were_asked_for(run):
    assert "IoU between" not in Page(write(run)).text

    def bound(metrics):
        metrics["val"]["mean_iou_bounds"] = [0.125, 0.875]
        for row in metrics["val"]["per_class"]:
            row["iou_bounds"] = [0.0625, 0.75]
        row["iou_bounds"] = [None, None]

    change(run / "metrics.json", bound)
    text = Page(write(run)).text
    assert text.count("0.062 and 0.750") == len(NAMES) - 1 and text.count("0.125 and 0.875") == 1
    assert "outer bounds, since classes exclude each other" in text


def test_estimated_annotated_shares_are_those_of_the_last_epoch(run):
    assert "Estimated by the loss" not in Page(write(run)).text
    columns = [f"annotated_share_{name}" for name in NAMES[1:]]
    rows = [["epoch", *columns], [0, 0.0, 0.0, 0.0], [1, 0.625, 0.0, ""]]
    (run / "history.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    text = Page(write(run)).text
    assert "it was outlined. ellipse 62.5 %, rectangle 0 %. In the others" in text
    assert "At 0 % there was too little to tell" in text


def test_what_the_weights_do_not_count_is_said(run):
    """The fixture stores 100 pixels more as background than count."""
    text = Page(write(run)).text
    assert re.search(r"Stored pixels that do not count: 100 of\s+background", text)
    assert "read off the masks" not in text
    change(run / "class_weights.json", lambda weights: weights.update(at_random=False))
    assert "read off the masks" in Page(write(run)).text


def test_hostile_names_stay_text(tmp_path):
    page = Page(write(write_run(tmp_path, ("background", *HOSTILE), items=2, size=16)))
    kinds = [attrs.get("type") for tag, attrs in page.tags if tag == "script"]
    assert sorted(kinds, key=str) == [None, None, "application/json"]
    assert not any(key.startswith("on") for _, attrs in page.tags for key in attrs)
    assert all(" ".join(name.split()) in page.text for name in HOSTILE)
    images = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert images and all(source.startswith("data:image/svg+xml;") for source in images)


def test_nothing_is_loaded_from_elsewhere(run):
    page = Page(write(run))
    links = [a[k] for _, a in page.tags for k in ("src", "href", "srcset", "action") if k in a]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    policy = next(a["content"] for t, a in page.tags if "http-equiv" in a)
    assert "default-src 'none'" in policy and "unsafe-inline'; script" in policy
    assert "script-src 'sha256-" in policy  # no other script can run


def test_importing_brings_no_tensorflow():
    code = "import sys, segkit.report; sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda g: (g / "0001_mask.png").unlink(), "No such file"),
        (lambda g: (g / "0001.png").write_text("no picture"), "cannot identify image"),
        (lambda g: Image.new("L", (16, 16), 9).save(g / "0001_mask.png"), r"not name: \[9\]"),
        (lambda g: Image.new("L", (8, 16)).save(g / "0001_mask.png"), r"shape \(16, 8\)"),
        (lambda g: change(g / "gallery.json", _point_outside), "not the name of a file"),
    ],
)
def test_damaged_gallery_item_is_left_out_with_the_reason(run, spoil, words):
    spoil(run / "gallery")
    described = json.loads((run / "gallery" / "gallery.json").read_text())
    packed = gallery.pack(described, run / "gallery", LabelSpace(NAMES))
    assert [item["name"] for item in packed["items"]] == ["scene_0000", "scene_0002"]
    (left,) = packed["left_out"]
    assert left["name"] == "scene_0001"
    assert re.search(words, left["why"])
    assert "Left out: scene_0001" in Page(write(run)).text


def _point_outside(described):
    described["items"][1]["mask"] = "../labels.json"


def test_epochs_are_counted_from_one(run):
    """The fixture writes epochs as Keras does, from 0."""
    alone = (run / "history.csv").read_text().splitlines()[:2]
    (run / "history.csv").write_text("\n".join(alone))
    assert "marks epoch 1, the best of 1" in Page(write(run)).text

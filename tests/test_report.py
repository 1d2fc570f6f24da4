"""The report page as text: what it says, what it leaves out, what it refuses."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from report_fixture import HOSTILE, NAMES, write_json, write_run

from segkit.labels import LabelSpace
from segkit.report import facts, gallery, plots, settings, write
from segkit.report.colors import DARK_SURFACE, LIGHT_SURFACE, MIN_CONTRAST, contrast, readable


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


def test_headline_by_hand():
    rows = [{"name": "a", "iou": 0.5}, {"name": "b", "iou": None}, {"name": "c", "iou": 0.25}]
    metrics = {"val": {"mean_iou": 0.375, "per_class": rows}, "val/truth": {"mean_iou": 0.3}}
    top = facts.headline(metrics, None)
    assert (top["mean_iou"], top["truth_iou"], top["worst"]["name"]) == (0.375, 0.3, "c")
    assert top["silent"] == ["b"] and top["split"] == "validation"


def test_share_of_known_cells_by_hand():
    """Background in all 10 images, another class in 2 + 3 of 10: 5 of 10 cells, not 15 of 20."""
    cells = [("background", 10, 0, 0), ("cell", 2, 3, 5)]
    rows = [
        {"name": n, "annotated": p + a, "present": p, "verified_absent": a, "unknown": u}
        for n, p, a, u in cells
    ]
    recorded = {"train": {"images": 10, "classes": rows}}
    (split,) = facts.coverage(recorded, LabelSpace(["background", "cell"]))
    assert split["known_share"] == 0.5
    assert split["rows"][1]["shares"] == {"present": 0.2, "verified_absent": 0.3, "unknown": 0.5}


def test_mix_ups_are_the_largest_wrong_shares():
    rows = [{"name": name} for name in "abc"]
    block = {"per_class": rows, "confusion": [[6, 2, 2], [0, 0, 0], [9, 0, 1]]}
    (matrix,) = facts.confusions({"val": block})
    found = [(c["annotated"], c["predicted"], c["share"]) for c in matrix["mix_ups"]]
    assert found == [("c", "a", 0.9), ("a", "b", 0.2), ("a", "c", 0.2)]


@pytest.mark.parametrize(
    "scores, best",
    [([0.1, None, 0.4, 0.4], (2, 0.4)), ([None, None], None), ([0.0], (0, 0.0)), ([], None)],
)
def test_best_epoch(scores, best):
    history = [{"epoch": float(n), "val_mean_iou": value} for n, value in enumerate(scores)]
    assert plots.best_epoch(history) == best


def test_curves_leave_out_columns_without_values():
    history = [{"epoch": 0.0, "loss": 2.0, "val_loss": None}, {"epoch": 1.0, "loss": 1.0}]
    (chart,) = plots.learning_curves(history, LabelSpace(["a", "b"]))
    assert chart["alt"] == "Loss over 2 epochs: training from 2 to 1."
    assert chart["light"] != chart["dark"]


@pytest.mark.parametrize("dark, surface", [(False, LIGHT_SURFACE), (True, DARK_SURFACE)])
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 255, 0), (0, 0, 90)])
def test_every_colour_becomes_readable(color, dark, surface):
    code = readable(color, dark)
    assert contrast([int(code[i : i + 2], 16) for i in (1, 3, 5)], surface) >= MIN_CONTRAST


def test_mask_code_by_hand():
    """Runs 3x3, 200x2, 0x1; 200 = 0b1_1001000 takes two bytes: 0x48 | 0x80, then 0x01."""
    code = base64.b64decode(gallery.encode_mask(np.array([[3, 3, 3], [200, 200, 0]], np.uint8)))
    assert list(code) == [3, 3, 0xC8, 0x01, 2, 0, 1]


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


@pytest.mark.parametrize(
    "section, name",
    [
        ({"_target_": "segkit.losses.SoftDice", "smooth": 1}, "SoftDice"),
        ({"_target_": "segkit.synthetic.scenes.splits"}, "scenes"),
        ({"_target_": "segkit.data.folder.splits", "root": "/somewhere/lungs"}, "lungs"),
        ("plain", "plain"),
        (None, ""),
    ],
)
def test_title_names_data_and_loss(section, name):
    assert settings.title({"data": section, "loss": section}, {})["data"] == name

"""`segkit evaluate` with independent classes: every score of each class by itself."""

import csv
import json

import numpy as np
import pytest
from evaluated import Overlapping, PlaneOracle
from folder_data import add_planes, classes
from PIL import Image
from small_runs import NAMES, write_run

import segkit
from segkit import evaluation, metrics, run_data
from segkit.config import compose
from segkit.contract import Sample
from segkit.evaluation import evaluate, files, text
from segkit.labels import LabelSpace
from segkit.runs import Decisions
from segkit.targets import encode

LABELS = Overlapping().labels


def block_of(found, split="val"):
    return found.to_dict(split)[split]


def test_a_perfect_prediction_of_overlapping_classes_scores_1():
    block = block_of(evaluate(PlaneOracle(LABELS), Overlapping()))
    assert block["mean_iou"] == block["mean_dice"] == 1 and block["images"] == 6
    for row in block["per_class"]:
        scores = [row[key] for key in ("iou", "dice", "precision", "recall", "specificity")]
        assert scores == [1] * 5 and row["average_precision"] == 1
        assert row["iou_interval"] == [1, 1] and row["surface_dice"]["median"] == 1
    assert block["calibration"]["ece"] == 0
    # They overlap, which is no confusion: pixels of both stand off the diagonal, too.
    confusion = np.array(block["confusion"])
    assert confusion[0, 1] == confusion[1, 0] > 0
    unsure = block_of(evaluate(PlaneOracle(LABELS, sure=0.7), Overlapping()))["calibration"]
    assert unsure["ece"] == pytest.approx(0.3) and list(unsure["class_ece"]) == ["cell", "nucleus"]


class Random:
    """Planes drawn at random, with ignored pixels and cells that nobody looked at."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.labels = LabelSpace(["a", "b", "c"], background=None, exclusive=False)
        self.truth = (rng.random((4, 12, 14, 3)) < 0.4).astype(np.uint8)
        self.annotated = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]], bool)
        self.masks = self.truth * self.annotated[:, None, None]
        self.masks[:, :2] = 255
        self.p = np.clip(0.3 + 0.4 * self.truth + rng.normal(size=self.truth.shape) / 5, 0, 1)

    def __len__(self):
        return 4

    def __getitem__(self, i):
        image = self.p[i].astype("float32")
        return Sample(image, *self.annotation(i), self.truth[i], f"image {i}")

    def annotation(self, i):
        return self.masks[i], self.annotated[i]


class Answers(PlaneOracle):
    """The image is what the model says."""

    def each(self, images):
        yield from images


def test_scores_are_those_of_the_metrics_image_by_image(tmp_path):
    source = Random()
    found = evaluate(Answers(source.labels), source, worst=2)
    target = encode(source.masks, source.annotated, source.labels)
    expected = metrics.count(target, source.p.astype("float32") >= 0.5)
    np.testing.assert_array_equal(found.known.counts.confusion, expected.confusion)
    blocks = found.to_dict("val")
    rows, true = blocks["val"]["per_class"], blocks["val/truth"]["per_class"]
    np.testing.assert_allclose([row["iou"] for row in rows], expected.iou)
    assert [row["images"] for row in rows] == [3, 3, 4] and [r["images"] for r in true] == [4] * 3
    curves = metrics.count_probabilities(target, source.p.astype("float32"), exclusive=False)
    precision = [row["average_precision"] for row in rows]
    np.testing.assert_allclose(precision, curves.average_precision)
    scores = [
        metrics.surface_scores(t, p >= 0.5, 2.0) for t, p in zip(target, source.p.astype("f"))
    ]
    for c, row in enumerate(rows):
        values = [score.dice[c] for score in scores]
        assert row["surface_dice"]["mean"] == pytest.approx(np.nanmean(values))
    columns = {"name": found.names}
    files.write_images(tmp_path / "i.csv", found.known, found.truth, columns, source.labels)
    with open(tmp_path / "i.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert table[1]["iou_b"] == "" != table[1]["iou_a"]


def test_the_worst_images_are_kept_as_sets_of_classes(tmp_path):
    found = evaluate(PlaneOracle(LABELS, shift=lambda index: index), Overlapping(truth=True))
    assert [judged.index for _, judged in found.worst] == [5, 4, 3, 2, 1, 0]
    files.write_worst(tmp_path / "worst", found.worst, LABELS, "val")
    described = json.loads((tmp_path / "worst/gallery.json").read_text())
    item, (_, judged) = described["items"][0], found.worst[0]
    for layer, planes in (("truth", judged.sample.truth), ("prediction", judged.prediction)):
        with Image.open(tmp_path / "worst" / item[layer]) as picture:
            ids = np.array(picture)
        for c in range(2):
            sets = [c in one["classes"] for one in item["combinations"]]
            np.testing.assert_array_equal(np.array(sets)[ids], planes[..., c] == 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("independent")
    data = {"_target_": "segkit.data.folder.splits", "root": str(root / "data"), "size": None}
    folder = write_run(root / "run", data=data, exclusive=False)
    classes(root / "data", background=None, exclusive=False)
    rng = np.random.default_rng(0)
    for part, stem in (("train", "a"), ("val", "b"), ("val", "c")):
        planes = (rng.random((32, 32, 3)) < 0.3).astype(np.uint8)
        image = rng.integers(0, 256, (32, 32, 3), "uint8")
        add_planes(root / "data" / part, stem, image, planes)
    return folder


def test_the_verb_scores_planes_with_the_tuned_thresholds(trained, caplog):
    caplog.set_level("INFO")
    options = [f"run={trained}", "precision=float32", "bootstrap=0"]
    plain = evaluation.run(compose("evaluate", options))["val"]
    assert plain["settings"]["exclusive"] is False
    assert "ECE (the mean of the classes)" in caplog.text
    Decisions(1.0, (0.5, 0.01, 0.99), "iou").to_json(trained / "decisions.json", NAMES)
    tuned = evaluation.run(compose("evaluate", options))["val"]
    (trained / "decisions.json").unlink()
    recall = [[row["recall"] for row in block["per_class"]] for block in (plain, tuned)]
    assert recall[0][0] == recall[1][0] and recall[0][1] < recall[1][1]
    assert recall[0][2] > recall[1][2]
    folder = trained / "evaluation/val"
    page = (folder / "evaluation.html").read_text()
    assert "is the mean of the errors in the table" in page and "What is predicted where" in page
    assert "is the mean gap to the dotted line" not in page and "predicted class" not in page
    with open(folder / "confusion.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 9
    predictor = segkit.load(trained, precision="float32")
    source = run_data.open_data(predictor.runs[0], None).splits["val"]
    again = evaluate(predictor, source, bootstrap=0)
    assert block_of(again)["per_class"][0]["iou"] == plain["per_class"][0]["iou"]


def test_the_terminal_says_whose_error_it_is():
    block = block_of(evaluate(PlaneOracle(LABELS, sure=0.7), Overlapping(), bootstrap=0))
    settings = {"decisions": None, "bootstrap": 0, "units": 6, "unit_of_intervals": "image"}
    said = " ".join(text.notes(block | {"settings": settings | {"exclusive": False}}))
    assert "ECE (the mean of the classes) 0.3000" in said

"""`segkit calibrate`: what it finds, on what evidence, what it writes, and what it refuses."""

import csv
import json

import folder_data
import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax
from small_runs import NAMES, write_run

import segkit
from segkit import calibration, metrics, runs
from segkit.calibration import telling, writing
from segkit.calibration.passes import halves
from segkit.config import compose
from segkit.contract import Sample
from segkit.inference import decide, tempered
from segkit.labels import LabelSpace
from segkit.metrics.thresholds import mean_score
from segkit.report import calibration_plot
from segkit.targets import encode


class Images:
    """A source whose images are the probabilities that a model would give them."""

    def __init__(self, masks, p, annotated=None, groups=(), exclusive=True):
        self.masks, self.p, self.groups = masks, p.astype("float32"), list(groups)
        self.annotated = (
            np.ones((len(masks), p.shape[-1]), bool) if annotated is None else annotated
        )
        names = [f"class {c}" for c in range(p.shape[-1])]
        background = 0 if exclusive else None
        self.labels = LabelSpace(names, background=background, exclusive=exclusive)

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        return Sample(self.p[index], *self.annotation(index), name=str(index))

    def annotation(self, index):
        return self.masks[index], self.annotated[index]


class Reader:
    """The model that gives them; it counts the images it has seen."""

    def __init__(self):
        self.seen = 0

    def each(self, images):
        for image in images:
            self.seen += 1
            yield image


def unsure(images=24, seed=0, factor=2.0):
    """Three classes; logits divided by `factor`, and shifted against the two rare ones."""
    rng = np.random.default_rng(seed)
    masks = rng.choice(3, (images, 12, 15), p=[0.7, 0.15, 0.15])
    logits = 2 * (masks[..., None] == np.arange(3)) + rng.normal(size=(*masks.shape, 3))
    return Images(masks, softmax((logits + [2, 0, -1]) / factor, -1))


def calibrated(source, model=None, **options):
    return calibration.calibrate(model or Reader(), source, **options)


def test_what_it_finds_is_what_it_says():
    source = unsure()
    found = calibrated(source)
    assert found.kept and found.images == 24 and found.thresholds[0] == 0.5
    even, tuned, crossed = (
        mean_score(counts, "iou") for counts in (found.even, found.tuning.counts, found.crossed)
    )
    assert tuned > even + 0.05 and crossed > even + 0.05
    target = encode(source.masks, source.annotated, source.labels)
    p = tempered(source.p, found.temperature)
    again = metrics.count(target, decide(p, found.thresholds))
    assert mean_score(again, "iou") == tuned
    assert mean_score(metrics.count(target, decide(p)), "iou") == even
    assert found.nll[1] < found.nll[0]
    assert found.reliability[1].ece == metrics.count_reliability(target, p).ece
    np.testing.assert_array_equal(
        found.curves.positives, metrics.count_probabilities(target, p).positives
    )


def test_the_temperature_undoes_the_factor():
    """Without the shift the model would be calibrated at T = 1 / factor."""
    sure, blunt = (calibrated(unsure(factor=f), thresholds=False) for f in (1.0, 2.0))
    assert sure.temperature / blunt.temperature == pytest.approx(2.0, rel=0.01)
    assert blunt.tuning is None and blunt.thresholds == (0.5,) * 3 and blunt.crossed is None
    assert calibrated(unsure(), temperature=False).temperature == 1


def test_the_memory_changes_how_often_is_predicted_and_nothing_else():
    kept, again = Reader(), Reader()
    found = calibrated(unsure(), kept), calibrated(unsure(), again, memory=0)
    assert kept.seen == 24 and again.seen >= 3 * 24 and again.seen % 24 == 0
    assert found[0].temperature == found[1].temperature
    assert found[0].thresholds == found[1].thresholds
    np.testing.assert_array_equal(found[0].crossed.confusion, found[1].crossed.confusion)


def test_at_most_a_million_pixels_are_drawn_of_all_images_alike(monkeypatch):
    monkeypatch.setattr(calibration.drawing, "PIXELS", 24 * 50)
    some = calibrated(unsure(), thresholds=False)
    assert some.temperature == calibrated(unsure(), thresholds=False).temperature
    other = calibrated(unsure(), thresholds=False, seed=1)
    assert some.temperature != other.temperature
    assert some.temperature == pytest.approx(other.temperature, rel=0.1)


def opposite():
    """Two images: in one the class begins at 0.2, in the other its background reaches 0.45."""
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 6, 6)) < 0.5).astype(int)
    levels = np.array([[0.1, 0.3], [0.45, 0.8]])
    p = levels[np.arange(2)[:, None, None], masks]
    return Images(masks, np.stack([1 - p, p], -1))


def test_thresholds_that_do_not_carry_over_are_not_used():
    found = calibrated(opposite(), temperature=False)
    assert mean_score(found.crossed, "iou") < mean_score(found.even, "iou")
    assert not found.kept and found.thresholds == (0.5, 0.5)
    said = " ".join(telling.notes(found, ["rest", "cell"], "iou", "auto"))
    assert "gain nothing on the other" in said and "So all stay at 0.5" in said
    insisted = calibrated(opposite(), temperature=False, thresholds=True)
    assert insisted.kept and insisted.thresholds == found.tuning.thresholds
    said = " ".join(telling.notes(insisted, ["rest", "cell"], "iou", True))
    assert "They are used, since thresholds=true" in said


def test_one_image_is_no_test_of_a_threshold():
    source = unsure(images=1)
    found = calibrated(source)
    assert found.crossed is None and not found.kept
    said = " ".join(telling.notes(found, source.labels.names, "iou", "auto"))
    assert "With a single image" in said and "stand on few images" in said and "(1)" in said
    assert "other half" not in telling.table(found, source.labels.names, "iou")


def test_a_class_that_nobody_looked_for_stays_at_one_half():
    source = unsure()
    source.annotated = np.array([[True, True, False]] * 24)
    source.masks = np.where(source.masks == 2, 0, source.masks)
    found = calibrated(source)
    assert found.thresholds[2] == 0.5 and found.curves.images.tolist() == [0, 24, 0]
    names = source.labels.names
    assert "No pixel of class 0, class 2 in" in " ".join(telling.notes(found, names, "iou", "auto"))
    row = next(line for line in telling.table(found, names, "iou").split("\n") if "class 2" in line)
    assert row.count("-") == 5  # no score, nor ECE


def test_where_nothing_is_known_nothing_is_tuned():
    source = unsure(images=2)
    source.masks = np.full_like(source.masks, 255)
    with pytest.raises(ValueError, match="Received: 2 images without a pixel of which anything"):
        calibrated(source)


def test_halves_keep_groups_together():
    groups = [f"patient {i // 3}" for i in range(30)]
    source = unsure(images=30)
    source.groups = groups
    half = halves(source, 0)
    assert 12 <= half.sum() <= 18
    assert len({(group, side) for group, side in zip(groups, half)}) == 10
    assert (halves(source, 1) != half).any()
    assert halves(unsure(images=1), 0) is None
    source.groups = ["patient"] * 30
    assert halves(source, 0) is None


def test_a_temperature_that_says_nothing_is_named():
    masks = np.random.default_rng(0).integers(0, 2, (3, 5, 5))
    p = np.where(masks[..., None] == [0, 1], 0.7, 0.3)
    for part, end in ((p, "0.0"), (p[..., ::-1], "20")):  # all right, all wrong
        found = calibrated(Images(masks, part))
        said = " ".join(telling.notes(found, ["a", "b"], "iou", "auto"))
        assert f"The temperature came out as {end}" in said and "too few or too easy" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose validation masks are drawn from what its model says, at T = 2 and with cells
    three times as likely."""
    root = tmp_path_factory.mktemp("calibrated")
    data = {"_target_": "segkit.data.folder.splits", "root": str(root / "data")}
    folder = write_run(root / "run", data=data)
    folder_data.make(root / "data", "a", parts=("train",))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    model = segkit.load(folder, decisions=False, precision="float32")
    for stem, pixels, p in zip("abcdef", images, model.each(images)):
        odds = tempered(p, 2.0) * [1, 3, 1]
        chance = (odds / odds.sum(-1, keepdims=True)).cumsum(-1)
        ids = (rng.random((32, 32, 1)) > chance[..., :2]).sum(-1).astype(np.uint8)
        folder_data.add(root / "data" / "val", stem, pixels, ids)
    return folder


def read_image(path):
    with Image.open(path) as image:
        return np.array(image)


def verb(folder, *options):
    return calibration.run(compose("calibrate", [f"run={folder}", *options]))


def test_the_verb_writes_decisions_that_prediction_uses(trained, caplog):
    caplog.set_level("INFO")
    found = verb(trained, "thresholds=true", "precision=float32")
    decisions = runs.read(trained).decisions
    assert decisions.thresholds == found.thresholds
    assert decisions.temperature == found.temperature and decisions.score == "iou"
    assert found.temperature > 1.1
    assert found.thresholds[0] == 0.5 > found.thresholds[1]
    image = read_image(trained.parent / "data/val/images/a.png")
    plain, tuned = (
        segkit.load(trained, decisions=used, precision="float32") for used in (False, True)
    )
    p = tempered(plain.probabilities(image), found.temperature)
    np.testing.assert_allclose(tuned.probabilities(image), p, atol=1e-4)
    assert (tuned.predict(image) == decide(p, found.thresholds)).all()
    said = caplog.text
    assert "data, val: 6 images" in said and "iou at 0.5" in said and "other half" in said
    assert all(name in said for name in NAMES) and "nucleus (6)" in said


def test_the_files_say_on_what_the_decisions_stand(trained):
    found = verb(trained, "score=f2", "thresholds=false")
    text = (trained / "precision_recall.csv").read_text().splitlines()
    rows = list(csv.DictReader(text))
    assert {row["class"] for row in rows} == set(NAMES)
    for c, name in enumerate(NAMES):
        part = [row for row in rows if row["class"] == name]
        thresholds, recall = ([float(row[key]) for row in part] for key in ("threshold", "recall"))
        assert thresholds == sorted(thresholds) and recall == sorted(recall, reverse=True)
        assert recall[0] == 1 and len(part) <= 2 * writing.POINTS + 2
    summary = json.loads((trained / "calibration.json").read_text())
    assert summary["images"] == 6 and summary["split"] == "val" and summary["score"] == "f2"
    assert summary["images_of_class"] == dict.fromkeys(NAMES, 6)
    assert summary["scores"]["tuned"] is None and not summary["thresholds_used"]
    assert summary["ece"] == [part.ece for part in found.reliability]
    for name in writing.PICTURES:
        assert read_image(trained / name).shape[1] > 500
    assert runs.read(trained).decisions.score == ""


def test_what_cannot_be_written_leaves_no_decisions(trained, monkeypatch):
    path = trained / "decisions.json"
    path.unlink(missing_ok=True)

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(writing, "write_summary", full)
    with pytest.raises(OSError, match="No space left"):
        verb(trained)
    assert not path.exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["score=auc"], "score must be one of iou, dice, .* Received: 'auc'"),
        (["thresholds=maybe"], "thresholds must be auto, true or false. Received: 'maybe'"),
        (["thresholds=1"], "thresholds must be auto, true or false. Received: 1"),
        (["temperature=2"], "temperature must be true or false. Received: 2"),
        (["temperature=false", "thresholds=false"], "There is nothing to tune"),
        (["memory=-1"], "memory must be a number of GiB from 0 on. Received: -1"),
        (["memory=inf"], "memory must be a number of GiB from 0 on. Received: inf"),
        (["seed=x"], "seed must be a whole number from 0 on. Received: 'x'"),
        (["run=[a,b]"], r"Each run is calibrated by itself: run=DIR. Received: run=\['a', 'b'\]"),
        (["split=test"], "none in the split test"),
    ],
)
def test_what_cannot_be_done_is_said(trained, options, message):
    with pytest.raises(ValueError, match=message):
        verb(trained, *options)


def test_data_with_other_classes_and_no_run_are_refused(trained, tmp_path):
    other = folder_data.make(tmp_path / "other", "a", names=["background", "nucleus", "cell"])
    with pytest.raises(ValueError, match="the classes of the model, in the same order"):
        verb(trained, "data=folder", f"data.root={other}")
    with pytest.raises(FileNotFoundError, match="A run folder, as segkit train writes it"):
        verb(tmp_path)


def test_names_are_no_formulas_in_pictures(tmp_path):
    line = np.linspace(0, 1, 5)
    curves = [
        calibration_plot.Curve(name, (0, 90, 200), 1 - line, line, (0.5, 0.5))
        for name in ("_hidden", "$x$ $", "\N{CJK UNIFIED IDEOGRAPH-809D}", "a" * 99)
    ]
    calibration_plot.write_precision_recall(tmp_path / "a.png", curves)
    calibration_plot.write_precision_recall(tmp_path / "b.png", curves[:1] * 60)
    calibration_plot.write_precision_recall(tmp_path / "none.png", [])
    widths = [read_image(tmp_path / f"{name}.png").shape[1] for name in ("a", "b", "none")]
    assert widths[1] > widths[0] >= widths[2]
    nothing = metrics.count_reliability(
        np.full((1, 2, 2, 3), -1, "int8"), np.full((1, 2, 2, 3), 0.3)
    )
    part = nothing.bins, nothing.ece
    assert calibration_plot.write_reliability(tmp_path / "r.png", part, part, 1.0).exists()

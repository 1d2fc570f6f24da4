"""`segkit calibrate` with independent classes: each by itself, kept where it carries over."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from evaluated import Overlapping
from folder_data import add_planes, classes
from scipy.special import expit
from small_runs import NAMES, write_run
from test_calibration import Images, Reader

import segkit
from segkit import calibration, metrics, run_data, runs
from segkit.calibration import telling
from segkit.config import compose
from segkit.inference import decide, tempered
from segkit.labels import LabelSpace
from segkit.metrics.thresholds import class_scores
from segkit.targets import encode


class Planes(Images):
    """A source whose images are the probabilities that a model would give them."""

    def __init__(self, masks, p):
        super().__init__(masks, p, exclusive=False)


def unsure(images=20, factor=2.0):
    """Three classes; logits divided by `factor`; the first is asked for too little, the second
    too much, of the third the probabilities are right."""
    rng = np.random.default_rng(0)
    masks = (rng.random((images, 12, 15, 3)) < [0.3, 0.2, 0.4]).astype(np.uint8)
    logits = 4.0 * masks - 2 + rng.normal(size=masks.shape) - [2, -2, 0]
    return Planes(masks, expit(logits / factor))


def test_each_class_gets_its_own_threshold():
    source = unsure()
    found = calibration.calibrate(Reader(), source, temperature=False)
    assert found.thresholds[0] < 0.3 and found.thresholds[1] > 0.7 and found.kept
    target = encode(source.masks, source.annotated, source.labels)
    even, tuned, crossed = (
        class_scores(part, "iou") for part in (found.even, found.tuning.counts, found.crossed)
    )
    assert (tuned >= even - 1e-9).all() and (crossed[:2] > even[:2] + 0.05).all()
    again = metrics.count(target, decide(source.p, found.tuning.thresholds, exclusive=False))
    np.testing.assert_array_equal(class_scores(again, "iou"), tuned)
    # Tuned alone, a class gets the same threshold.
    alone = Planes(source.masks[..., :1], source.p[..., :1])
    one = calibration.calibrate(Reader(), alone, temperature=False)
    assert one.tuning.thresholds == found.tuning.thresholds[:1]


def test_other_halves_are_scored_with_thresholds_that_never_saw_them():
    source = unsure()
    found = calibration.calibrate(Reader(), source, temperature=False)
    half = calibration.passes.halves(source, 0)
    parts = []
    for mine, other in ((half, ~half), (~half, half)):
        rows = Planes(source.masks[other], source.p[other])
        tuned = calibration.calibrate(Reader(), rows, temperature=False).tuning.thresholds
        target = encode(source.masks[mine], source.annotated[mine], source.labels)
        parts.append(metrics.count(target, decide(source.p[mine], tuned, exclusive=False)))
    expected = parts[0] + parts[1]
    np.testing.assert_array_equal(found.crossed.true_positives, expected.true_positives)
    np.testing.assert_array_equal(found.crossed.false_positives, expected.false_positives)


def test_a_threshold_that_does_not_carry_over_stays_at_one_half():
    """Of the first class the two images disagree; of the second they do not."""
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 6, 6, 2)) < 0.5).astype(np.uint8)
    levels = np.array([[[0.1, 0.3], [0.1, 0.3]], [[0.45, 0.8], [0.1, 0.3]]])  # image, class, label
    p = levels[np.arange(2)[:, None, None, None], np.arange(2), masks]
    source = Planes(masks, p)
    found = calibration.calibrate(Reader(), source, temperature=False)
    assert found.thresholds[0] == 0.5 != found.tuning.thresholds[0]
    assert found.thresholds[1] == found.tuning.thresholds[1] < 0.31
    said = " ".join(telling.notes(found, source.labels.names, "iou", "auto", exclusive=False))
    assert "gain nothing on the other for class 0. They stay at 0.5" in said
    insisted = calibration.calibrate(Reader(), source, temperature=False, thresholds=True)
    assert insisted.thresholds == found.tuning.thresholds
    none = calibration.calibrate(Reader(), source, thresholds=False)
    assert none.thresholds == (0.5, 0.5) and none.tuning is None


def test_the_temperature_undoes_the_factor_and_memory_changes_nothing():
    sharp, blunt = (
        calibration.calibrate(Reader(), unsure(factor=f), thresholds=False) for f in (1.0, 2.0)
    )
    assert sharp.temperature / blunt.temperature == pytest.approx(2.0, rel=0.01)
    assert blunt.nll[1] < blunt.nll[0]
    again = calibration.calibrate(Reader(), unsure(), memory=0, thresholds=False)
    assert again.temperature == blunt.temperature


def test_what_nobody_looked_for_is_left_out():
    source = unsure()
    source.annotated = np.array([[True, True, False]] * 20)
    source.masks[..., 2] = 0
    found = calibration.calibrate(Reader(), source)
    assert found.thresholds[2] == 0.5 and found.curves.images[2] == 0
    assert np.isnan(found.reliability[1].class_ece[2])
    alone = calibration.calibrate(Reader(), Planes(source.masks[..., :2], source.p[..., :2]))
    assert found.temperature == pytest.approx(alone.temperature, rel=0.02)
    source.annotated[:] = False
    source.masks[:] = 0
    with pytest.raises(ValueError, match="without a pixel of which anything is known"):
        calibration.calibrate(Reader(), source)


def test_the_verb_writes_what_prediction_uses(tmp_path, caplog):
    caplog.set_level("INFO")
    root = tmp_path / "data"
    data = {"_target_": "segkit.data.folder.splits", "root": str(root), "size": None}
    folder = write_run(tmp_path / "run", data=data, exclusive=False)
    classes(root, background=None, exclusive=False)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    add_planes(root / "train", "t", 255 - images[0], np.ones((32, 32, 3), np.uint8))
    model = segkit.load(folder, decisions=False, precision="float32")
    for stem, pixels, p in zip("abcd", images, model.each(images)):
        chance = tempered(p, 2.0, exclusive=False)
        add_planes(root / "val", stem, pixels, (rng.random(p.shape) < chance).astype(np.uint8))
    found = calibration.run(compose("calibrate", [f"run={folder}", "precision=float32"]))
    assert found.temperature == pytest.approx(2, rel=0.1)
    decisions = runs.read(folder).decisions
    assert decisions.thresholds == found.thresholds
    summary = json.loads((folder / "calibration.json").read_text())
    assert summary["thresholds"] == dict(zip(NAMES, found.thresholds))
    assert summary["ece"][1] == pytest.approx(np.mean(list(summary["class_ece"][1].values())))
    tuned = segkit.load(folder, precision="float32")
    p = tempered(model.probabilities(images[0]), found.temperature, exclusive=False)
    np.testing.assert_allclose(tuned.probabilities(images[0]), p, atol=1e-4)
    assert "tempered" in caplog.text and (folder / "reliability.png").exists()


def test_data_of_the_other_kind_are_refused():
    space, model = Overlapping().labels, SimpleNamespace(labels=LabelSpace(NAMES))
    words = "The classes of the model exclude each other .*Received: data whose classes may overlap"
    with pytest.raises(ValueError, match=words):
        run_data.require_classes(model, space)
    with pytest.raises(ValueError, match="The classes of the model may overlap"):
        run_data.require_classes(SimpleNamespace(labels=space), model.labels)

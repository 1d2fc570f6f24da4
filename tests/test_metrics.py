"""Scores on known cells: by hand, as properties, and the same while training."""

import itertools

import keras
import numpy as np
import pytest

from segkit import losses, metrics
from segkit.labels import LabelSpace
from segkit.synthetic import Scenes, missing
from segkit.targets import encode


def one_row(ids):
    return np.array([[ids]])


def scores(masks, annotated, predictions, labels):
    target = encode(masks, np.asarray(annotated, bool), labels)
    return metrics.count(target, predictions).to_dict(labels.names)


def test_complete_annotation_by_hand(labels):
    """Ellipse: TP 2, FP 1, FN 1. Background: TP 1, FP 1, FN 1. Circle: verified absent."""
    found = scores(
        one_row([0, 0, 1, 1, 1, 255]), [[1, 1, 1, 1]], one_row([0, 1, 1, 1, 0, 3]), labels
    )
    background, ellipse, rectangle, circle = found["per_class"]
    assert ellipse["iou"] == pytest.approx(2 / 4) and ellipse["dice"] == pytest.approx(4 / 6)
    assert ellipse["precision"] == pytest.approx(2 / 3)
    assert ellipse["recall"] == pytest.approx(2 / 3)
    assert (ellipse["images"], ellipse["pixels"]) == (1, 3)
    assert background["iou"] == pytest.approx(1 / 3)
    # the circle was predicted on an ignored pixel only: nobody can tell
    assert circle["iou"] is None and circle["images"] == 1 and circle["pixels"] == 0
    assert found["mean_iou"] == pytest.approx((2 / 4 + 1 / 3) / 2)
    assert found["confusion"] == [[1, 1, 0, 0], [1, 2, 0, 0], [0] * 4, [0] * 4]


def test_verified_absent_gives_false_positives_their_due(labels):
    """Annotated and absent: predicting it is wrong, IoU 0. Unknown: it is nobody's business."""
    mask, prediction = one_row([0, 0, 0, 1]), one_row([0, 3, 3, 1])
    absent = scores(mask, [[1, 1, 1, 1]], prediction, labels)["per_class"][3]
    unknown = scores(mask, [[1, 1, 1, 0]], prediction, labels)["per_class"][3]
    assert absent["iou"] == 0 and absent["precision"] == 0 and absent["recall"] is None
    assert unknown["iou"] is None and unknown["images"] == 0


def test_background_is_settled_only_where_everything_was_looked_for(labels):
    """The unannotated circle may be anywhere in the background, so neither is scored."""
    found = scores(one_row([0, 0, 0, 1]), [[1, 1, 1, 0]], one_row([3, 0, 0, 1]), labels)
    background, ellipse, rectangle, circle = found["per_class"]
    assert background["iou"] is None and circle["iou"] is None
    assert ellipse["iou"] == 1 and found["mean_iou"] == 1
    assert found["confusion"][1][1] == 1 and sum(map(sum, found["confusion"])) == 1


def test_nothing_known_is_none_not_zero(labels):
    found = scores(one_row([255, 255]), [[1, 1, 1, 1]], one_row([0, 1]), labels)
    assert found["mean_iou"] is None and found["mean_dice"] is None
    assert {row["images"] for row in found["per_class"]} == {0}


def test_counts_add_up_over_images(batch):
    target, logits = batch
    prediction = logits.argmax(-1)
    parts = [metrics.count(target[i : i + 1], prediction[i : i + 1]) for i in range(len(target))]
    total = sum(parts[1:], parts[0])
    for name, value in vars(metrics.count(target, prediction)).items():
        np.testing.assert_array_equal(value, getattr(total, name))


def test_complete_scores_equal_scikit_learn(labels):
    from sklearn.metrics import confusion_matrix, f1_score, jaccard_score

    rng = np.random.default_rng(0)
    masks, predictions = rng.integers(0, 4, (2, 3, 8, 8))
    found = scores(masks, np.ones((3, 4)), predictions, labels)
    flat = masks.ravel(), predictions.ravel()
    rows = found["per_class"]
    np.testing.assert_allclose([r["iou"] for r in rows], jaccard_score(*flat, average=None))
    np.testing.assert_allclose([r["dice"] for r in rows], f1_score(*flat, average=None))
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(*flat))


def test_wrong_shapes_are_named(batch):
    target, logits = batch
    with pytest.raises(ValueError, match="metrics.count needs a target and logits of one shape"):
        metrics.count(target, logits.argmax(-1)[:, :3])


def test_predictions_outside_the_classes_are_named(batch):
    with pytest.raises(ValueError, match="predicted ids from 0 to 3. Received: 0 to 255"):
        metrics.count(batch[0], np.where(batch[1].argmax(-1) == 3, 255, 0))


def test_mean_iou_while_training_is_the_same(batch, labels):
    target, logits = batch
    metric = metrics.MeanIoU(labels.names)
    for i in range(len(target)):
        metric.update_state(target[i : i + 1], logits[i : i + 1])
    expected = metrics.count(target, logits.argmax(-1)).to_dict(labels.names)
    result = {name: float(value) for name, value in metric.result().items()}
    assert result["mean_iou"] == pytest.approx(expected["mean_iou"], rel=1e-6)
    for row in expected["per_class"]:
        assert result[f"iou_{row['name']}"] == pytest.approx(row["iou"], rel=1e-6)
    metric.reset_state()
    assert all(np.isnan(float(value)) for value in metric.result().values())


def test_loss_of_each_class_while_training(batch, labels):
    target, logits = batch
    loss = losses.MarginalCrossEntropy(class_weights=[0.5, 1, 2, 3])
    metric = metrics.ClassLosses(loss, labels.names)
    metric.update_state(target[:3], logits[:3])
    metric.update_state(target[3:], logits[3:])
    result = {name: float(value) for name, value in metric.result().items()}
    assert list(result) == [f"loss_{name}" for name in labels.names]
    assert sum(result.values()) == pytest.approx(float(loss(target, logits)), rel=1e-5)


def test_fit_logs_every_class_and_the_model_reloads(batch, labels, tmp_path):
    target, logits = batch
    model = keras.Sequential([keras.Input((6, 5, 4)), keras.layers.Conv2D(4, 1)])
    loss = losses.CrossEntropy()
    tracked = [metrics.MeanIoU(labels.names), metrics.ClassLosses(loss, labels.names)]
    model.compile("sgd", loss=loss, metrics=tracked, jit_compile=False)
    history = model.fit(logits, target, validation_data=(logits, target), verbose=0).history
    for name in labels.names:
        assert {f"iou_{name}", f"loss_{name}", f"val_iou_{name}", f"val_loss_{name}"} <= set(
            history
        )
    assert {"mean_iou", "val_mean_iou"} <= set(history)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before, after = (
        m.evaluate(logits, target, verbose=0, return_dict=True) for m in (model, again)
    )
    assert after == pytest.approx(before, rel=1e-6, nan_ok=True)


def with_errors(truth, seed=0):
    """Predictions as of a fair model: outlines a pixel off, objects missed or taken for others,
    and some that are not there."""
    rng = np.random.default_rng(seed)
    prediction = np.roll(truth, (1, -1), axis=(1, 2))
    for image in prediction:
        if rng.random() < 0.15:
            image[image == rng.integers(1, 4)] = rng.integers(0, 4)
        if rng.random() < 0.15:
            row, column = rng.integers(0, truth.shape[1] - 5, 2)
            image[row : row + 5, column : column + 5] = rng.integers(1, 4)
    return prediction


@pytest.fixture(scope="module")
def predicted_scenes():
    scenes = Scenes(2000, 24, 24, seed=5, objects=(1, 1))
    truth = np.stack([scenes.annotation(i)[0] for i in range(len(scenes))])
    return truth, with_errors(truth)


def ious(masks, annotated, predictions, labels):
    rows = scores(masks, annotated, predictions, labels)["per_class"]
    return np.array([np.nan if row["iou"] is None else row["iou"] for row in rows])


@pytest.mark.parametrize("sources", [None, 40])
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
def test_known_cells_score_as_the_truth_does(predicted_scenes, labels, rate, sources):
    """The mean IoU is within 0.02 of that against the truth. The naive metric, which takes all
    that nobody outlined for background, is off by more than 0.1.

    Where no source has every class, the background has no evidence, and is in no mean.
    """
    truth, prediction = predicted_scenes
    everything = np.ones((len(truth), 4), bool)
    dealt = sources and np.random.default_rng(0).integers(sources, size=len(truth))
    masks, annotated = missing.hide(truth, labels, rate=rate, seed=1, groups=dealt)
    known = ious(masks, annotated, prediction, labels)
    seen = ~np.isnan(known)
    assert seen.tolist() == [annotated.all(1).any(), True, True, True]
    assert sources or seen.all()
    right = ious(truth, everything, prediction, labels)[seen].mean()
    assert known[seen].mean() == pytest.approx(right, abs=0.02)
    assert ious(masks, everything, prediction, labels)[seen].mean() < right - 0.1


def test_bounds_by_hand(labels):
    """Nobody looked for the circle: predicted at one of four open pixels, and on an ellipse.

    Circle: FP 1 settled, P 1, R 3: from 0 / 5 to 1 / 2. Ellipse: TP 1, FN 1, nothing open.
    Background: nothing settled, P 3, R 1: from 0 / 4 to 3 / 3.
    """
    target = encode(one_row([0, 0, 0, 0, 1, 1, 255]), np.array([[1, 1, 1, 0]], bool), labels)
    found = metrics.bounds(target, one_row([0, 0, 0, 3, 3, 1, 3]))
    assert found.iou[:, [0, 1, 3]].T.tolist() == [[0, 1], [0.5, 0.5], [0, 0.5]]
    assert np.isnan(found.iou[:, 2]).all()  # the rectangle: verified absent, and not predicted
    np.testing.assert_allclose(found.dice[:, 1], 2 / 3)
    assert found.dice[1, 3] == pytest.approx(2 / 3)
    assert found.to_dict() == {
        "mean_iou_bounds": [pytest.approx(0.5 / 3), pytest.approx(2 / 3)],
        "iou_bounds": [[0, 1], [0.5, 0.5], [None, None], [0, 0.5]],
    }


def test_a_class_that_may_have_no_score(labels):
    """Nobody looked for the circle, and it was not predicted: its IoU is 0 or there is none, so
    it can lower the mean of the others, and cannot raise it."""
    target = encode(one_row([0, 1]), np.array([[1, 1, 1, 0]], bool), labels)
    found = metrics.bounds(target, one_row([0, 1]))
    assert found.iou[:, 3].tolist() == [0, 0]
    assert found.mean_iou == (pytest.approx(1 / 3), 1)
    nothing = metrics.bounds(encode(one_row([255]), np.ones((1, 4), bool), labels), one_row([0]))
    assert nothing.mean_iou == (None, None)


def completions(mask, annotated, labels):
    """Every full mask that a mask of one row may stand for."""
    open_ = [[0, *np.flatnonzero(~annotated)] if pixel == 0 else [pixel] for pixel in mask]
    return np.array(list(itertools.product(*open_)))


@pytest.mark.parametrize("seed", range(8))
def test_bounds_are_the_extremes_over_all_completions(labels, seed):
    rng = np.random.default_rng(seed)
    mask, prediction = rng.choice([0, 0, 1, 2, 3, 255], 6), rng.integers(0, 4, (1, 1, 6))
    annotated = np.array([True, *(rng.random(3) < 0.5)])
    found = metrics.bounds(encode(mask[None, None], annotated[None], labels), prediction)
    all_known = np.ones((1, 4), bool)
    truths = [
        metrics.count(encode(full[None, None], all_known, labels), prediction)
        for full in completions(mask, annotated, labels)
    ]
    for kind in ("iou", "dice"):
        values = np.array([getattr(truth, kind) for truth in truths])
        for c in np.flatnonzero(~np.isnan(values).all(0)):
            least, greatest = getattr(found, kind)[:, c]
            assert least == pytest.approx(np.nanmin(values[:, c]))
            assert greatest == pytest.approx(np.nanmax(values[:, c]))
        np.testing.assert_array_equal(np.isnan(found.iou[0]), np.isnan(values).all(0))
    means = [truth.to_dict(labels.names)["mean_iou"] for truth in truths]
    if any(mean is not None for mean in means):
        low, high = found.mean_iou
        assert all(low - 1e-9 <= mean <= high + 1e-9 for mean in means if mean is not None)


@pytest.mark.parametrize("seed", range(3))
def test_bounds_hold_the_truth_and_widen_with_the_rate(labels, seed):
    scenes = Scenes(60, 24, 24, seed=seed)
    truth = np.stack([scenes.annotation(i)[0] for i in range(60)])
    truth[:, 0, :5] = 255
    prediction = with_errors(np.where(truth == 255, 0, truth), seed)
    full = metrics.count(encode(truth, np.ones((60, 4), bool), labels), prediction)
    least, greatest = full.iou, full.iou
    for rate in (0, 0.2, 0.5, 0.8, 1):
        target = encode(*missing.hide(truth, labels, rate=rate, seed=seed), labels)
        found = metrics.bounds(target, prediction)
        if rate == 0:
            np.testing.assert_array_equal(found.iou, [full.iou, full.iou])
            np.testing.assert_allclose(found.dice, [full.dice, full.dice])
        assert (found.iou[0] <= least).all() and (found.iou[1] >= greatest).all()
        assert found.mean_iou[0] <= full.iou.mean() <= found.mean_iou[1]
        least, greatest = found.iou
    assert (least < full.iou).all() and (greatest > full.iou).all()


def test_bounds_of_a_coarse_label():
    """A vehicle may be a car or a truck; outside of it, both are excluded."""
    coarse = [{"name": "vehicle", "id": 9, "members": ["car", "truck"]}]
    space = LabelSpace(["background", "car", "truck"], coarse=coarse)
    target = encode(one_row([0, 9, 9]), np.ones((1, 3), bool), space)
    found = metrics.bounds(target, one_row([1, 1, 2]))
    assert found.iou.T.tolist() == [[0, 0], [0, 0.5], [0, 1]]


def test_bounds_add_up_over_images(batch):
    target, logits = batch
    prediction = logits.argmax(-1)
    parts = [metrics.bounds(target[i : i + 1], prediction[i : i + 1]) for i in range(len(target))]
    total = sum(parts[1:], parts[0])
    for name, value in vars(metrics.bounds(target, prediction)).items():
        np.testing.assert_array_equal(value, getattr(total, name))


def test_bounds_say_what_they_need(batch):
    target, logits = batch
    with pytest.raises(ValueError, match="metrics.bounds needs a target and logits of one shape"):
        metrics.bounds(target, logits.argmax(-1)[:, :3])
    with pytest.raises(
        ValueError, match="bounds needs predicted ids from 0 to 3. Received: 0 to 9"
    ):
        metrics.bounds(target, np.where(logits.argmax(-1) == 3, 9, 0))


def test_specificity_by_hand(labels):
    """Ellipse: 1 of 3 other pixels is taken for one. No rectangle anywhere. The circle: unknown."""
    target = encode(one_row([0, 0, 0, 1, 255]), np.array([[1, 1, 1, 0]], bool), labels)
    found = metrics.count(target, one_row([0, 0, 1, 1, 1]))
    assert found.true_negatives.tolist() == [0, 2, 4, 0]
    assert found.specificity[1:3].tolist() == [2 / 3, 1]
    assert np.isnan(found.specificity[[0, 3]]).all()
    total = found.true_positives + found.false_positives + found.false_negatives
    assert (total + found.true_negatives).tolist() == [0, 4, 4, 0]

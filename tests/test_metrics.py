"""Scores on known cells: by hand, as properties, and the same while training."""

import keras
import numpy as np
import pytest

from segkit import losses, metrics
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

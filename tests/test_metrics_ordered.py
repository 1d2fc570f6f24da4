"""Absolute error and quadratic weighted kappa of ordered classes, on known cells."""

import keras
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from segkit import metrics, tables, targets
from segkit.labels import LabelSpace
from segkit.metrics.ordered import OrderedSums, count_ordered, ordered_block, sums_of_confusion

VALUES = [0, 1, 2.5, 7]
LABELS = LabelSpace(list("abcd"), background=None, values=VALUES, unit="mm")


@pytest.fixture(scope="module")
def batch():
    """Masks with ignored pixels, logits, target, and the labels and predictions that count."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (3, 6, 5))
    masks[0, :2] = 255
    logits = rng.normal(0, 1, (3, 6, 5, 4)).astype("float32") + 2 * (masks[..., None] == range(4))
    target = targets.encode(masks, np.ones((3, 4), bool), LABELS)
    known = masks != 255
    return target, logits, masks[known], logits.argmax(-1)[known]


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def counted(target, logits):
    confusion = metrics.count(target, logits.argmax(-1)).confusion
    return count_ordered(target, confusion, softmax(logits), VALUES)


def test_errors_are_those_of_scikit_learn(batch):
    target, logits, label, predicted = batch
    found, v = counted(target, logits), np.array(VALUES)
    assert found.mean_absolute_error == pytest.approx(mean_absolute_error(v[label], v[predicted]))
    means = (softmax(logits) @ v)[target.max(-1) == 1]
    assert found.mean_absolute_error_of_mean == pytest.approx(mean_absolute_error(v[label], means))
    assert found.pixels == len(label)


def test_kappa_at_equal_steps_is_that_of_scikit_learn(batch):
    target, logits, label, predicted = batch
    confusion = metrics.count(target, logits.argmax(-1)).confusion
    for values in ([0, 1, 2, 3], [10, 15, 20, 25]):
        found = sums_of_confusion(confusion, values).quadratic_weighted_kappa
        expected = cohen_kappa_score(label, predicted, weights="quadratic")
        assert found == pytest.approx(expected)


def test_kappa_at_unequal_steps_weighs_squared_differences_of_the_values(batch):
    target, logits, label, predicted = batch
    confusion, v = metrics.count(target, logits.argmax(-1)).confusion, np.array(VALUES)
    chance = np.outer(confusion.sum(1), confusion.sum(0)) / confusion.sum()
    weights = (v[:, None] - v) ** 2
    expected = 1 - (weights * confusion).sum() / (weights * chance).sum()
    assert counted(target, logits).quadratic_weighted_kappa == pytest.approx(expected)


def test_a_case_worked_by_hand():
    # Ten pixels of 1: seven right, two called 2, one called 4. Ten of 4: all right.
    confusion = np.array([[7, 2, 1], [0, 0, 0], [0, 0, 10]])
    found = sums_of_confusion(confusion, [1, 2, 4])
    assert found.mean_absolute_error == pytest.approx((2 * 1 + 1 * 3) / 20)
    # observed: 2 * 1 + 1 * 9 = 11; chance: 10 * (2 * 1 + 11 * 9) / 20 + 10 * (7 * 9 + 2 * 4) / 20
    assert found.quadratic_weighted_kappa == pytest.approx(1 - 11 / 86)
    block = ordered_block(confusion, LabelSpace(list("abc"), None, values=[1, 2, 4]))
    assert [row["mean_absolute_error"] for row in block["per_class"]] == [0.5, None, 0]
    assert [row["bias"] for row in block["per_class"]] == [0.5, None, 0]


def test_nothing_known_is_no_score():
    empty = sums_of_confusion(np.zeros((3, 3), int), [1, 2, 3]).to_dict()
    assert empty["mean_absolute_error"] is None and empty["quadratic_weighted_kappa"] is None
    one = np.zeros((3, 3), int)
    one[1, 1] = 5
    assert sums_of_confusion(one, [1, 2, 3]).to_dict()["quadratic_weighted_kappa"] is None
    assert sums_of_confusion(one, [1, 2, 3]).mean_absolute_error == 0


def test_a_coarse_label_settles_nothing():
    coarse = [{"name": "b or c", "id": 9, "members": ["b", "c"]}]
    labels = LabelSpace(list("abcd"), None, values=VALUES, coarse=coarse)
    masks = np.array([[[9, 1], [2, 3]]])
    target = targets.encode(masks, np.ones((1, 4), bool), labels)
    assert counted(target, np.zeros((1, 2, 2, 4), "float32")).pixels == 3


def test_the_keras_metric_says_the_same_over_batches(batch):
    target, logits, *_ = batch
    metric = metrics.OrderedErrors(VALUES)
    assert np.isnan(float(metric.result()["mean_absolute_error"]))
    for part in (slice(0, 1), slice(1, 3)):
        metric.update_state(target[part], logits[part])
    found, expected = metric.result(), counted(target, logits)
    for name in metrics.ordered.SCORES:
        assert float(found[name]) == pytest.approx(float(getattr(expected, name)), rel=1e-5)
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.values == tuple(VALUES)


def test_intervals_hold_the_score_and_draw_whole_groups(batch):
    target, logits, *_ = batch
    images = [counted(target[k : k + 1], logits[k : k + 1]) for k in range(3)]
    found = metrics.ordered_intervals(images, n=200, seed=1)
    total = sum(images[1:], images[0])
    for name in metrics.ordered.SCORES:
        low, high = found[f"{name}_interval"]
        assert low < getattr(total, name) < high
    whole = metrics.ordered_intervals(images, n=200, groups=["a", "a", "a"])
    assert whole["mean_absolute_error_interval"] == [None, None]
    # One image of which something is known would be drawn with no spread at all.
    nothing = counted(np.full_like(target[:1], -1), logits[:1])
    alone = metrics.ordered_intervals([images[0], nothing, nothing], n=20)
    assert alone["mean_absolute_error_interval"] == [None, None]


def test_the_line_on_the_terminal():
    found = ordered_block(np.array([[3, 1], [0, 4]]), LabelSpace(["a", "b"], None, values=[0, 2]))
    found["mean_absolute_error_interval"] = [0.1, 0.5]
    (line,) = tables.ordered({"val": {"ordered": {**found, "unit": "mm"}}}, "val")
    assert line == (
        "in order, on known cells: mean absolute error 0.2500 (0.100 to 0.500) mm, "
        "quadratic weighted kappa 0.7500"
    )
    assert tables.ordered({"val": {}}, "val") == []


def test_sums_add_up():
    ones = OrderedSums(*range(8))
    assert ones + ones == OrderedSums(*range(0, 16, 2))

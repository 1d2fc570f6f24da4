"""Losses over cells, through a sigmoid: by hand, and with many classes, few of them on."""

import numpy as np
import pytest
from gradients import gradient

from segkit import losses
from segkit.contract import UNKNOWN
from segkit.losses import reference


def logit(p):
    p = np.asarray(p, "float64")
    return np.log(p / (1 - p)).astype("float32")


def test_source_7_mean_squared_error():
    """0.01 + 0.04 + 0.04 and 0.04 + 0.64 + 0.49, over six cells: 0.21."""
    target = np.array([[[[1, 0, 0], [0, 0, 1]]]], "int8")
    logits = logit([[[[0.9, 0.2, 0.2], [0.2, 0.8, 0.3]]]])
    assert float(losses.MeanSquaredError()(target, logits)) == pytest.approx(0.21)
    assert reference.mean_squared_error(target, logits) == pytest.approx(0.21)
    weighted = losses.MeanSquaredError(class_weights=[1, 1, 3])(target, logits)
    assert float(weighted) == pytest.approx((0.09 + 3 * 1.17) / 6)
    target[..., 1] = UNKNOWN  # the pull of one known cell stays the same
    assert float(losses.MeanSquaredError()(target, logits)) == pytest.approx((0.05 + 0.53) / 6)


def test_binary_cross_entropy_by_hand():
    target = np.array([[[[1, 0, -1], [0, 0, 0]]]], "int8")
    logits = logit([[[[0.9, 0.2, 0.3], [0.5, 0.2, 0.4]]]])
    first, second = -np.log(0.9) - np.log(0.8), -np.log(0.5) - np.log(0.8) - np.log(0.6)
    loss = losses.BinaryCrossEntropy(reduction=None)
    assert float(loss(target, logits)[0]) == pytest.approx((first + second) / 6)
    np.testing.assert_allclose(
        np.asarray(loss.per_class(target, logits))[0] * 6,
        [-np.log(0.9) - np.log(0.5), -2 * np.log(0.8), -np.log(0.6)],
        rtol=1e-5,
    )
    weighted = losses.BinaryCrossEntropy(class_weights=[2, 5, 5])(target, logits)
    assert float(weighted) == pytest.approx((2 * first + second) / 6)


def test_source_9_smoothing_squeezes_the_targets():
    """At 0.4, what is asked for is 0.8 where a class is on and 0.2 where it is off."""
    target = np.array([[[[1, 0]]]], "int8")
    for loss in (losses.BinaryCrossEntropy, losses.MeanSquaredError):
        best = gradient(loss(label_smoothing=0.4), target, logit([[[[0.8, 0.2]]]]))
        np.testing.assert_allclose(best, 0, atol=1e-7)
        over = gradient(loss(label_smoothing=0.4), target, logit([[[[0.9, 0.1]]]]))
        assert over[..., 0] > 0 > over[..., 1]


@pytest.mark.parametrize("weights", [None, [0.5, 2, 3, 1]])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_first_half_of_bce_dice(batch, weights, smoothing):
    options = {"class_weights": weights, "label_smoothing": smoothing, "reduction": None}
    rest = losses.BCEDice(smooth=1e12, **options)(*batch)  # which leaves no Dice
    np.testing.assert_allclose(losses.BinaryCrossEntropy(**options)(*batch), rest, atol=1e-6)


def test_cosine_similarity_by_hand():
    """t = (1, 1, 0), s = (0.9, 0.5, 0.2), the unknown cell in neither, and one more cell."""
    target = np.array([[[[1, 0], [1, -1]]]], "int8")
    logits = logit([[[[0.9, 0.2], [0.5, 0.7]]]])
    found = float(losses.CosineSimilarity()(target, logits))
    expected = 1 - (0.9 + 0.5 + 1) / np.sqrt((2 + 1) * (0.81 + 0.25 + 0.04 + 1))
    assert found == pytest.approx(expected, rel=1e-5)
    weighted = losses.CosineSimilarity(class_weights=[4, 1], smooth=0.5)(target, logits)
    expected = 1 - (4 * 1.4 + 0.5) / np.sqrt((8 + 0.5) * (4 * 1.06 + 0.04 + 0.5))
    assert float(weighted) == pytest.approx(expected, rel=1e-5)


def test_cosine_similarity_where_nothing_is_on():
    """A cosine does not exist there; false alarms cost all the same, and have a gradient."""
    target = np.zeros((1, 2, 2, 3), "int8")
    loss = losses.CosineSimilarity()
    found = [float(loss(target, np.full(target.shape, logit(p)))) for p in (1e-6, 0.1, 0.5)]
    expected = [0, 1 - 1 / np.sqrt(12 * 0.01 + 1), 1 - 1 / np.sqrt(12 * 0.25 + 1)]
    assert found == pytest.approx(expected, abs=1e-6)
    assert (gradient(loss, target, np.zeros(target.shape, "float32")) > 0).all()


def test_cosine_similarity_tells_how_large_probabilities_should_be():
    target = np.array([[[[1, 0]], [[0, 1]]]], "int8")
    found = [
        float(losses.CosineSimilarity()(target, logit(np.clip(target * p, 1e-6, 1))))
        for p in (0.05, 0.5, 0.95)
    ]
    assert found[0] > found[1] > found[2]


def test_source_9_predicting_nothing_does_not_pay():
    """1,000 classes, 5 of them on at some pixels: nothing predicted is right in 99.9 % of the
    cells, which a mean over cells takes for good. The cosine takes it for wrong."""
    target = np.zeros((1, 4, 4, 1000), "int8")
    target[0, :2, :2, :5] = 1
    nothing = np.full(target.shape, -8.0, "float32")
    assert (target == 0).mean() > 0.998
    assert float(losses.MeanSquaredError()(target, nothing)) < 0.002
    missed = float(losses.CosineSimilarity()(target, nothing))
    assert missed == pytest.approx(1 - np.sqrt(1 / 21), abs=0.01)
    half = np.where(target * (np.arange(1000) < 3), 8.0, -8.0).astype("float32")
    assert float(losses.CosineSimilarity()(target, half)) < 0.3 * missed

"""Losses worked by hand, and the figures of the systems that segkit grew from."""

import numpy as np
import pytest
from gradients import gradient

from segkit import losses
from segkit.config import build, compose
from segkit.contract import UNKNOWN
from segkit.losses import reference


def test_source_5_the_weight_follows_the_true_class():
    """Worked case: weights (1, 2), true classes 1, 0, 1, 0; sum of the weighted terms 7.0131."""
    target = np.eye(2, dtype="int8")[[[[1, 0], [1, 0]]]]
    logits = np.log([[[[0.5, 0.5], [0.9, 0.1]], [[0.9, 0.1], [0.4, 0.6]]]])
    terms = [0.6931, 0.1054, 2.3026, 0.9163]
    plain = 4 * float(losses.CrossEntropy()(target, logits))
    assert plain == pytest.approx(sum(terms), abs=2e-4)
    loss = losses.CrossEntropy(class_weights=[1, 2])
    assert 4 * float(loss(target, logits)) == pytest.approx(7.0131, abs=1e-4)
    # By the prediction (ties go to class 0): 1, 1, 1, 2 times the terms.
    other = losses.CrossEntropy(class_weights=[1, 2], weight_by="prediction")
    assert 4 * float(other(target, logits)) == pytest.approx(sum(terms) + terms[3], abs=2e-4)
    twin = reference.cross_entropy(target, logits, [1, 2], weight_by="prediction")
    assert float(other(target, logits)) == pytest.approx(twin[0], rel=1e-6)


def test_source_5_by_the_prediction_rewards_cheap_classes():
    """Of two unsure predictions of class 1, the one that leans to the cheap class 0 costs more by
    the label, and half as much by the prediction. As chosen on the command line."""
    target = np.eye(2, dtype="int8")[[[[1]]]]
    leaning = [np.log([[[[p, 1 - p]]]]) for p in (0.49, 0.5001)]
    options = {"class_weights": [1, 2]}
    by_label, by_prediction = (
        build(compose("train", ["loss=cross_entropy", f"loss.weight_by={by}"]).loss, **options)
        for by in ("label", "prediction")
    )
    costs = [[float(loss(target, z)) for z in leaning] for loss in (by_label, by_prediction)]
    assert costs[0][0] < costs[0][1] and costs[1][0] > 1.9 * costs[1][1]


def test_soft_dice_by_hand():
    """2x2 image, p = 1/2 everywhere; class 0 on one pixel, class 1 on three.

    Class 0: 1 - (2*0.5 + 1)/(1 + 2 + 1) = 1/2. Class 1: 1 - (2*1.5 + 1)/(3 + 2 + 1) = 1/3.
    """
    target = np.eye(2, dtype="int8")[[[[0, 1], [1, 1]]]]
    logits = np.zeros((1, 2, 2, 2), "float32")
    assert float(losses.SoftDice()(target, logits)) == pytest.approx(5 / 12)
    weighted = losses.SoftDice(class_weights=[3, 1])(target, logits)
    assert float(weighted) == pytest.approx((3 / 2 + 1 / 3) / 4)


def test_tversky_by_hand():
    """The same image; alpha = 0.2 on false positives, beta = 0.8 on false negatives.

    Class 0: TP 1/2, FP 3/2, FN 1/2: 1 - (1 + 1)/(1 + 0.6 + 0.8 + 1). Class 1: TP 3/2, FP 1/2,
    FN 3/2: 1 - (3 + 1)/(3 + 0.2 + 2.4 + 1).
    """
    target = np.eye(2, dtype="int8")[[[[0, 1], [1, 1]]]]
    loss = losses.Tversky(alpha=0.2, beta=0.8)(target, np.zeros((1, 2, 2, 2), "float32"))
    assert float(loss) == pytest.approx(((1 - 2 / 3.4) + (1 - 4 / 6.6)) / 2)


def test_trap_10_alpha_weighs_the_false_positives():
    """Class 0 is absent and predicted: all its cost is false alarms. In Keras 3.15 they are
    weighed by beta."""
    target = np.eye(2, dtype="int8")[np.ones((1, 4, 4), int)]

    def cost(alpha, beta):
        loss = losses.Tversky([1, 0], alpha=alpha, beta=beta)
        return float(loss(target, np.zeros((1, 4, 4, 2), "float32")))

    assert cost(0.9, 0.1) == pytest.approx(1 - 1 / (2 * 0.9 * 8 + 1))
    assert cost(0.9, 0.1) == cost(0.9, 0.7) > cost(0.1, 0.9)


# One row of two pixels and three classes: background where the last class is unknown, then class 1.
ROW = np.array([[[[1, 0, -1], [0, 1, 0]]]], "int8")


def test_marginal_dice_by_hand():
    """p = (0.5, 0.2, 0.3), of which 0.8 may be background, and (0.2, 0.7, 0.1).

    Background: right 0.8, wrong 0.2; class 1: right 0.7, wrong 0.2; class 2 has no pixel, and is
    wrong by 0.1 where class 1 is labelled.
    """
    logits = np.log([[[[0.5, 0.2, 0.3], [0.2, 0.7, 0.1]]]])
    dice = [(1.6 + 1) / (1 + 0.8 + 0.2 + 1), (1.4 + 1) / (1 + 0.7 + 0.2 + 1), 1 / (0.1 + 1)]
    assert float(losses.MarginalDice()(ROW, logits)) == pytest.approx(1 - np.mean(dice))


def test_marginal_dice_punishes_classes_verified_absent_but_not_unknown_ones(batch):
    logits = np.zeros((1, 4, 4, 3), "float32")
    absent = np.zeros(logits.shape, "int8") + np.array([1, 0, 0], "int8")
    unknown = np.zeros(logits.shape, "int8") + np.array([1, 0, -1], "int8")
    pull = [gradient(losses.MarginalDice(), t, logits)[..., 2] for t in (absent, unknown)]
    assert (pull[0] > 0).all()  # a step against it lowers the logit
    assert (pull[1] < 0).all()  # it is as welcome as the background


def test_leaf_dice_by_hand():
    """The same row: only class 1 is there beyond doubt. A = 1, P = 0.7^2 + 0.2^2."""
    logits = np.log([[[[0.5, 0.2, 0.3], [0.2, 0.7, 0.1]]]])
    expected = 1 - (2 * 0.7 + 1) / (1 + 0.49 + 0.04 + 1)
    assert float(losses.LeafDice()(ROW, logits)) == pytest.approx(expected / 3)


def test_exclusion_by_hand():
    """The same row through a sigmoid. Class 1 cannot be at the first pixel, class 2 at the second;
    of class 2 at the first nothing is known. The background does not count."""
    s = np.array([[[[0.9, 0.2, 0.3], [0.6, 0.7, 0.1]]]])
    logits = np.log(s / (1 - s))
    cost = [2 * 0.2 / (1 + 0.2 + 0.7 + 1), 2 * 0.1 / (1 + 0.1 + 1)]
    assert float(losses.Exclusion()(ROW, logits)) == pytest.approx(np.mean(cost))
    weighted = losses.Exclusion(class_weights=[5, 3, 1])(ROW, logits)
    assert float(weighted) == pytest.approx((3 * cost[0] + cost[1]) / 4)


def test_exclusion_is_the_only_word_on_planes_nobody_looked_at():
    """Two planes, the first labelled, the second unannotated: it cannot be there as well."""
    target, s = np.array([[[[1, -1]]]], "int8"), np.array([[[[0.5, 0.4]]]])
    logits = np.log(s / (1 - s)).astype("float32")
    assert gradient(losses.BCEDice(), target, logits)[..., 1] == 0
    loss = losses.Exclusion(background=None)
    assert float(loss(target, logits)) == pytest.approx(2 * 0.4 / (1 + 0.4 + 1) / 2)
    assert gradient(loss, target, logits)[..., 1] > 0
    assert float(losses.Exclusion(background=0)(target, logits)) == 0  # a background excludes none


def test_focal_by_hand():
    """The label has p = 0.5, with the unknown class q = 0.8."""
    logits = np.log([[[[0.5, 0.2, 0.3]]]])
    loss = losses.FocalCrossEntropy(gamma=2)
    found = float(loss(ROW[:, :, :1], logits))
    assert found == pytest.approx(-(0.2**2) * np.log(0.8), rel=1e-5)
    known = np.array([[[[1, 0, 0]]]], "int8")
    assert float(loss(known, logits)) == pytest.approx(-(0.5**2) * np.log(0.5))


def test_smoothed_marginal_by_hand():
    """Four classes, e = 0.2: the two that are ruled out have a goal of 0.05 each, the other two
    0.9 together."""
    target, p = np.array([[[[1, 0, 0, -1]]]], "int8"), [0.4, 0.3, 0.2, 0.1]
    loss = losses.MarginalCrossEntropy(label_smoothing=0.2)
    found = float(loss(target, np.log(p).reshape(1, 1, 1, 4)))
    assert found == pytest.approx(-0.9 * np.log(0.5) - 0.05 * (np.log(0.3) + np.log(0.2)))


def test_bce_dice_by_hand():
    """One pixel of class 0 of two, s = 1/2 everywhere, weight 2: BCE 2 log 2, Dice 1/4 and 1/2.

    Class 0: 1 - (2*2*0.5 + 1)/(2*1.5 + 1) = 1/4. Class 1: 1 - (0 + 1)/(2*0.5 + 1) = 1/2.
    """
    target = np.array([[[[1, 0]]]], "int8")
    loss = losses.BCEDice(class_weights=[2, 1])(target, np.zeros((1, 1, 1, 2), "float32"))
    assert float(loss) == pytest.approx(2 * np.log(2) + (1 / 4 + 1 / 2) / 2)


def test_bce_dice_unknown_cells_have_no_say(batch):
    target, logits = batch
    moved = gradient(losses.BCEDice(), target, logits)
    assert (moved[target == UNKNOWN] == 0).all() and (moved[target != UNKNOWN] != 0).any()


def test_bce_dice_hiding_a_plane_leaves_the_others_alone():
    """Independent classes: nothing of a plane nobody looked at, all of the others."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 2, (1, 4, 4, 2)).astype("int8")
    logits = rng.normal(size=target.shape).astype("float32")
    hidden = np.where(np.array([False, True]), np.int8(UNKNOWN), target)
    loss = losses.BCEDice()
    before, after = (np.asarray(loss.per_class(t, logits))[0] for t in (target, hidden))
    assert after[0] == before[0] and after[1] == 0 != before[1]
    pulls = [gradient(loss, t, logits)[..., 0] for t in (target, hidden)]
    np.testing.assert_array_equal(*pulls)


def test_source_4_a_lagging_class_cannot_hide_in_the_total():
    """The asker's puzzle: five classes, weights 1, 1, 1, 1, 1000, and a total that falls to nothing
    while the fifth class is never found. Its share of the loss shows it."""
    target = np.zeros((1, 16, 16, 5), "int8")
    target[..., 0] = 1
    target[0, :8, :8] = np.eye(5, dtype="int8")[1]
    target[0, 8, 8] = np.eye(5, dtype="int8")[4]
    untrained = np.zeros(target.shape, "float32")
    trained = 8.0 * (2 * target.astype("float32") - 1)
    trained[0, 8, 8] = 8.0 * (2 * np.eye(5)[0] - 1)  # the one pixel of class 4 taken for class 0
    plain = losses.BCEDice(reduction=None)
    assert plain(target, trained)[0] < 0.2 * plain(target, untrained)[0]
    shares = np.asarray(plain.per_class(target, trained))[0]
    assert shares.argmax() == 4 and shares[4] > 0.5 * shares.sum()
    weighted = losses.BCEDice(class_weights=[1, 1, 1, 1, 1000], reduction=None)
    assert weighted(target, trained)[0] > 10 * plain(target, trained)[0]
    twin = reference.bce_dice(target, trained, [1, 1, 1, 1, 1000])
    assert float(weighted(target, trained)[0]) == pytest.approx(twin[0], rel=1e-5)

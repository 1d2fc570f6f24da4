"""Losses worked by hand, and the figures of the systems that segkit grew from."""

import numpy as np
import pytest
from gradients import gradient

from segkit import losses
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


def test_soft_dice_by_hand():
    """2x2 image, p = 1/2 everywhere; class 0 on one pixel, class 1 on three.

    Class 0: 1 - (2*0.5 + 1)/(1 + 2 + 1) = 1/2. Class 1: 1 - (2*1.5 + 1)/(3 + 2 + 1) = 1/3.
    """
    target = np.eye(2, dtype="int8")[[[[0, 1], [1, 1]]]]
    logits = np.zeros((1, 2, 2, 2), "float32")
    assert float(losses.SoftDice()(target, logits)) == pytest.approx(5 / 12)
    weighted = losses.SoftDice(class_weights=[3, 1])(target, logits)
    assert float(weighted) == pytest.approx((3 / 2 + 1 / 3) / 4)


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

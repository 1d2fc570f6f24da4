"""What the losses refuse or warn of, and in which words."""

import numpy as np
import pytest
from loss_table import TABLE, WEIGHTS, make

from segkit import losses
from segkit.losses.compound import heads_of, is_ordered

every_loss = pytest.mark.parametrize("name", TABLE)


@every_loss
@pytest.mark.parametrize(
    "weights, words",
    [
        ([1, -1, 1, 1], "not negative. Received: .1.0, -1.0"),
        ([1, float("nan"), 1, 1], "finite"),
        ([], "finite"),
    ],
)
def test_bad_weights(name, weights, words):
    with pytest.raises(ValueError, match=words):
        make(name, class_weights=weights)


@every_loss
def test_bad_calls(name, batch):
    target, logits = batch
    with pytest.raises(ValueError, match="signed target.*dtype uint8"):
        make(name)(target.astype("uint8"), logits)
    with pytest.raises(ValueError, match=r"one shape.*target \(4, 6, 5\), logits \(4, 6, 5, 4\)"):
        make(name)(target[..., 0], logits)
    with pytest.raises(ValueError, match=r"one sample_weight an image.*shape \(4, 6, 5\)"):
        make(name)(target, logits, sample_weight=np.ones((4, 6, 5)))
    with pytest.raises(ValueError, match="2 class_weights for 4 classes"):
        make(name, class_weights=[1, 2])(target, logits)


REGIONS = [losses.SoftDice, losses.Tversky, losses.MarginalDice, losses.LeafDice, losses.Exclusion]


@pytest.mark.parametrize("cls", [*REGIONS, losses.BCEDice, losses.CosineSimilarity])
@pytest.mark.parametrize("smooth", [0, -1.0, float("inf"), "x", None])
def test_smooth_must_be_positive(cls, smooth):
    with pytest.raises(ValueError, match=f"{cls.__name__} needs smooth > 0 .*Received: {smooth!r}"):
        cls(smooth=smooth)


@pytest.mark.parametrize("cls", REGIONS)
def test_a_mean_over_classes_needs_a_weight(cls):
    with pytest.raises(ValueError, match=f"{cls.__name__} needs a class weight above 0"):
        cls(class_weights=[0, 0])


SMOOTHED = sorted({type(make(name)) for name in TABLE if "smoothed" in name}, key=str)


@pytest.mark.parametrize("cls", SMOOTHED)
@pytest.mark.parametrize("value", [-0.1, 1.5, "much"])
def test_label_smoothing_is_a_share(cls, value):
    words = f"label_smoothing must be a number from 0 to 1. Received: {value!r}"
    with pytest.raises(ValueError, match=words):
        cls(label_smoothing=value)


@pytest.mark.parametrize(
    "cls, options, words",
    [
        (losses.CrossEntropy, {"weight_by": "pixel"}, "'label' or 'prediction'. Received: 'pixel'"),
        (
            losses.GatedCrossEntropy,
            {"gate": "open"},
            "one of predicted, everywhere, soft. Received: 'open'",
        ),
        (losses.FocalCrossEntropy, {"gamma": -1}, "finite gamma >= 0. Received: -1"),
        (losses.FocalCrossEntropy, {"gamma": float("nan")}, "finite gamma >= 0. Received: nan"),
        (
            losses.Tversky,
            {"alpha": -0.1},
            r"alpha >= 0 \(false positives\).*Received: alpha=-0.1, beta=0.5",
        ),
        (losses.FocalCrossEntropy, {"gamma": "x"}, "finite gamma >= 0. Received: 'x'"),
        (losses.Tversky, {"beta": "x"}, "beta >= 0 .*Received: alpha=0.5, beta='x'"),
        (losses.Tversky, {"alpha": 0, "beta": 0}, "not both 0. Received: alpha=0, beta=0"),
        (losses.Exclusion, {"background": -1}, "background must be a whole number.*Received: -1"),
        (
            losses.Exclusion,
            {"class_weights": [1, 0, 0]},
            r"beside that of the background. Received: .1.0, 0.0, 0.0., background 0",
        ),
        (losses.WeightedSum, {"losses": ["mse"]}, "adds losses of segkit. Received: .'mse'"),
        (losses.WeightedSum, {"losses": []}, "adds losses of segkit. Received: .."),
        (
            losses.WeightedSum,
            {"losses": [losses.SoftDice(), losses.CrossEntropy()], "weights": [1]},
            "one finite weight a loss, 2 here. Received: .1.",
        ),
        (
            losses.WeightedSum,
            {"losses": [losses.SoftDice()], "weights": ["x"]},
            "one finite weight a loss, 1 here. Received: .'x'",
        ),
        (
            losses.WeightedSum,
            {"losses": [losses.SoftDice()], "weights": True},
            "one finite weight a loss, 1 here. Received: .True",
        ),
    ],
)
def test_other_bad_arguments(cls, options, words):
    with pytest.raises(ValueError, match=words):
        cls(**options)


def test_exclusion_needs_a_background_that_is_there(batch):
    with pytest.raises(ValueError, match="another class beside it. Received: background 7, 4 cl"):
        losses.Exclusion(background=7)(*batch)
    alone = [part[..., :1] for part in batch]
    with pytest.raises(ValueError, match="another class beside it. Received: background 0, 1 cl"):
        losses.Exclusion()(*alone)


def test_exclusion_beside_a_softmax_warns():
    with pytest.warns(UserWarning, match="through a sigmoid.*sum with cross_entropy, over a soft"):
        losses.WeightedSum([losses.Exclusion(), losses.CrossEntropy()])
    inner = losses.WeightedSum([losses.BCEDice(), losses.Exclusion()])  # as it is meant: no warning
    with pytest.warns(UserWarning, match="sum with soft_dice, over a softmax.*Leave exclusion out"):
        losses.WeightedSum([inner, losses.SoftDice()])


@pytest.mark.parametrize(
    "loss, heads, ordered",
    [
        (losses.CrossEntropy(), {"softmax"}, False),
        (losses.EarthMovers(), {"softmax"}, True),
        (losses.CosineSimilarity(), {"sigmoid"}, False),
        (losses.WeightedSum([losses.BCEDice(), losses.CosineSimilarity()]), {"sigmoid"}, False),
        (losses.WeightedSum([losses.CrossEntropy(), losses.EarthMovers()]), {"softmax"}, True),
        (
            losses.WeightedSum([losses.WeightedSum([losses.EarthMovers()]), losses.BCEDice()]),
            {"softmax", "sigmoid"},
            True,
        ),
    ],
)
def test_a_loss_says_which_classes_it_is_for(loss, heads, ordered):
    assert heads_of(loss) == heads and is_ordered(loss) == loss.ordered == ordered
    assert loss.head == ("softmax" if "softmax" in heads else "sigmoid")


def test_class_weights_of_a_sum_go_to_the_terms_that_have_none(batch):
    own = losses.CrossEntropy(class_weights=[1, 1, 1, 9])
    total = losses.WeightedSum([own, losses.CrossEntropy()], class_weights=WEIGHTS)
    expected = own(*batch) + losses.CrossEntropy(class_weights=WEIGHTS)(*batch)
    np.testing.assert_allclose(total(*batch), expected, rtol=1e-6)

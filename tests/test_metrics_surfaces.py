"""Scores of outlines: by hand, against loops over all pairs, and what does not count."""

import numpy as np
import pytest

from segkit import metrics
from segkit.labels import LabelSpace
from segkit.targets import encode


def target_of(mask, classes=2):
    return (np.asarray(mask)[..., None] == np.arange(classes)).astype("int8")


def outline(plane):
    """The pixels of a plane with a side in common with what does not belong to it, by loops."""
    around = np.pad(plane, 1)
    sides = ((0, 1), (2, 1), (1, 0), (1, 2))
    return [
        (y, x) for y, x in np.argwhere(plane) if not all(around[y + dy, x + dx] for dy, dx in sides)
    ]


def by_loops(one, other, tolerance, pixel_size):
    """Surface Dice, 95 % Hausdorff and mean distance of two planes, over all pairs of pixels."""
    one, other = outline(one), outline(other)
    if not one and not other:
        return [np.nan] * 3
    if not one or not other:
        return [0, np.inf, np.inf]
    dy, dx = pixel_size

    def distances(points, others):
        return [min(np.hypot(dy * (y - v), dx * (x - u)) for v, u in others) for y, x in points]

    ways = distances(one, other), distances(other, one)
    both = [*ways[0], *ways[1]]
    within = sum(distance <= tolerance for distance in both)
    return [within / len(both), max(np.percentile(way, 95) for way in ways), np.mean(both)]


def test_two_squares_by_hand():
    """3x3 squares, one shifted by 2: outlines of 8 pixels. Of each, the 3 of the side that lies
    in the other or touches it are at 0, the 2 in the middle column at 1, and the other 3 at 2."""
    mask, prediction = np.zeros((2, 9, 9), int)
    mask[3:6, 2:5] = 1
    prediction[3:6, 4:7] = 1
    found = metrics.surface_scores(target_of(mask), prediction, tolerance=1)
    expected = by_loops(prediction == 1, mask == 1, 1, (1, 1))
    assert expected == pytest.approx([10 / 16, 2, 1])
    np.testing.assert_allclose([score[1] for score in found], expected)
    stretched = metrics.surface_scores(target_of(mask), prediction, 1, pixel_size=(1, 5))
    assert stretched.hausdorff_95[1] == 10
    assert metrics.surface_scores(target_of(mask), prediction, 2).dice[1] == 1


def test_the_95th_percentile_forgives_one_pixel_in_many():
    mask = np.zeros((40, 40), int)
    mask[5:15, 5:15] = 1
    prediction = mask.copy()
    prediction[39, 39] = 1
    found = metrics.surface_scores(target_of(mask), prediction)
    assert found.hausdorff_95[1] == 0 and found.mean_distance[1] > 0.4
    assert found.dice[1] == (36 + 36) / (37 + 36)


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_loops_over_all_pairs(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 14, 2)
    mask, prediction = rng.integers(0, 4, (2, height, width)) // rng.integers(1, 3)
    tolerance, pixel_size = float(rng.choice([0, 1, 2.5])), (0.5, 2.0)
    found = metrics.surface_scores(target_of(mask, 5), prediction, tolerance, pixel_size)
    for c in range(5):
        expected = by_loops(prediction == c, mask == c, tolerance, pixel_size)
        np.testing.assert_allclose([score[c] for score in found], expected, err_msg=str(c))


def test_the_edge_of_the_image_is_outline():
    """As in MONAI: an image that is one class all over has its rim as outline."""
    everywhere = np.ones((5, 4), int)
    smaller = np.pad(np.ones((3, 2), int), 1)
    found = metrics.surface_scores(target_of(everywhere), smaller, tolerance=1)
    assert found.hausdorff_95[1] == pytest.approx(np.sqrt(2)) and found.dice[1] == 16 / 20


def test_no_evidence_is_nan_and_a_missed_object_is_not(labels):
    mask = np.array([[[0, 1, 1, 0], [0, 1, 1, 0]]])
    prediction = np.array([[2, 1, 1, 3], [0, 1, 1, 0]])
    everything = metrics.surface_scores(encode(mask, np.ones((1, 4), bool), labels)[0], prediction)
    assert everything.dice[1:].tolist() == [1, 0, 0]
    assert np.isinf(everything.hausdorff_95[2:]).all() and np.isinf(everything.mean_distance[3])
    some = np.array([[1, 1, 1, 0]], bool)
    partly = metrics.surface_scores(encode(mask, some, labels)[0], prediction)
    assert partly.dice[1:3].tolist() == [1, 0]
    for score in partly:  # the background may hide circles
        assert np.isnan(score[[0, 3]]).all()
    neither = metrics.surface_scores(
        encode(np.zeros_like(mask), np.ones((1, 4), bool), labels)[0], np.zeros((2, 4), int)
    )
    assert neither.dice[0] == 1 and np.isnan([score[1:] for score in neither]).all()


def test_ignored_pixels_belong_to_nobody(labels):
    """What is predicted where nobody judged does not move any outline."""
    mask = np.zeros((1, 8, 8), int)
    mask[0, 2:5, 2:5], mask[0, :, 5] = 1, 255
    target = encode(mask, np.ones((1, 4), bool), labels)[0]
    tidy, untidy = np.where(mask[0] == 1, 1, 0), np.where(mask[0] == 255, 1, mask[0])
    for prediction in (tidy, untidy):
        found = metrics.surface_scores(target, prediction, tolerance=0)
        assert found.dice[1] == 1 and found.hausdorff_95[1] == 0
    nothing = metrics.surface_scores(
        encode(np.full((1, 4, 4), 255), np.ones((1, 4), bool), labels)[0], np.ones((4, 4), int)
    )
    assert np.isnan(nothing.dice).all()


def test_errors_say_what_to_do():
    mask = np.zeros((4, 4), int)
    target = target_of(mask)
    with pytest.raises(ValueError, match=r"one shape \(B, H, W, C\). Received"):
        metrics.surface_scores(target, mask[:2])
    with pytest.raises(ValueError, match="predicted ids from 0 to 1. Received: 0 to 7"):
        metrics.surface_scores(target, np.where(np.eye(4), 7, 0))
    with pytest.raises(ValueError, match="tolerance must be a number from 0 on. Received: -1"):
        metrics.surface_scores(target, mask, tolerance=-1)
    for wrong in (0.5, (1, 0), (1, 1, 1), (1, float("nan")), ("1", 1)):
        with pytest.raises(ValueError, match="pixel_size must be the height and the width"):
            metrics.surface_scores(target, mask, pixel_size=wrong)
    planes = np.ones((1, 4, 4, 2), int)
    overlapping = LabelSpace(["a", "b"], background=None, ignore_index=None, exclusive=False)
    with pytest.raises(ValueError, match="one label a pixel. Received: pixels with several"):
        metrics.surface_scores(encode(planes, np.ones((1, 2), bool), overlapping)[0], mask)

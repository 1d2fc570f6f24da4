"""Bootstrap intervals: what they cover, whole groups, and no interval without evidence."""

import numpy as np
import pytest

from segkit import metrics


def counts(rng, images, classes=3, quality=0.8):
    """Per-image counts of objects of 100 pixels, each found to a share around `quality`."""
    right = rng.binomial(100, rng.beta(8 * quality, 8 * (1 - quality), (images, classes)))
    return right, 100 - right, 100 - right, np.ones((images, classes), bool)


def test_contains_the_score_and_narrows_with_the_images():
    few, many = (metrics.bootstrap(*counts(np.random.default_rng(0), n)) for n in (20, 2000))
    right, wrong, missed, _ = counts(np.random.default_rng(0), 2000)
    iou = right.sum(0) / (right + wrong + missed).sum(0)
    assert (many.iou[0] < iou).all() and (iou < many.iou[1]).all()
    assert many.mean_iou[0] < iou.mean() < many.mean_iou[1]
    np.testing.assert_allclose(many.dice, 2 * many.iou / (1 + many.iou))
    widths = [np.diff(found.iou, axis=0) for found in (few, many)]
    assert (widths[0] > 5 * widths[1]).all()  # ten times, but for chance
    assert many.units.tolist() == [2000] * 3


def test_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    right, wrong, missed, _ = counts(rng, 200_000, 1)
    truth = right.sum() / (right + wrong + missed).sum()
    found = [metrics.bootstrap(*counts(rng, 50, 1), n=200, level=0.9, seed=s) for s in range(200)]
    inside = np.mean([f.iou[0, 0] <= truth <= f.iou[1, 0] for f in found])
    assert 0.82 < inside < 0.96


def test_equal_to_drawing_by_hand():
    """The same numbers, drawn image by image and summed in a loop."""
    rng = np.random.default_rng(2)
    parts = rng.integers(0, 9, (3, 7, 2))
    known = np.arange(14).reshape(7, 2) % 3 > 0
    found = metrics.bootstrap(*parts, known, n=50, seed=5, level=0.8)
    drawn = np.random.default_rng(5).integers(0, 7, (50, 7))
    ious = []
    for rows in drawn:
        right, wrong, missed = (np.where(known, part, 0)[rows].sum(0) for part in parts)
        ious.append(right / (right + wrong + missed))
    np.testing.assert_allclose(found.iou, np.quantile(ious, [0.1, 0.9], axis=0))
    np.testing.assert_allclose(found.mean_iou, np.quantile(np.mean(ious, 1), [0.1, 0.9]))


def test_images_of_one_group_are_drawn_together():
    """Ten copies of each image are no new evidence; taken for images, they seem to be."""
    single = counts(np.random.default_rng(3), 30)
    copies = [np.repeat(part, 10, axis=0) for part in single]
    patients = np.repeat([f"patient {i}" for i in range(30)], 10)
    honest = metrics.bootstrap(*copies, groups=patients)
    blind = metrics.bootstrap(*copies)
    alone = metrics.bootstrap(*single, groups=[f"patient {i}" for i in range(30)])
    np.testing.assert_allclose(honest.iou, alone.iou)
    assert (np.diff(honest.iou, axis=0) > 2 * np.diff(blind.iou, axis=0)).all()
    assert honest.units.tolist() == [30] * 3


def test_unknown_cells_do_not_count_and_one_image_is_no_evidence():
    right, wrong, missed, known = counts(np.random.default_rng(4), 30)
    known[:, 1] = False
    known[1:, 2] = False
    right[0, 1] = 10**9
    found = metrics.bootstrap(right, wrong, missed, known)
    assert np.isfinite(found.iou[:, 0]).all() and np.isnan(found.iou[:, 1:]).all()
    assert found.units.tolist() == [30, 0, 1]
    said = found.to_dict()
    assert said["iou_intervals"][1] == [None, None] and said["level"] == 0.95
    assert said["mean_iou_interval"] == found.mean_iou.tolist()
    alone = metrics.bootstrap(*(part[:1] for part in (right, wrong, missed, known)))
    assert alone.to_dict()["mean_iou_interval"] == [None, None]


def test_errors_say_what_came():
    parts = counts(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match=r"one shape \(N, C\).*Received: \(4, 3\), \(4, 3\), \(2"):
        metrics.bootstrap(*parts[:2], parts[2][:2], parts[3])
    with pytest.raises(ValueError, match="draws from images. Received: none"):
        metrics.bootstrap(*(part[:0] for part in parts))
    with pytest.raises(ValueError, match="one entry an image, 4 here. Received: 2"):
        metrics.bootstrap(*parts, groups=["a", "b"])
    with pytest.raises(ValueError, match="level must be a number between 0 and 1. Received: 95"):
        metrics.bootstrap(*parts, level=95)
    with pytest.raises(ValueError, match="n must be a whole number from 1 on. Received: 0"):
        metrics.bootstrap(*parts, n=0)

"""Curves, calibration, thresholds and outlines of independent classes, each by itself."""

import numpy as np
import pytest
from scipy.special import expit
from test_metrics_surfaces import by_loops

from segkit import metrics
from segkit.contract import LABELLED, RULED_OUT, UNKNOWN
from segkit.inference import decide
from segkit.metrics.thresholds import SCORES, class_scores


@pytest.fixture(scope="module")
def case():
    """Three images of 5 classes that overlap, some ignored pixels, some cells nobody looked at."""
    rng = np.random.default_rng(0)
    target = rng.choice([RULED_OUT, LABELLED, UNKNOWN], (3, 12, 14, 5), p=[0.6, 0.3, 0.1])
    target[0, ..., 1] = target[1, ..., 1] = target[2, ..., 4] = UNKNOWN
    target[:, ..., 3] = np.where(target[..., 3] == LABELLED, RULED_OUT, target[..., 3])
    shift = [0, 1, -1, 0, 0.5]
    p = expit(2 * (target == LABELLED) - 1 + rng.normal(size=target.shape) + shift)
    return target.astype("int8"), p.astype("float32")


def cells_of(case, c):
    """Probability and label of each judged pixel of class c."""
    target, p = case
    judged = target[..., c] != UNKNOWN
    return p[..., c][judged], target[..., c][judged] == LABELLED


def test_average_precision_is_that_of_scikit_learn(case):
    from sklearn.metrics import average_precision_score

    found = metrics.count_probabilities(*case, exclusive=False)
    for c in (0, 1, 2, 4):
        p, there = cells_of(case, c)
        expected = average_precision_score(there, p)
        assert found.average_precision[c] == pytest.approx(expected, abs=1e-3)
    assert np.isnan(found.average_precision[3]) and found.images.tolist() == [3, 1, 3, 0, 2]


def test_the_calibration_error_is_the_mean_of_the_classes(case):
    found = metrics.count_reliability(*case, exclusive=False)
    errors = []
    for c in range(5):
        p, there = cells_of(case, c)
        bins = np.clip(np.ceil(p * 15) - 1, 0, 14)
        gaps = [abs(p[bins == b].sum() - there[bins == b].sum()) for b in range(15)]
        errors.append(sum(gaps) / len(p))
    np.testing.assert_allclose(found.class_ece, errors, atol=1e-6)
    assert found.ece == pytest.approx(np.mean(errors))
    pixels = sum(len(cells_of(case, c)[0]) for c in range(5))
    assert sum(row["pixels"] for row in found.bins) == pixels
    again = found + found
    assert again.predicted is None and again.ece == pytest.approx(found.ece)


@pytest.mark.parametrize("score", SCORES)
def test_no_threshold_is_better_than_that_of_each_class(case, score):
    target, p = case
    best = metrics.own_thresholds(metrics.count_probabilities(*case, exclusive=False), score)
    assert best[3] == 0.5  # no pixel carries it
    found = class_scores(metrics.count(target, decide(p, best, exclusive=False)), score)
    for c in (0, 1, 2, 4):
        values, there = cells_of(case, c)
        for t in np.unique(values):
            one = metrics.count(
                np.where(there, LABELLED, RULED_OUT).astype("int8")[None, None, :, None],
                (values >= t)[None, None, :, None],
            )
            # Probabilities in one bin count as equal.
            assert class_scores(one, score)[0] <= found[c] + 2e-3


def test_a_threshold_lies_between_what_it_parts():
    p = np.array([0.1, 0.2, 0.6, 0.7])[None, None, :, None]
    target = np.array([0, 0, 1, 1], "int8")[None, None, :, None]
    counted = metrics.count_probabilities(target, p, exclusive=False)
    assert metrics.own_thresholds(counted, "iou")[0] == 0.5
    lower = metrics.own_thresholds(
        metrics.count_probabilities(target, p / 2, exclusive=False), "iou"
    )
    assert 0.1 < lower[0] <= 0.3


def test_the_temperature_is_that_of_the_binary_cross_entropy():
    """Labels drawn with sigmoid(logit / 3): the temperature comes out as 3."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=40_000) * 6
    there = rng.random(len(logits)) < expit(logits / 3)
    p = np.clip(expit(logits), 1e-30, 1 - 1e-7)
    drawn = np.stack([np.log(p), np.log1p(-p)], -1), np.stack([there, ~there], -1)
    fitted = metrics.fit_temperature(*drawn, np.ones(len(p)))
    assert fitted == pytest.approx(3, rel=0.03)
    q = expit(np.log(p / (1 - p)) / 2)
    expected = -np.mean(np.where(there, np.log(q), np.log1p(-q)))
    found = metrics.marginal_nll(*drawn, np.ones(len(p)), 2)
    assert found == pytest.approx(expected, rel=1e-4)


def test_outlines_of_each_class_whatever_lies_over_it():
    rng = np.random.default_rng(1)
    target = np.zeros((20, 22, 3), "int8")
    target[3:12, 4:14, 0] = 1
    target[6:18, 2:10, 1] = 1
    planes = np.roll(target, (1, 2), (0, 1)).astype("uint8")
    planes[..., 2] = rng.random((20, 22)) < 0.1  # of a class that is not there
    found = metrics.surface_scores(target, planes, tolerance=1)
    for c in range(3):
        expected = by_loops(planes[..., c] == 1, target[..., c] == 1, 1, (1, 1))
        np.testing.assert_allclose([score[c] for score in found], expected)
    target[..., 1] = UNKNOWN
    assert np.isnan(metrics.surface_scores(target, planes).dice[1])
    target[:8, :, 0] = UNKNOWN  # ignored: of neither
    seen = metrics.surface_scores(target, planes, tolerance=1)
    expected = by_loops(planes[8:, :, 0] == 1, target[8:, :, 0] == 1, 1, (1, 1))
    np.testing.assert_allclose([score[0] for score in seen], expected)

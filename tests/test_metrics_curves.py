"""Precision and recall over thresholds: as scikit-learn has them, and on known cells only."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from segkit import metrics
from segkit.metrics.curves import BINS, EDGES, bin_of
from segkit.targets import encode


def counted(scores, labelled):
    """Counts of one class and its rest, for scores (N,) of that class."""
    scores, labelled = np.asarray(scores), np.asarray(labelled, bool)
    target = np.stack([~labelled, labelled], -1).astype("int8")[None, None]
    return metrics.count_probabilities(target, np.stack([1 - scores, scores], -1)[None, None])


def test_known_case_of_scikit_learn():
    """The example of its documentation, average precision 0.83."""
    scores, labelled = [0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]
    found = counted(scores, labelled)
    assert found.average_precision[1] == pytest.approx(5 / 6)
    precision, recall, thresholds = found.precision_recall(1)
    assert precision.tolist() == pytest.approx([1 / 2, 2 / 3, 1 / 2, 1, 1])
    assert recall.tolist() == [1, 1, 0.5, 0.5, 0]
    np.testing.assert_allclose(thresholds, [0.1, 0.35, 0.4, 0.8], atol=0.001)
    assert (thresholds <= [0.1, 0.35, 0.4, 0.8]).all()


@pytest.mark.parametrize("crowded", [False, True])
def test_agrees_with_scikit_learn(crowded):
    """Probabilities of a confident softmax crowd within 1e-4 of 0 and 1."""
    rng = np.random.default_rng(0)
    labelled = rng.random(5000) < 0.2
    logits = rng.normal(size=5000) + 1.5 * labelled - 1
    scores = 1 / (1 + np.exp(-(6 if crowded else 1) * logits))
    found = counted(scores, labelled)
    exact = average_precision_score(labelled, scores)
    assert found.average_precision[1] == pytest.approx(exact, abs=1e-3)
    # with probabilities brought to the edges of their bins, everything is exact
    scores = EDGES[bin_of(scores)]
    found = counted(scores, labelled)
    assert found.average_precision[1] == pytest.approx(average_precision_score(labelled, scores))
    for mine, theirs in zip(found.precision_recall(1), precision_recall_curve(labelled, scores)):
        np.testing.assert_allclose(mine, theirs)


def test_edges_and_bins_belong_together():
    assert (np.diff(EDGES) > 0).all() and EDGES[0] == 0 and EDGES[BINS // 2] == 0.5
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    np.testing.assert_array_equal(bin_of(middles), np.arange(BINS - 1))
    np.testing.assert_array_equal(bin_of(EDGES), np.arange(BINS))
    assert bin_of(np.array([0.0, 1.0, 0.5])).tolist() == [0, BINS - 1, BINS // 2]
    below = np.nextafter(np.float32(0.5), np.float32(0))
    assert bin_of(np.array([below, 0.5], "float32")).tolist() == [BINS // 2 - 1, BINS // 2]
    assert np.diff(EDGES).max() < 0.001


def test_only_judged_pixels_of_known_cells_count(labels):
    masks = np.array([[[1, 0, 3, 255]], [[1, 0, 3, 255]]])
    target = encode(masks, np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool), labels)
    probabilities = np.full(target.shape, 0.25, "float32")
    found = metrics.count_probabilities(target, probabilities)
    assert found.positives.sum(1).tolist() == [1, 2, 0, 1]
    assert found.negatives.sum(1).tolist() == [2, 4, 6, 2]
    assert found.images.tolist() == [1, 2, 0, 1]
    assert np.isnan(found.average_precision).tolist() == [False, False, True, False]
    precision, recall, thresholds = found.precision_recall(2)
    assert np.isnan(recall).all() and precision.tolist() == [0, 1] and len(thresholds) == 1


def test_counts_add_up_over_images(batch):
    target, logits = batch
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    parts = [
        metrics.count_probabilities(target[i : i + 1], probabilities[i : i + 1]) for i in range(4)
    ]
    total = sum(parts[1:], parts[0])
    for name, value in vars(metrics.count_probabilities(target, probabilities)).items():
        np.testing.assert_array_equal(value, getattr(total, name))


@pytest.mark.parametrize("value", [np.nan, -3.0, 7.0])
def test_what_is_no_probability_is_refused(batch, value):
    target, logits = batch
    wrong = np.full(logits.shape, 0.25)
    wrong[2, 1, 1, 0] = value
    for counting in (metrics.count_probabilities, metrics.count_reliability):
        with pytest.raises(ValueError, match=r"needs probabilities, from 0 to 1. Received"):
            counting(target, wrong)
        with pytest.raises(ValueError, match="one shape"):
            counting(target, np.full((1, 2, 2, 4), 0.25))

"""Thresholds: the known case, scores, counts for all of them, and a search that never loses."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import fbeta_score, jaccard_score

from segkit import metrics
from segkit.inference import decide
from segkit.labels import LabelSpace
from segkit.metrics.thresholds import (
    EVEN,
    SCORES,
    Tuning,
    best_thresholds,
    class_scores,
    mean_score,
)
from segkit.targets import encode


def two_classes(labelled, p):
    """Target and probabilities, (1, 1, N, 2), of a class and its rest."""
    labelled, p = np.asarray(labelled, bool), np.asarray(p, "float32")
    target = np.stack([~labelled, labelled], -1).astype("int8")
    return target[None, None], np.stack([1 - p, p], -1)[None, None]


def tuned(target, p, score, background=0, elsewhere=None):
    """A search to its end, and its mean scores."""
    tuning, means = Tuning(score, target.shape[-1], background), []
    while not tuning.finished:
        counted = metrics.count(target, decide(p, tuning.proposal))
        found = metrics.count_thresholds(target, p, tuning.proposal)
        other = elsewhere and metrics.count(elsewhere[0], decide(elsewhere[1], tuning.proposal))
        tuning.learn(counted, found, other)
        means.append(mean_score(tuning.counts, score))
        assert len(means) < 50
    return tuning, means


def test_the_threshold_is_a_decision_taken_after_training():
    """Five points: least squares then 0.5 gets 3 right, the threshold x = 1.0 gets 4."""
    x, labelled = np.array([0, 0, 2, 2, 9]), np.array([0, 0, 1, 1, 0])
    line = np.polyval(np.polyfit(x, labelled, 1), x)
    assert ((line >= 0.5) == labelled).sum() == 3
    target, p = two_classes(labelled, x / 10)
    assert (decide(p)[0, 0] == labelled).sum() == 2
    thresholds = tuned(target, p, "accuracy")[0].thresholds
    assert thresholds[0] == EVEN and 10 * thresholds[1] == pytest.approx(1.0, abs=0.01)
    assert (decide(p, thresholds)[0, 0] == labelled).sum() == 4


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_those_of_scikit_learn(score):
    rng = np.random.default_rng(0)
    truth, decided = rng.integers(0, 3, (2, 400))
    decided = np.where(rng.random(400) < 0.5, truth, decided)
    target = (truth[None, None, :, None] == np.arange(3)).astype("int8")
    found = class_scores(metrics.count(target, decided[None, None]), score)
    expected = {
        "iou": lambda: jaccard_score(truth, decided, average=None),
        "dice": lambda: fbeta_score(truth, decided, beta=1, average=None),
        "f0.5": lambda: fbeta_score(truth, decided, beta=0.5, average=None),
        "f2": lambda: fbeta_score(truth, decided, beta=2, average=None),
        "accuracy": lambda: [((truth == c) == (decided == c)).mean() for c in range(3)],
    }[score]()
    np.testing.assert_allclose(found, expected)


@pytest.fixture(scope="module")
def scenes():
    """Partly annotated images of four classes, and probabilities that lean towards the truth."""
    labels = LabelSpace(["background", "a", "b", "c"])
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (8, 5, 6))
    annotated = rng.random((8, 4)) < 0.7
    annotated[:, 0] = annotated[:3] = True
    p = softmax(1.5 * (masks[..., None] == np.arange(4)) + rng.normal(size=(8, 5, 6, 4)), -1)
    masks = np.where(annotated[np.arange(8)[:, None, None], masks], masks, 0)
    masks[:, 0, 0] = 255
    return encode(masks, annotated, labels), p.astype("float32")


def test_counts_for_every_threshold_are_those_of_deciding_anew(scenes):
    """Of all classes, with each class' threshold at many places and the others as they are."""
    target, p = scenes
    others = (0.5, 0.3, 0.6, 0.45)
    found = metrics.count_thresholds(target, p, others)
    for c in range(4):
        parts = found.decided(c)
        for k in range(1500, 2600, 75):
            thresholds = [found.edges[k] if a == c else t for a, t in enumerate(others)]
            counts = metrics.count(target, decide(p, thresholds))
            expected = (
                counts.true_positives,
                counts.false_positives,
                counts.false_negatives,
                counts.true_negatives,
            )
            for mine, theirs in zip(parts, expected):
                np.testing.assert_array_equal(mine[:, k], theirs)


@pytest.mark.parametrize("score", SCORES)
def test_best_threshold_is_the_best_of_all(scenes, score):
    """Against deciding with each of many thresholds for one class."""
    target, p = scenes
    others = (0.5, 0.3, 0.6, 0.45)
    found = metrics.count_thresholds(target, p, others)
    thresholds, means = best_thresholds(found, score)

    def mean(c, t):
        moved = [t if a == c else other for a, other in enumerate(others)]
        return mean_score(metrics.count(target, decide(p, moved)), score)

    for c in range(4):
        every = [mean(c, t) for t in found.edges[1200:2900:5]]
        assert means[c] >= max(every) - 1e-9 and mean(c, thresholds[c]) == pytest.approx(means[c])
        assert means[c] > mean(c, others[c])


def test_counts_add_up_over_images(scenes):
    target, p = scenes
    t = (0.5, 0.3, 0.6, 0.45)
    parts = [metrics.count_thresholds(target[i : i + 1], p[i : i + 1], t) for i in range(8)]
    for name, value in vars(metrics.count_thresholds(target, p, t)).items():
        np.testing.assert_array_equal(value, getattr(sum(parts[1:], parts[0]), name))


def test_many_classes_take_coarser_bins_and_bounded_memory():
    p = np.full((1, 2, 2, 120), 1 / 120, "float32")
    target = np.zeros((1, 2, 2, 120), "int8")
    target[..., 7] = 1
    found = metrics.count_thresholds(target, p, (0.5,) * 120)
    assert found.other.size <= 2 * 2**20 and EVEN in found.edges
    assert metrics.count_thresholds(target[..., :8], p[..., :8], (0.5,) * 8).own.shape[1] == 4096


def test_without_evidence_a_class_stays_at_one_half():
    """Never annotated, annotated and nowhere, or everywhere."""
    rng = np.random.default_rng(0)
    labels = LabelSpace(["background", "seen", "absent", "unknown"])
    masks = rng.integers(0, 2, (3, 4, 5))
    target = encode(masks, np.array([[True, True, True, False]] * 3), labels)
    tuning, _ = tuned(target, rng.dirichlet(np.ones(4), (3, 4, 5)).astype("float32"), "iou")
    assert tuning.thresholds[2:] == (EVEN, EVEN)
    everywhere, p = two_classes(np.ones(6), np.linspace(0.1, 0.4, 6))
    assert tuned(everywhere, p, "iou", None)[0].thresholds == (EVEN, EVEN)
    ignored = np.full((1, 2, 2, 3), -1, "int8")
    nothing, means = tuned(ignored, np.full((1, 2, 2, 3), 1 / 3, "float32"), "iou")
    assert nothing.thresholds == (EVEN,) * 3 and np.isnan(means).all()


def underconfident(rng, n=4000):
    """Three classes whose model gives the two rare ones too small a probability."""
    truth = rng.choice(3, (n, 1, 30), p=[0.8, 0.1, 0.1])
    logits = 1.2 * (truth[..., None] == np.arange(3)) + rng.normal(size=(n, 1, 30, 3))
    logits += [2.5, 0, -1]
    target = (truth[..., None] == np.arange(3)).astype("int8")
    return target, softmax(logits, -1).astype("float32")


def test_the_search_rises_and_ends_near_the_best_of_a_grid():
    rng = np.random.default_rng(0)
    target, p = underconfident(rng, 300)
    tuning, means = tuned(target, p, "iou")
    assert len(means) <= 12 and tuning.thresholds[0] == EVEN
    assert means == sorted(means) and means[-1] > means[0] + 0.1
    grid = np.linspace(0.02, 0.6, 15)
    best = max(
        mean_score(metrics.count(target, decide(p, (0.5, a, b))), "iou") for a in grid for b in grid
    )
    assert means[-1] > best - 0.001
    again = metrics.count(target, decide(p, tuning.thresholds))
    assert mean_score(again, "iou") == means[-1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("background", [0, None])
def test_the_search_never_ends_below_one_half_everywhere(seed, background):
    """Also where a model knows nothing, or all there is to know."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (5, 3, 3))
    target = (truth[..., None] == np.arange(4)).astype("int8")
    for p in (rng.dirichlet(np.ones(4), truth.shape), 0.97 * target + 0.0075):
        p = p.astype("float32")
        tuning, _ = tuned(target, p, "dice", background)
        even = mean_score(metrics.count(target, decide(p)), "dice")
        assert mean_score(metrics.count(target, decide(p, tuning.thresholds)), "dice") >= even
        if even == 1:
            assert tuning.thresholds == (EVEN,) * 4


def test_what_happens_elsewhere_goes_with_the_best_thresholds():
    rng = np.random.default_rng(0)
    mine, other = underconfident(rng, 100), underconfident(rng, 100)
    tuning, _ = tuned(*mine, "iou", elsewhere=other)
    expected = metrics.count(other[0], decide(other[1], tuning.thresholds))
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(value, getattr(tuning.elsewhere, name))


def test_no_such_score():
    target, p = two_classes([0, 1], [0.1, 0.9])
    with pytest.raises(ValueError, match="score must be one of iou, .*Received: 'auc'"):
        best_thresholds(metrics.count_thresholds(target, p, (0.5, 0.5)), "auc")


def test_temperature_undoes_what_sharpened_the_logits():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 1.5
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits, -1)])
    candidates = truth[:, None] == np.arange(3)
    log_p = np.log(softmax(2.5 * logits, -1)).astype("float32")
    found = metrics.fit_temperature(log_p, candidates, np.ones(len(truth)))
    assert found == pytest.approx(2.5, rel=0.05)
    before, after = (
        metrics.marginal_nll(log_p, candidates, np.ones(len(truth)), t) for t in (1, found)
    )
    assert after < before - 0.1


def test_marginal_nll_by_hand_and_with_unsettled_pixels():
    p = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]], "float32")
    candidates = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
    weights = np.array([1, 3, 4])
    expected = -(np.log(0.5) + 3 * np.log(0.3) + 4 * 0) / 8
    found = metrics.marginal_nll(np.log(p), candidates, weights)
    assert found == pytest.approx(expected)
    halved = p**0.5 / (p**0.5).sum(1, keepdims=True)
    found = metrics.marginal_nll(np.log(p), candidates, weights, 2.0)
    expected = -(np.log(halved[0, 0]) + 3 * np.log(halved[1, :2].sum())) / 8
    assert found == pytest.approx(expected)
    with pytest.raises(ValueError, match="something is known. Received: none"):
        metrics.fit_temperature(np.log(p), np.ones_like(candidates), weights)


def test_hiding_labels_at_random_moves_the_temperature_little():
    """Half of the pixels with an object keep only "background or this one"."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) + [1, 0, 0]
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits, -1)])
    log_p = np.log(softmax(2 * logits, -1)).astype("float32")
    full = truth[:, None] == np.arange(3)
    hidden = rng.random((len(truth), 3)) < 0.5
    hidden[:, 0] = False
    gone = hidden[np.arange(len(truth)), truth]
    either = (truth == 0) | gone
    partly = np.where(either[:, None], hidden | (np.arange(3) == 0), full)
    found = metrics.fit_temperature(log_p, partly, np.ones(len(truth)))
    assert found == pytest.approx(2.0, rel=0.08)

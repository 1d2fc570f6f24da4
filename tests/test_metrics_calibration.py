"""Confidence against accuracy: by hand, and without a bias where annotations are missing."""

import numpy as np
import pytest

from segkit import metrics
from segkit.targets import encode


def probabilities_of(top, classes, best):
    """(1, 1, N, C): `top` for the class `best` of each pixel, the rest spread over the others."""
    top, best = np.asarray(top), np.asarray(best)
    rest = (1 - top) / (classes - 1)
    chosen = best[:, None] == np.arange(classes)
    return np.where(chosen, top[:, None], rest[:, None])[None, None]


def test_by_hand(labels):
    """0.9 twice, right once; 0.5 twice, right twice; one ignored."""
    mask = np.array([[[1, 0, 2, 2, 255]]])
    target = encode(mask, np.ones((1, 4), bool), labels)
    found = metrics.count_reliability(
        target, probabilities_of([0.9, 0.9, 0.5, 0.5, 0.7], 4, [1, 1, 2, 2, 3])
    )
    assert found.ece == pytest.approx((2 * 0.4 + 2 * 0.5) / 4)
    assert found.mce == pytest.approx(0.5)
    held = [row for row in found.bins if row["pixels"]]
    assert [row["pixels"] for row in held] == [2, 2]
    assert [row["accuracy"] for row in held] == [1, 0.5]
    assert [row["confidence"] for row in held] == pytest.approx([0.5, 0.9])
    assert [(row["low"] * 15, row["high"] * 15) for row in held] == [
        pytest.approx((7, 8)),
        pytest.approx((13, 14)),
    ]
    assert found.bins[0]["accuracy"] is None
    # ellipse: 0.9 twice of which one is right, 1/6 twice with none
    assert found.class_ece[1] == pytest.approx((2 * 0.4 + 2 / 6) / 4)
    assert sum(row["pixels"] for row in found.class_bins(1)) == 4


def test_bins_are_closed_above(labels):
    """As in the definition of Guo et al.: 1/3 is the end of a bin, and 1 lies in the last one."""
    target = encode(np.array([[[1, 1]]]), np.ones((1, 4), bool), labels)
    found = metrics.count_reliability(target, probabilities_of([1.0, 6 / 15], 4, [1, 1]))
    assert np.flatnonzero(found.pixels.sum(0)).tolist() == [5, 14]


def test_calibrated_is_zero_and_overconfident_is_not():
    rng = np.random.default_rng(0)
    p = rng.random((4, 50, 50, 1))
    labelled = rng.random(p.shape) < p
    target = np.concatenate([~labelled, labelled], -1).astype("int8")
    good = metrics.count_reliability(target, np.concatenate([1 - p, p], -1))
    assert good.ece < 0.02 and (good.class_ece < 0.03).all()
    sharper = p**3 / (p**3 + (1 - p) ** 3)
    bad = metrics.count_reliability(target, np.concatenate([1 - sharper, sharper], -1))
    assert bad.ece > 0.08 and bad.mce > bad.ece
    assert (bad.class_ece > 0.08).all()


def hidden_scenes(labels, rng, images=600):
    """Targets with everything known and with half the cells hidden, and probabilities.

    Objects are found in 40 % of their pixels at 0.9, background nearly always at 0.8.
    """
    masks = np.where(rng.random((images, 1, 40)) < 0.3, rng.integers(1, 4, (images, 1, 40)), 0)
    right = rng.random(masks.shape) < np.where(masks, 0.4, 0.97)
    guess = np.where(right, masks, rng.integers(0, 4, masks.shape))
    top = np.where(guess, 0.9, 0.8)[..., None]
    probabilities = np.where(guess[..., None] == np.arange(4), top, (1 - top) / 3)
    annotated = rng.random((images, 4)) < 0.5
    annotated[:, 0] = True
    seen = np.where(annotated[np.arange(images)[:, None, None], masks], masks, 0)
    full = encode(masks, np.ones_like(annotated), labels)
    return full, encode(seen, annotated, labels), probabilities


def test_hiding_annotations_at_random_does_not_change_what_is_measured(labels):
    """The background is known in an eighth of the images, each object in half of them: without
    weights, the sure objects would count four times. Nor is it a matter of the label: among the
    pixels whose label is beyond doubt, predicted background is mostly wrong."""
    full, hidden, probabilities = hidden_scenes(labels, np.random.default_rng(0))
    true, known = (metrics.count_reliability(t, probabilities) for t in (full, hidden))
    assert 0 < known.pixels.sum() < true.pixels.sum() / 3
    assert known.ece == pytest.approx(true.ece, abs=0.03)
    assert known.class_ece == pytest.approx(true.class_ece, abs=0.04)
    for mine, theirs in zip(known.bins, true.bins):
        assert mine["pixels"] == pytest.approx(theirs["pixels"], rel=0.01)
    unweighted = np.abs(known.right.sum(0) - known.confidence.sum(0)).sum() / known.pixels.sum()
    sure = (hidden == 1).any(-1) & (hidden != -1).all(-1)
    chosen = probabilities.argmax(-1)[sure] == hidden.argmax(-1)[sure]
    at_sure = abs(chosen.mean() - probabilities.max(-1)[sure].mean())
    assert abs(unweighted - true.ece) > 0.04 and abs(at_sure - true.ece) > 0.04


def test_counts_add_up_and_no_evidence_is_none(labels, batch):
    target, logits = batch
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    parts = [metrics.count_reliability(target[i : i + 1], p[i : i + 1]) for i in range(4)]
    whole = metrics.count_reliability(target, p)
    for name, value in vars(sum(parts[1:], parts[0])).items():
        np.testing.assert_allclose(value, getattr(whole, name), rtol=1e-6)
    assert whole.to_dict(labels.names)["class_ece"].keys() == set(labels.names)
    nothing = parts[3]  # all ignored
    assert nothing.ece is None and nothing.mce is None and np.isnan(nothing.class_ece).all()
    assert nothing.to_dict(labels.names)["class_ece"]["circle"] is None

"""Twins of the losses that are a mean over pixels."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN
from segkit.losses.reference.pixels import (
    candidates_at,
    images,
    judged,
    labels_at,
    log_softmax,
    log_sum,
    owners_at,
    softmax,
    weights_of,
)


def cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    weight_by: str = "label",
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.CrossEntropy`."""

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        weights = w if weight_by == "label" else np.full(len(w), w[z.argmax()])
        return sum(weights[c] * _label_term(c, z, label_smoothing) for c in labels_at(t))

    return _mean_over_judged(term, target, logits, class_weights)


def gated_cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    gate: str = "predicted",
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.GatedCrossEntropy`."""

    def openness(t: np.ndarray, z: np.ndarray, c: int) -> float:
        unknown = t == UNKNOWN
        if gate == "soft":
            log_p = log_softmax(z)
            return np.exp(log_p[c] - log_sum(log_p[unknown | (t == LABELLED)]))
        if gate == "everywhere":
            return float(not unknown.any())
        return float(not unknown.any() or z[~unknown].max() >= z[unknown].max())

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        return sum(
            openness(t, z, c) * w[c] * _label_term(c, z, label_smoothing) for c in labels_at(t)
        )

    return _mean_over_judged(term, target, logits, class_weights)


def marginal_cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.MarginalCrossEntropy`."""
    return focal_cross_entropy(target, logits, class_weights, 0.0, label_smoothing)


def focal_cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.FocalCrossEntropy`."""

    def cost(log_q: float) -> float:
        return -((1 - min(np.exp(log_q), 1.0)) ** gamma) * log_q

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        log_p, possible = log_softmax(z), candidates_at(t)
        if not len(possible):
            return 0.0
        part = label_smoothing / len(z)
        own = (1 - label_smoothing + part * len(possible)) * cost(log_sum(log_p[possible]))
        others = sum(cost(log_p[c]) for c in range(len(z)) if c not in possible)
        return float(w[owners_at(t)].mean()) * (own + part * others)

    return _mean_over_judged(term, target, logits, class_weights)


def earth_movers(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
) -> np.ndarray:
    """Twin of `segkit.losses.EarthMovers`."""

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        possible = candidates_at(t)
        if not len(possible):
            return 0.0
        cdf = np.cumsum(softmax(z))
        nearest = np.where(np.arange(len(z)) < possible[-1], 0.0, 1.0)
        for start, end in zip(possible, possible[1:]):
            nearest[start:end] = cdf[start:end].mean()
        return float(w[owners_at(t)].mean() * np.sqrt(np.mean((cdf - nearest) ** 2)))

    return _mean_over_judged(term, target, logits, class_weights)


def _label_term(c: int, z: np.ndarray, smoothing: float) -> float:
    """Cross-entropy of the softmax of z with the label c, spread by the smoothing."""
    goal = (1 - smoothing) * np.eye(len(z))[c] + smoothing / len(z)
    return -float(goal @ log_softmax(z))


def _mean_over_judged(
    term: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None,
) -> np.ndarray:
    values = []
    for image_target, image_logits in images(target, logits):
        w = weights_of(class_weights, image_target.shape[-1])
        terms = [term(t, z, w) for t, z in judged(image_target, image_logits)]
        values.append(sum(terms) / max(len(terms), 1))
    return np.array(values, "float64")

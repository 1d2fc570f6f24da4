"""NumPy twins of the losses: loops over pixels in float64, written from the formulas.

Slow on purpose: each reads like its formula, and a run of the fast loss is debugged by
comparing it with its twin on a few pixels. One function a loss, same arguments; all take a
target (B, H, W, C) and logits (B, H, W, C) and return one value an image, float64 (B,).
"""

from __future__ import annotations

import math
from typing import Any, Callable, Iterator, Sequence

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN

Twin = Callable[..., np.ndarray]


def softmax(z: np.ndarray) -> np.ndarray:
    """The probabilities (C,) of the logits (C,) of one pixel."""
    e = np.exp(z - z.max())
    return e / e.sum()


def log_softmax(z: np.ndarray) -> np.ndarray:
    """The log-probabilities (C,) of the logits (C,) of one pixel."""
    return z - z.max() - math.log(np.exp(z - z.max()).sum())


def cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    weight_by: str = "label",
) -> np.ndarray:
    """Twin of `segkit.losses.CrossEntropy`."""

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        weights = w if weight_by == "label" else np.full(len(w), w[z.argmax()])
        return -sum(weights[c] * log_softmax(z)[c] for c in np.flatnonzero(t == LABELLED))

    return _mean_over_judged(term, target, logits, class_weights)


def gated_cross_entropy(
    target: np.ndarray, logits: np.ndarray, class_weights: Sequence[float] | None = None
) -> np.ndarray:
    """Twin of `segkit.losses.GatedCrossEntropy`."""

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        if t[z.argmax()] == UNKNOWN:
            return 0.0
        return -sum(w[c] * log_softmax(z)[c] for c in np.flatnonzero(t == LABELLED))

    return _mean_over_judged(term, target, logits, class_weights)


def marginal_cross_entropy(
    target: np.ndarray, logits: np.ndarray, class_weights: Sequence[float] | None = None
) -> np.ndarray:
    """Twin of `segkit.losses.MarginalCrossEntropy`."""

    def term(t: np.ndarray, z: np.ndarray, w: np.ndarray) -> float:
        possible = np.flatnonzero(t != RULED_OUT)
        owners = np.flatnonzero(t == LABELLED) if (t == LABELLED).any() else possible
        log_p = log_softmax(z)[possible]
        log_q = log_p.max() + math.log(np.exp(log_p - log_p.max()).sum())
        return -float(w[owners].mean()) * log_q

    return _mean_over_judged(term, target, logits, class_weights)


def soft_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.SoftDice`."""
    values = []
    for image_target, image_logits in _images(target, logits):
        w = _weights(class_weights, image_target.shape[-1])
        pixels = list(_judged(image_target, image_logits))
        value = 0.0
        for c in range(len(w)):
            overlap = sum(softmax(z)[c] for t, z in pixels if t[c] == LABELLED)
            total = sum((t[c] == LABELLED) + softmax(z)[c] for t, z in pixels)
            value += w[c] * (1 - (2 * overlap + smooth) / (total + smooth)) / w.sum()
        values.append(value)
    return np.array(values, "float64")


def bce_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.BCEDice`."""
    values = []
    for image_target, image_logits in _images(target, logits):
        w = _weights(class_weights, image_target.shape[-1])
        pixels = list(_judged(image_target, image_logits))
        value = 0.0
        for c in range(len(w)):
            bce = overlap = total = 0.0
            for t, z in pixels:
                if t[c] != UNKNOWN:
                    v = w[t == LABELLED].mean() if (t == LABELLED).any() else 1.0
                    y, s = float(t[c] == LABELLED), 1 / (1 + math.exp(-z[c]))
                    bce += v * (np.logaddexp(0, z[c]) - y * z[c])
                    overlap += v * y * s
                    total += v * (y + s)
            dice = (2 * overlap + smooth) / (total + smooth)
            value += (bce / max(len(pixels), 1) + 1 - dice) / len(w)
        values.append(value)
    return np.array(values, "float64")


def weighted_sum(
    target: np.ndarray,
    logits: np.ndarray,
    losses: Sequence[Twin],
    weights: Sequence[float] | None = None,
    class_weights: Sequence[float] | None = None,
) -> np.ndarray:
    """Twin of `segkit.losses.WeightedSum`; `losses` are twins."""
    factors = [1.0] * len(losses) if weights is None else weights
    return sum(f * twin(target, logits, class_weights) for f, twin in zip(factors, losses))


def _mean_over_judged(
    term: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None,
) -> np.ndarray:
    values = []
    for image_target, image_logits in _images(target, logits):
        w = _weights(class_weights, image_target.shape[-1])
        terms = [term(t, z, w) for t, z in _judged(image_target, image_logits)]
        values.append(sum(terms) / max(len(terms), 1))
    return np.array(values, "float64")


def _images(target: Any, logits: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return zip(np.asarray(target), np.asarray(logits, "float64"))


def _judged(target: np.ndarray, logits: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The (C,) target and logits of each pixel of one image about which something is known."""
    for row, column in np.ndindex(target.shape[:2]):
        if (target[row, column] != UNKNOWN).any():
            yield target[row, column], logits[row, column]


def _weights(class_weights: Sequence[float] | None, count: int) -> np.ndarray:
    return np.ones(count) if class_weights is None else np.asarray(class_weights, "float64")

"""Twins of the losses that compare regions, and of their sums."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN
from segkit.losses.reference.pixels import (
    candidates_at,
    images,
    judged,
    labels_at,
    owners_at,
    sigmoid,
    softmax,
    weights_of,
)

Pixels = list[tuple[np.ndarray, np.ndarray]]
Twin = Callable[..., np.ndarray]


def soft_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.SoftDice`."""

    def cost(pixels: Pixels, c: int) -> float:
        overlap = sum(softmax(z)[c] for t, z in pixels if t[c] == LABELLED)
        total = sum((t[c] == LABELLED) + softmax(z)[c] for t, z in pixels)
        return 1 - (2 * overlap + smooth) / (total + smooth)

    return _mean_over_classes(cost, target, logits, class_weights)


def tversky(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.Tversky`."""

    def cost(pixels: Pixels, c: int) -> float:
        found = sum(softmax(z)[c] for t, z in pixels if t[c] == LABELLED)
        missed = sum(1 - softmax(z)[c] for t, z in pixels if t[c] == LABELLED)
        invented = sum(softmax(z)[c] for t, z in pixels if t[c] != LABELLED)
        wrong = alpha * invented + beta * missed
        return 1 - (2 * found + smooth) / (2 * found + 2 * wrong + smooth)

    return _mean_over_classes(cost, target, logits, class_weights)


def marginal_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.MarginalDice`."""

    def cost(pixels: Pixels, c: int) -> float:
        owned = [(t, z) for t, z in pixels if c in owners_at(t)]
        right = sum(softmax(z)[candidates_at(t)].sum() for t, z in owned)
        wrong = sum(softmax(z)[c] for t, z in pixels if t[c] == RULED_OUT)
        return 1 - (2 * right + smooth) / (len(owned) + right + wrong + smooth)

    return _mean_over_classes(cost, target, logits, class_weights)


def leaf_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.LeafDice`."""

    def cost(pixels: Pixels, c: int) -> float:
        leaves = [
            softmax(z)[c] for t, z in pixels if t[c] == LABELLED and len(candidates_at(t)) == 1
        ]
        elsewhere = [softmax(z)[c] for t, z in pixels if t[c] == RULED_OUT]
        if not leaves:
            return 0.0
        total = len(leaves) + sum(p**2 for p in leaves + elsewhere)
        return 1 - (2 * sum(leaves) + smooth) / (total + smooth)

    return _mean_over_classes(cost, target, logits, class_weights)


def exclusion(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
    background: int | None = 0,
) -> np.ndarray:
    """Twin of `segkit.losses.Exclusion`."""

    def cannot_be(t: np.ndarray, c: int) -> bool:
        others = [k for k in labels_at(t) if k != background]
        return t[c] == RULED_OUT or (t[c] == UNKNOWN and len(others) > 0)

    def cost(pixels: Pixels, c: int) -> float:
        wrong = [sigmoid(z[c]) for t, z in pixels if cannot_be(t, c)]
        right = [sigmoid(z[c]) for t, z in pixels if t[c] == LABELLED]
        return 2 * sum(wrong) / (len(wrong) + sum(wrong) + sum(right) + smooth)

    weights = weights_of(class_weights, np.asarray(target).shape[-1]).copy()
    if background is not None:
        weights[background] = 0
    return _mean_over_classes(cost, target, logits, weights)


def bce_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.BCEDice`."""
    w = weights_of(class_weights, np.asarray(target).shape[-1])

    def cost(pixels: Pixels, c: int) -> float:
        bce = overlap = total = 0.0
        for t, z in pixels:
            if t[c] != UNKNOWN:
                v = w[labels_at(t)].mean() if (t == LABELLED).any() else 1.0
                y, s = float(t[c] == LABELLED), sigmoid(z[c])
                goal = y * (1 - label_smoothing) + label_smoothing / 2
                bce += v * (np.logaddexp(0, z[c]) - goal * z[c])
                overlap += v * y * s
                total += v * (y + s)
        return bce / max(len(pixels), 1) + 1 - (2 * overlap + smooth) / (total + smooth)

    return _mean_over_classes(cost, target, logits, None)


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


def _mean_over_classes(
    cost: Callable[[Pixels, int], float],
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None,
) -> np.ndarray:
    values = []
    for image_target, image_logits in images(target, logits):
        w = weights_of(class_weights, image_target.shape[-1])
        pixels = judged(image_target, image_logits)
        costs = [w[c] * cost(pixels, c) for c in range(len(w))]
        values.append(sum(costs) / w.sum())
    return np.array(values, "float64")

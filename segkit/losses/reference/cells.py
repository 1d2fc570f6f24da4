"""Twins of the losses that compare cells: each class at each pixel, through a sigmoid."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN
from segkit.losses.reference.pixels import images, judged, labels_at, sigmoid, weights_of


def binary_cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.BinaryCrossEntropy`."""

    def cost(goal: float, z: float) -> float:
        return goal * np.logaddexp(0, -z) + (1 - goal) * np.logaddexp(0, z)

    return _mean_over_cells(cost, target, logits, class_weights, label_smoothing)


def mean_squared_error(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.MeanSquaredError`."""

    def cost(goal: float, z: float) -> float:
        return (sigmoid(z) - goal) ** 2

    return _mean_over_cells(cost, target, logits, class_weights, label_smoothing)


def cosine_similarity(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    smooth: float = 1.0,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.CosineSimilarity`."""
    values = []
    for image_target, image_logits in images(target, logits):
        w = weights_of(class_weights, image_target.shape[-1])
        goals, predicted = [smooth**0.5], [smooth**0.5]
        for cell in np.ndindex(image_target.shape):
            if image_target[cell] != UNKNOWN:
                factor = w[cell[-1]] ** 0.5
                goals.append(factor * _goal(image_target[cell], label_smoothing))
                predicted.append(factor * sigmoid(image_logits[cell]))
        lengths = np.linalg.norm(goals) * np.linalg.norm(predicted)
        values.append(1 - np.dot(goals, predicted) / lengths)
    return np.array(values, "float64")


def _mean_over_cells(
    cost: Callable[[float, float], float],
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None,
    smoothing: float,
) -> np.ndarray:
    values = []
    for image_target, image_logits in images(target, logits):
        w = weights_of(class_weights, image_target.shape[-1])
        pixels, total = judged(image_target, image_logits), 0.0
        for t, z in pixels:
            v = w[labels_at(t)].mean() if (t == LABELLED).any() else 1.0
            known = np.flatnonzero(t != UNKNOWN)
            total += v * sum(cost(_goal(t[c], smoothing), z[c]) for c in known)
        values.append(total / max(len(pixels), 1) / len(w))
    return np.array(values, "float64")


def _goal(state: int, smoothing: float) -> float:
    return float(state == LABELLED) * (1 - smoothing) + smoothing / 2

"""Twins of the losses that weigh the unknown by how likely its annotation is missing."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN
from segkit.losses.reference.pixels import (
    images,
    judged,
    log_softmax,
    log_sum,
    owners_at,
    softmax,
    weights_of,
)


def estimated_cross_entropy(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    annotated_share: float | Sequence[float] = 0.0,
    label_smoothing: float = 0.0,
) -> np.ndarray:
    """Twin of `segkit.losses.EstimatedCrossEntropy`."""
    values = []
    for pixels in _pixels(target, logits):
        value = 0.0
        for t, z, v in _memberships(pixels, annotated_share):
            w, part = weights_of(class_weights, len(z)), label_smoothing / len(z)
            own = -log_sum(log_softmax(z)[v > 0] + np.log(v[v > 0]))
            others = -((1 - v) * log_softmax(z)).sum()
            term = (1 - label_smoothing + part * v.sum()) * own + part * others
            value += w[owners_at(t)].mean() * term
        values.append(value / max(len(pixels), 1))
    return np.array(values, "float64")


def estimated_dice(
    target: np.ndarray,
    logits: np.ndarray,
    class_weights: Sequence[float] | None = None,
    annotated_share: float | Sequence[float] = 0.0,
    smooth: float = 1.0,
) -> np.ndarray:
    """Twin of `segkit.losses.EstimatedDice`."""
    values = []
    for pixels in _pixels(target, logits):
        w = weights_of(class_weights, np.shape(target)[-1])
        right, wrong, owned = np.zeros((3, len(w)))
        for t, z, v in _memberships(pixels, annotated_share):
            right[owners_at(t)] += v @ softmax(z)
            owned[owners_at(t)] += 1
            wrong += (1 - v) * softmax(z)
        dice = (2 * right + smooth) / (owned + right + wrong + smooth)
        values.append(w @ (1 - dice) / w.sum())
    return np.array(values, "float64")


def _pixels(target: np.ndarray, logits: np.ndarray) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    return [judged(*image) for image in images(target, logits)]


def _memberships(pixels: list, annotated_share: float | Sequence[float]) -> list[tuple]:
    """The target, the logits and v of each judged pixel of one image."""
    found = []
    for t, z in pixels:
        v = np.abs(t).astype("float64")
        for c in np.flatnonzero(_doubts(t)):
            p = np.array([softmax(y)[c] for s, y in pixels if _doubts(s)[c]])
            sure = (p**2).sum() / (p.sum() + 1e-3)
            a = np.broadcast_to(annotated_share, len(z))[c]
            v[c] = (1 - a) / max(1 - a * sure, 1e-7)
        found.append((t, z, v))
    return found


def _doubts(t: np.ndarray) -> np.ndarray:
    return (t == UNKNOWN) & (t == LABELLED).any()

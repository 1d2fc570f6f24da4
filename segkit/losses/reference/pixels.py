"""What the twins share: one pixel's probabilities, the judged pixels of an image, the weights."""

from __future__ import annotations

import math
from typing import Any, Iterator, Sequence

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN


def softmax(z: np.ndarray) -> np.ndarray:
    """The probabilities (C,) of the logits (C,) of one pixel."""
    e = np.exp(z - z.max())
    return e / e.sum()


def log_softmax(z: np.ndarray) -> np.ndarray:
    """The log-probabilities (C,) of the logits (C,) of one pixel."""
    return z - z.max() - math.log(np.exp(z - z.max()).sum())


def log_sum(log_p: np.ndarray) -> float:
    """The log of the sum of what `log_p` are the logs of."""
    return log_p.max() + math.log(np.exp(log_p - log_p.max()).sum())


def sigmoid(z: float) -> float:
    """The probability of a logit on its own."""
    return math.exp(-np.logaddexp(0, -z))


def labels_at(t: np.ndarray) -> np.ndarray:
    """The classes labelled at a pixel with the target t (C,)."""
    return np.flatnonzero(t == LABELLED)


def candidates_at(t: np.ndarray) -> np.ndarray:
    """The classes that a pixel with the target t (C,) may belong to."""
    return np.flatnonzero(t != RULED_OUT)


def owners_at(t: np.ndarray) -> np.ndarray:
    """The classes that a pixel counts for: its label, or, without one, its candidates."""
    return labels_at(t) if (t == LABELLED).any() else candidates_at(t)


def images(target: Any, logits: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The target and the logits of each image, (H, W, C)."""
    return zip(np.asarray(target), np.asarray(logits, "float64"))


def judged(target: np.ndarray, logits: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """The (C,) target and logits of each pixel of one image about which something is known."""
    return [
        (target[at], logits[at])
        for at in np.ndindex(target.shape[:2])
        if (target[at] != UNKNOWN).any()
    ]


def weights_of(class_weights: Sequence[float] | None, count: int) -> np.ndarray:
    """(C,) weights, ones if there are none."""
    return np.ones(count) if class_weights is None else np.asarray(class_weights, "float64")

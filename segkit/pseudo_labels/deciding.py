"""From probabilities to what becomes of each unknown pixel: a label, ruled out, or still open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, candidates, judged_pixels
from segkit.labels import LabelSpace


class Thresholds(NamedTuple):
    """From which probabilities on a model is believed, one number a class.

    take: a pixel whose probability is at least that gets the label; above 1: never.
    drop: one whose probability is below that has the class ruled out; below 0: never.
    """

    take: np.ndarray
    drop: np.ndarray

    @classmethod
    def even(cls, confidence: np.ndarray) -> Thresholds:
        """Labels from `confidence` (C,) on, and rules out from 1 - `confidence` down."""
        return cls(np.asarray(confidence, "float64"), 1 - np.asarray(confidence, "float64"))


class Decision(NamedTuple):
    """What became of one image.

    target: int8 (H, W, C), the states as they are now. Exclusive classes: of an open pixel that
        was narrowed down the candidates are UNKNOWN and the others RULED_OUT, as of a coarse label.
    given: int8 (H, W, C), as they were.
    conditional: float32 (H, W, C), the probabilities given what was known.
    """

    target: np.ndarray
    given: np.ndarray
    conditional: np.ndarray

    @property
    def labelled(self) -> np.ndarray:
        """bool (H, W, C): labels that are new; not those of the background that lost its doubt."""
        return (self.target == LABELLED) & (self.given != LABELLED)

    @property
    def doubtful(self) -> np.ndarray:
        """bool (H, W, C): where a class was unknown and still is, but for ignored pixels."""
        unknown = (self.given == UNKNOWN) & (self.target == UNKNOWN)
        return unknown & judged_pixels(self.given)[..., None]

    @property
    def ruled_out(self) -> np.ndarray:
        """bool (H, W, C): where a class was unknown and is excluded now."""
        return (self.given == UNKNOWN) & (self.target == RULED_OUT)


def conditional(target: np.ndarray, probabilities: np.ndarray, exclusive: bool) -> np.ndarray:
    """The probability of each class, given what is known about the pixel.

        q_c = p_c / sum over the candidates k of p_k for a candidate c, else 0

    and p itself where classes are independent.

    Args:
        target: int8 (..., C).
        probabilities: p, (..., C), in [0, 1].
        exclusive: whether the classes exclude each other.

    Returns:
        float32 (..., C). Where the candidates have no probability at all, 0: nothing is decided.
    """
    if not exclusive:
        return np.asarray(probabilities, "float32")
    p = np.where(candidates(target), probabilities, 0).astype("float32")
    total = p.sum(-1, keepdims=True)
    return np.divide(p, total, out=np.zeros_like(p), where=total > 0)


def decided(
    target: np.ndarray,
    probabilities: np.ndarray,
    thresholds: Thresholds,
    labels: LabelSpace,
    fillable: np.ndarray,
) -> Decision:
    """What becomes of the pixels of an image of which something is unknown.

    A pixel that has one candidate is settled, one that nobody judged stays so. Of the others, with
    q as in `conditional`: a foreground class with q_c >= take_c (of several, the one with the
    largest q) becomes the label and rules out all others; else each one with q_c < drop_c is ruled
    out, as long as a candidate is left. Independent classes: each channel on its own, ignored
    pixels of a class that was looked for included in what is left alone.

    Args:
        target: int8 (H, W, C), what the annotation says.
        probabilities: (H, W, C).
        thresholds: take and drop.
        labels: the label space.
        fillable: bool (C,), the classes that may be decided.
    """
    q = conditional(target, probabilities, labels.exclusive)
    told = np.isfinite(probabilities).all(-1, keepdims=True) & (q.sum(-1, keepdims=True) > 0)
    classes = np.array(fillable, bool)
    if labels.background is not None:
        classes[labels.background] = False
    if not labels.exclusive:
        open_ = (target == UNKNOWN) & classes & np.isfinite(probabilities)
        new = np.where(open_ & (q >= thresholds.take), LABELLED, target)
        new = np.where(open_ & (q < thresholds.drop), RULED_OUT, new)
        return Decision(new.astype("int8"), target, q)
    possible = candidates(target)
    several = possible.sum(-1, keepdims=True) > 1
    open_ = judged_pixels(target)[..., None] & several & told
    mine = open_ & possible & classes
    taken = mine & (q >= thresholds.take)
    best = np.argmax(np.where(taken, q, -1), -1)[..., None] == np.arange(len(classes))
    left = possible & ~(mine & (q < thresholds.drop))
    left = np.where(left.any(-1, keepdims=True), left, possible)
    left = np.where(taken.any(-1, keepdims=True), best, left)
    return Decision(_states(left, possible, target), target, q)


def _states(left: np.ndarray, possible: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The states of pixels with the candidates `left`; as they were where these are the same."""
    one = left.sum(-1, keepdims=True) == 1
    new = np.where(left, np.where(one, LABELLED, UNKNOWN), RULED_OUT)
    same = (left == possible).all(-1, keepdims=True)
    return np.where(same, target, new).astype("int8")

"""Thresholds from known cells: how often a label would be right, and what would be ruled out."""

from __future__ import annotations

from typing import Iterable, NamedTuple

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, share
from segkit.labels import LabelSpace
from segkit.pseudo_labels.deciding import Thresholds, conditional

AUTO = "auto"
USUAL = 0.9  # where nothing is said
_BINS = 1000
NEVER = Thresholds(np.array(2.0), np.array(-1.0))


class Tuned(NamedTuple):
    """Thresholds and what they stand on; each (C,).

    thresholds: take and drop.
    pixels: of the class, on known cells of the validation; 0: the usual ones were taken.
    precision: of the labels there; NaN where none would be given.
    recall: share of the pixels of the class that would be labelled; NaN without pixels.
    """

    thresholds: Thresholds
    pixels: np.ndarray
    precision: np.ndarray
    recall: np.ndarray


class Histograms:
    """How many pixels, of the class and others, have which probability; on known cells.

    A cell is looked at as if nobody had annotated it: a pixel labelled c counts for c, and one of
    the background in an image in which c was looked for counts against it, both with the
    probability of c given that the pixel is background, c, or a class that is unknown there: at a
    pixel of c, one that is unknown in the background of the image. Pixels labelled otherwise would
    be settled. Independent classes: each known pixel of a channel.
    """

    def __init__(self, labels: LabelSpace):
        self._labels = labels
        self.hits = np.zeros((labels.num_classes, _BINS), np.int64)
        self.others = np.zeros_like(self.hits)

    def add(self, target: np.ndarray, probabilities: np.ndarray) -> None:
        """One image: int8 (H, W, C) and its probabilities (H, W, C)."""
        background = self._labels.background
        unknown = target == UNKNOWN
        if self._labels.exclusive and background is not None:
            plain = target[..., background] == LABELLED
            undeclared = unknown[plain].any(0) if plain.any() else np.zeros(len(self.hits), bool)
        for c in self._labels.foreground:
            hit, other = target[..., c] == LABELLED, target[..., c] == RULED_OUT
            if not self._labels.exclusive or background is None:
                q = np.asarray(probabilities[..., c], "float64")
            else:
                other &= plain
                # Not labelled, a pixel of c might be each of the undeclared ones.
                possible = unknown | (hit[..., None] & undeclared)
                open_ = np.where(possible, UNKNOWN, RULED_OUT).astype("int8")
                open_[..., [background, c]] = UNKNOWN
                q = conditional(open_, probabilities, True)[..., c]
            for table, where in ((self.hits, hit), (self.others, other)):
                places = np.clip((q[where] * _BINS).astype(int), 0, _BINS - 1)
                table[c] += np.bincount(places, minlength=_BINS)


def tune(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]],
    labels: LabelSpace,
    precision: float = 0.95,
    missed: float = 0.05,
    confidence: float = USUAL,
) -> Tuned:
    """The thresholds that are as bold as known cells and `confidence` allow.

        take_c = the smallest t >= confidence with #{c, q >= t} / #{q >= t} >= precision
        drop_c = the largest t <= 1 - confidence with #{c, q < t} / #{c} <= missed

    Rounded to 0.001. A class whose labels are never so precise is never labelled, and never ruled
    out; one without a pixel on known cells gets `confidence` and 1 - `confidence`.

    Args:
        pairs: target int8 (H, W, C) and probabilities (H, W, C) of images not trained on.
        labels: the label space.
        precision: of the labels, at least; in [0, 1].
        missed: share of the pixels of a class that may be ruled out, in [0, 1].
        confidence: from which probability on labels are given at the earliest, in [0.5, 1].

    Raises:
        ValueError: if a share is none.
    """
    precision = share("label_precision", precision)
    missed = share("missed", missed)
    if share("confidence", confidence) < 0.5:
        raise ValueError(f"confidence must be a number from 0.5 to 1. Received: {confidence!r}.")
    found = Histograms(labels)
    for target, probabilities in pairs:
        found.add(target, probabilities)
    edges = np.arange(_BINS) / _BINS
    above = [table[:, ::-1].cumsum(1)[:, ::-1] for table in (found.hits, found.others)]
    pixels = above[0][:, 0]
    everyone = above[0] + above[1]
    right = np.divide(above[0], everyone, out=np.full(everyone.shape, np.nan), where=everyone > 0)
    below = found.hits.cumsum(1) - found.hits
    usual = Thresholds.even(np.full(len(pixels), confidence))
    take, drop = usual.take.copy(), usual.drop.copy()
    reached, recall = np.full(len(pixels), np.nan), np.full(len(pixels), np.nan)
    for c in np.flatnonzero(pixels):
        precise = np.flatnonzero((right[c] >= precision) & (edges >= confidence))
        take[c], drop[c] = (x.item() for x in NEVER)
        recall[c] = 0.0
        if precise.size:
            first = precise[0]
            take[c], reached[c] = edges[first], right[c, first]
            recall[c] = above[0][c, first] / pixels[c]
            few = np.flatnonzero(
                (below[c] <= missed * pixels[c]) & (edges <= 1 - confidence + 1e-9)
            )
            drop[c] = edges[few[-1]]
    return Tuned(Thresholds(take, drop), pixels, reached, recall)


def given(confidence: object, labels: LabelSpace) -> Thresholds:
    """Thresholds from one number for all classes, or {class: number}; others get 0.9.

    Raises:
        ValueError: naming a class that does not exist, or a number outside 0.5..1.
    """
    numbers = (
        confidence if hasattr(confidence, "items") else dict.fromkeys(labels.names, confidence)
    )
    take = np.full(labels.num_classes, USUAL)
    for name, value in numbers.items():
        index = labels.index(str(name))
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
        if not 0.5 <= number <= 1:
            raise ValueError(
                "thresholds must be auto, a number from 0.5 to 1, or one a class: "
                f"{{liver: 0.9}}. Received: {confidence!r}."
            )
        take[index] = number
    return Thresholds.even(take)

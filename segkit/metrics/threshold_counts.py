"""What would be decided with another threshold for one class, for all thresholds at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np

from segkit.contract import LABELLED, judged_pixels, require_target
from segkit.metrics.cells import known_cells
from segkit.metrics.curves import bin_of, edges_of, require_probabilities

UNITS = 32  # of log(t / (1 - t)) that the bins cover, as those of `segkit.metrics.curves`
_FINEST, _NUMBERS = 128, 2**20  # bins a unit, at most; numbers in a table (C, C, bins)
_TINY = np.finfo("float32").tiny


@dataclass(frozen=True)
class ThresholdCounts:
    """Histograms of the threshold of its own below which each class is chosen.

    With id = argmax over c of p_c (1 - t_c) / t_c, and the thresholds of the others as they are,
    class c is chosen where

        r_c = p_c / (p_c + m_c) >= t_c,  m_c = max over a other than c of p_a (1 - t_a) / t_a

    and the a of that maximum where it is not. So these hold the counts of all classes for every
    t_c.

    own: pixels of known cells of c in each bin of r_c, int64 (C, BINS, 2): those of other
        classes, those that carry c.
    other: pixels in each bin of r_c that go to class a if not to c, and where a is known,
        int64 (C, C, BINS, 2), [c, a]: those of other classes, those that carry a.
    """

    own: np.ndarray
    other: np.ndarray

    def __add__(self, more: ThresholdCounts) -> ThresholdCounts:
        return ThresholdCounts(self.own + more.own, self.other + more.other)

    @property
    def edges(self) -> np.ndarray:
        """The lower edge of each bin, float64 (BINS,); the first is 0."""
        return edges_of(self.own.shape[1] // UNITS)

    def decided(self, c: int) -> tuple[np.ndarray, ...]:
        """TP, FP, FN and TN of all classes with each edge as threshold of c, int64 (C, BINS)."""
        chosen = self.own[c, ::-1].cumsum(0)[::-1]
        left = self.other[c].cumsum(1) - self.other[c]  # those in bins below
        left[c] = chosen
        wrong, right = left[..., 0], left[..., 1]
        others, carried = (self.own[..., kind].sum(1)[:, None] for kind in (0, 1))
        return right, wrong, carried - right, others - wrong


def count_thresholds(
    target: np.ndarray, probabilities: np.ndarray, thresholds: Sequence[float]
) -> ThresholdCounts:
    """Counts what other thresholds would decide at the judged pixels of known cells.

    Args:
        target: int8 (B, H, W, C) of the three states.
        probabilities: (B, H, W, C) in [0, 1].
        thresholds: t, (C,), each between 0 and 1.

    Raises:
        ValueError: if the shapes do not fit, the target is unsigned, or a probability is none.
    """
    require_target(target, probabilities, "metrics.count_thresholds")
    require_probabilities(probabilities, "metrics.count_thresholds")
    classes = target.shape[-1]
    per_unit = _bins_a_unit(classes)
    bins = per_unit * UNITS
    own = np.zeros((classes, bins, 2), "int64")
    other = np.zeros((classes, classes, bins, 2), "int64")
    t = np.asarray(thresholds, "float64")
    odds = ((1 - t) / t).astype("float32")
    for known, judged, states, p in zip(
        known_cells(target), judged_pixels(target), target, probabilities
    ):
        labelled, p = states[judged] == LABELLED, p[judged]
        rivals = _rivals(p * odds, labelled, known)
        for c in range(classes):
            rival, best, kind = (np.where(rivals[0][1] == c, b, a) for a, b in zip(*rivals))
            places = bin_of(p[:, c] / np.maximum(p[:, c] + rival, _TINY), per_unit)
            if known[c]:
                own[c] += _histogram(2 * places + labelled[:, c], (bins, 2))
            where = (best * bins + places) * 2 + kind
            other[c] += _histogram(where[kind >= 0], (classes, bins, 2))
    return ThresholdCounts(own, other)


def _bins_a_unit(classes: int) -> int:
    """A power of 2, so that 0.5 is an edge; fewer with many classes, to bound the memory."""
    per_unit = _FINEST
    while per_unit > 1 and classes**2 * per_unit * UNITS > _NUMBERS:
        per_unit //= 2
    return per_unit


def _rivals(
    weighted: np.ndarray, labelled: np.ndarray, known: np.ndarray
) -> tuple[tuple[np.ndarray, ...], ...]:
    """The best class of each pixel, and the second: its weight, its id, and what it would be.

    That is 1 if the pixel carries the class, 0 if it does not, -1 if the cell is not known.
    """
    found, rows = [], np.arange(len(weighted))
    for _ in range(2):
        best = weighted.argmax(1)
        value = weighted[rows, best]
        weighted[rows, best] = -1
        kind = np.where(known[best], labelled[rows, best].astype("int64"), -1)
        found.append((value, best, kind))
    return tuple(found)


def _histogram(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.bincount(places, minlength=int(np.prod(shape))).reshape(shape)

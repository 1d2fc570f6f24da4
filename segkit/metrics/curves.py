"""Precision and recall over all thresholds, from histograms of probabilities that can be added."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from segkit.contract import LABELLED, require_target
from segkit.metrics.cells import each_cell

# Bins are even in log(p / (1 - p)): probabilities of a softmax crowd near 0 and 1. Both numbers
# are powers of 2, so that 0.5 is an edge without any rounding.
PER_UNIT = 256
BINS = 32 * PER_UNIT
_FURTHEST = 1e-4  # beyond 0 or 1, by rounding
_ROUNDING = 1e-6  # of a bin: an edge lies in the bin it begins


def edges_of(per_unit: int) -> np.ndarray:
    """The lower edge of each bin, the first 0; so many bins to a unit of log(p / (1 - p))."""
    bins = BINS // PER_UNIT * per_unit
    return np.concatenate([[0.0], expit((np.arange(1, bins) - bins // 2) / per_unit)])


EDGES = edges_of(PER_UNIT)
"""The lower edge of each bin, float64 (BINS,); about 0.001 apart at 0.5, less elsewhere."""


@dataclass(frozen=True)
class ProbabilityCounts:
    """How probable each class was at the pixels that carry it and at the others, on known cells.

    positives, negatives: pixels in each bin of the probability, int64 (C, BINS); see `EDGES`.
    images: images that show the class in a known cell, int64 (C,).
    """

    positives: np.ndarray
    negatives: np.ndarray
    images: np.ndarray

    def __add__(self, other: ProbabilityCounts) -> ProbabilityCounts:
        pairs = zip(vars(self).values(), vars(other).values())
        return ProbabilityCounts(*(mine + others for mine, others in pairs))

    @property
    def average_precision(self) -> np.ndarray:
        """AP = sum over thresholds, falling, of (R_k - R_k-1) P_k; float64 (C,) in [0, 1].

        R_k and P_k are recall and precision of "probability from threshold k on". NaN where no
        pixel carries the class.

        Ref: as scikit-learn's average_precision_score. Differs: probabilities in one bin count as
        equal, which moves it by less than 0.001 on probabilities that are not crowded.
        """
        right, wrong = self._from_threshold_on()
        share = self.positives / np.maximum(right[:, :1], 1)
        precision = right / np.maximum(right + wrong, 1)
        return np.where(right[:, 0] > 0, (share * precision).sum(1), np.nan)

    def precision_recall(self, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The precision-recall curve of class c, in the order of scikit-learn.

        Args:
            c: the class.

        Returns:
            precision and recall (N + 1,) and thresholds (N,), rising: number k is that of
            "probability >= threshold k", and the last, 1 and 0, of nothing predicted. N bins hold
            a pixel. Recall is NaN where no pixel carries the class.
        """
        right, wrong = (part[c] for part in self._from_threshold_on())
        held = np.flatnonzero(self.positives[c] + self.negatives[c])
        precision = right[held] / np.maximum(right[held] + wrong[held], 1)
        recall = right[held] / right[0] if right[0] else np.full(len(held), np.nan)
        end = 0.0 if right[0] else np.nan
        return np.append(precision, 1.0), np.append(recall, end), EDGES[held]

    @property
    def decided(self) -> tuple[np.ndarray, ...]:
        """TP, FP, FN and TN of "probability >= t" at each of `EDGES`, int64 (C, BINS)."""
        right, wrong = self._from_threshold_on()
        return right, wrong, right[:, :1] - right, wrong[:, :1] - wrong

    def _from_threshold_on(self) -> tuple[np.ndarray, np.ndarray]:
        """True and false positives of each class at each lower edge of a bin, (C, BINS)."""
        right, wrong = (
            part[:, ::-1].cumsum(1)[:, ::-1] for part in (self.positives, self.negatives)
        )
        return right, wrong


def count_probabilities(
    target: np.ndarray, probabilities: np.ndarray, *, exclusive: bool = True
) -> ProbabilityCounts:
    """Histograms of the probability of each class at the judged pixels of its known cells.

    Args:
        target: int8 (B, H, W, C) of the three states.
        probabilities: (B, H, W, C) in [0, 1]; or any score in it, class by class.
        exclusive: False: each channel is judged by itself; see `segkit.metrics.cells`.

    Raises:
        ValueError: if the shapes do not fit, the target is unsigned, or a probability is none.
    """
    require_target(target, probabilities, "metrics.count_probabilities")
    require_probabilities(probabilities, "metrics.count_probabilities")
    classes = target.shape[-1]
    counted = np.zeros((classes, 2 * BINS), "int64")
    images = np.zeros(classes, "int64")
    for b, c, judged in each_cell(target, exclusive):
        labelled = (target[b, ..., c] == LABELLED)[judged]
        places = bin_of(probabilities[b, ..., c][judged]) + BINS * labelled
        counted[c] += np.bincount(places, minlength=2 * BINS)
        images[c] += labelled.any()
    return ProbabilityCounts(counted[:, BINS:], counted[:, :BINS], images)


def bin_of(probabilities: np.ndarray, per_unit: int = PER_UNIT) -> np.ndarray:
    """The bin of each probability in [0, 1], int64 (...); see `edges_of`."""
    half = BINS // PER_UNIT * per_unit // 2
    with np.errstate(divide="ignore"):  # 0 and 1 are infinitely far, and end in the outermost bins
        odds = logit(np.clip(probabilities, 0, 1))
    places = np.floor(np.clip(odds * per_unit + _ROUNDING, -half, half - 1))
    return places.astype("int64") + half


def require_probabilities(probabilities: np.ndarray, who: str) -> None:
    """Checks that all values are in [0, 1], but for rounding.

    Raises:
        ValueError: naming `who` if one is outside, or no number.
    """
    if not probabilities.size:
        return
    least, greatest = float(probabilities.min()), float(probabilities.max())
    if not (-_FURTHEST <= least and greatest <= 1 + _FURTHEST):
        raise ValueError(
            f"{who} needs probabilities, from 0 to 1. Received: {least:.4g} to {greatest:.4g}. "
            "Logits become probabilities by a softmax (independent classes: a sigmoid); NaN comes "
            "from the model or its input."
        )

"""The threshold of each class at which a chosen score is highest."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from segkit.metrics.counts import Counts, ratio
from segkit.metrics.curves import EDGES, ProbabilityCounts
from segkit.metrics.threshold_counts import ThresholdCounts

EVEN = 0.5
SCORES = ("iou", "dice", "f0.5", "f2", "accuracy")
LIMITS = (0.001, 0.999)  # no class is shut out, and none is everywhere

_BETAS = {"dice": 1.0, "f0.5": 0.5, "f2": 2.0}
_SAME = 1e-12  # two scores that differ by rounding only
_WORTH = 1e-4  # of the mean score: a gain that is worth another pass


def class_scores(counts: Counts, score: str) -> np.ndarray:
    """A score of each class, float64 (C,) in [0, 1]; NaN where no pixel carries the class.

        iou       TP / (TP + FP + FN)
        dice      2 TP / (2 TP + FP + FN)
        f0.5, f2  (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP), b = 0.5 (precision counts for
                  more) or 2 (recall does)
        accuracy  (TP + TN) / (TP + TN + FP + FN)

    Args:
        counts: over known cells.
        score: one of `SCORES`.

    Raises:
        ValueError: if there is no such score.
    """
    parts = counts.true_positives, counts.false_positives, counts.false_negatives
    has = counts.true_positives + counts.false_negatives > 0
    return np.where(has, _value(score, *parts, counts.true_negatives), np.nan)


def mean_score(counts: Counts, score: str) -> float:
    """The mean of `class_scores` over the classes that have one; NaN if none has."""
    values = class_scores(counts, score)
    return float("nan") if np.isnan(values).all() else float(np.nanmean(values))


def best_thresholds(found: ThresholdCounts, score: str) -> tuple[np.ndarray, np.ndarray]:
    """For each class the threshold that suits all classes best, the others staying as they are.

    Of a range of thresholds with the same mean score the middle, as far from the pixels on either
    side, or 0.5 if that is in the range. 0.5 where every pixel carries the class, or none.

    Args:
        found: histograms over known cells.
        score: one of `SCORES`.

    Returns:
        thresholds within `LIMITS` and the mean score with each, float64 (C,) both; NaN where no
        class has a score.

    Raises:
        ValueError: if there is no such score.
    """
    thresholds, means = np.full((2, len(found.own)), EVEN)
    carried = found.own[..., 1].any(1)
    for c, own in enumerate(found.own):
        values = np.full(len(own), np.nan)
        if carried.any():
            values = _value(score, *found.decided(c))[carried].mean(0)
        even = int(np.searchsorted(found.edges, EVEN))
        means[c] = values[even]
        if own[:, 0].any() and own[:, 1].any():
            # The first edge is 0, a threshold that no class can have.
            thresholds[c], means[c] = _middle(values[1:], found.edges[1:])
    return np.clip(thresholds, *LIMITS), means


def own_thresholds(found: ProbabilityCounts, score: str) -> np.ndarray:
    """For each independent class the threshold of its probability at which its score is highest.

    Classes do not compete, so each is settled by its own histogram, and there is nothing to
    search: the best of all thresholds is found, as near as the bins of `segkit.metrics.curves`
    (0.001 at 0.5, less elsewhere). Of a range with the same score the middle, or 0.5 if that is in
    the range. 0.5 where every pixel carries the class, or none.

    Args:
        found: histograms over known cells.
        score: one of `SCORES`.

    Returns:
        thresholds within `LIMITS`, float64 (C,).

    Raises:
        ValueError: if there is no such score.
    """
    thresholds = np.full(len(found.positives), EVEN)
    values = _value(score, *found.decided)
    for c, (there, others) in enumerate(zip(found.positives, found.negatives)):
        if there.any() and others.any():
            # The first edge is 0, a threshold that no class can have.
            thresholds[c], _ = _middle(values[c, 1:], EDGES[1:])
    return np.clip(thresholds, *LIMITS)


class Tuning:
    """Searches for the thresholds with the highest mean score, one pass over the data at a time.

    Each pass counts what is decided with `proposal`, and with every other threshold of one class.
    Where the mean score rose, each class that gains by itself goes to its best threshold. Where
    it did not, since all moved at once, they go half as far, and then only the one that gains
    most. Starts from 0.5 everywhere, so that it never ends with less than that.

    Args:
        score: one of `SCORES`; its mean over the classes that a pixel carries is to rise.
        classes: C.
        background: the class that stays at 0.5, against which t is a probability; None: none.

    Attributes:
        proposal: the thresholds to count next.
        thresholds: the best so far.
        counts: what was decided with them; None before the first pass.
        elsewhere: the same on data that took no part, if `learn` was given it.
        finished: whether the search is over.
    """

    def __init__(self, score: str, classes: int, background: int | None):
        self.score, self.background = score, background
        self.proposal = self.thresholds = (EVEN,) * classes
        self.counts: Counts | None = None
        self.elsewhere: Counts | None = None
        self.finished = False
        self._waiting: list[np.ndarray] = []  # proposals, as log(t / (1 - t))

    def learn(
        self, counts: Counts, found: ThresholdCounts, elsewhere: Counts | None = None
    ) -> None:
        """Takes what a pass with `proposal` counted, and makes the next proposal.

        Args:
            counts: with the decisions by `proposal`.
            found: of other thresholds than those of `proposal`.
            elsewhere: counts with the same decisions on data that are not to be tuned on.
        """
        before = None if self.counts is None else mean_score(self.counts, self.score)
        now = mean_score(counts, self.score)
        if before is None or now > before:
            self.thresholds, self.counts, self.elsewhere = self.proposal, counts, elsewhere
            self._waiting = self._moves(found, now)
        if not self._waiting:
            self.finished = True
            return
        odds, here = self._waiting.pop(0), logit(self.thresholds)
        self.proposal = tuple(
            self.thresholds[c] if moved == here[c] else float(expit(moved))
            for c, moved in enumerate(odds)
        )

    def _moves(self, found: ThresholdCounts, now: float) -> list[np.ndarray]:
        """Where to go from here, to be tried one after the other."""
        goals, means = best_thresholds(found, self.score)
        gains = np.nan_to_num(means - now)
        if self.background is not None:
            gains[self.background] = 0
        if gains.max() < _WORTH:
            return []
        here = logit(self.thresholds)
        way = np.where(gains > 0, logit(goals) - here, 0.0)
        alone = np.where(np.arange(len(way)) == gains.argmax(), way, 0.0)
        if (way != 0).sum() == 1:
            return [here + way]
        return [here + way, here + way / 2, here + alone]


def _value(score: str, right, wrong, missed, others) -> np.ndarray:
    if score == "iou":
        return ratio(right, right + wrong + missed)
    if score == "accuracy":
        return ratio(right + others, right + wrong + missed + others)
    if score not in _BETAS:
        raise ValueError(f"score must be one of {', '.join(SCORES)}. Received: {score!r}.")
    squared = _BETAS[score] ** 2
    # `ratio` divides by 1 at least: with the smaller weights multiplied out, all are whole.
    scale = 1 / min(squared, 1.0)
    part = scale * (1 + squared) * right
    return ratio(part, part + scale * (squared * missed + wrong))


def _middle(values: np.ndarray, edges: np.ndarray) -> tuple[float, float]:
    """The middle of the thresholds around the best one that share its value, and that value."""
    best = int(np.nanargmax(values))
    same = np.abs(values - values[best]) <= _SAME
    if same[np.searchsorted(edges, EVEN)]:
        return EVEN, float(values[best])
    first, last = best, best
    while first > 0 and same[first - 1]:
        first -= 1
    while last < len(values) - 1 and same[last + 1]:
        last += 1
    return float((edges[first] + edges[last]) / 2), float(values[best])

"""From predictions of validation data to a temperature and thresholds, and what they bring."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Iterable

import numpy as np

from segkit import metrics
from segkit.calibration import separate
from segkit.calibration.drawing import Drawn, draw, draw_cells, together
from segkit.calibration.passes import GIB, Passes, Predicted, halves
from segkit.calibration.separate import Once, Separate
from segkit.contract import Source
from segkit.inference import decide, tempered
from segkit.metrics import (
    Counts,
    ProbabilityCounts,
    Reliability,
    ThresholdCounts,
    Tuning,
    marginal_nll,
)
from segkit.metrics.thresholds import EVEN, mean_score
from segkit.predictor import Predictor

log = logging.getLogger(__name__)

# Reliability, curves and counts with T; the thresholds, and what those of each half do elsewhere.
Told = tuple[Reliability, ProbabilityCounts, Counts, Any, Counts | None]
MOST = 12  # passes of the search for thresholds
AUTO = "auto"


@dataclass(frozen=True)
class Found:
    """What `calibrate` found.

    temperature: T; 1 if none was to be fitted.
    nll: of the drawn pixels, without and with T.
    reliability: without and with T.
    curves: histograms of the probabilities, with T.
    even: what is decided with 0.5 everywhere.
    tuning: the tuned thresholds and what they decide; None if none were tuned.
    crossed: what is decided in each half of the images with thresholds tuned on the other; None
        if there are no halves.
    images: how many were predicted.
    kept: whether tuned thresholds are to be used; of independent classes, those of some.
    thresholds: those to be used, 0.5 where tuned ones are not.
    """

    temperature: float
    nll: tuple[float, float]
    reliability: tuple[Reliability, Reliability]
    curves: ProbabilityCounts
    even: Counts
    tuning: Tuning | Separate | None
    crossed: Counts | None
    images: int
    kept: bool
    thresholds: tuple[float, ...]


class _Search:
    """A `Tuning` on the images that take part, watched on the others."""

    def __init__(self, tuning: Tuning, part: np.ndarray):
        self.tuning, self.part = tuning, part
        self._own: list = []
        self._elsewhere: list[Counts] = []

    def look(self, item: Predicted, counted: tuple[Counts, ThresholdCounts]) -> None:
        if self.part[item.index]:
            self._own = _sums(self._own, counted)
        else:
            self._elsewhere = _sums(self._elsewhere, counted[:1])

    def learn(self) -> None:
        self.tuning.learn(*self._own, *self._elsewhere)
        self._own, self._elsewhere = [], []


def calibrate(
    model: Predictor,
    source: Source,
    *,
    score: str = "iou",
    temperature: bool = True,
    thresholds: str | bool = AUTO,
    memory: float = 1.0,
    seed: int = 0,
) -> Found:
    """Fits a temperature, then thresholds on the tempered probabilities.

    Args:
        model: of `segkit.load(..., decisions=False)`.
        source: the images, with the classes of the model.
        score: what the thresholds are tuned for; see `segkit.metrics.thresholds`.
        temperature: False: T stays 1.
        thresholds: auto: those tuned are used if they gain on images that they were not tuned on;
            True: in any case; False: none are tuned.
        memory: GiB of predictions that are kept from one pass to the next.
        seed: of the pixels that are drawn, and of the halves.

    Raises:
        ValueError: if there is no image, or nothing is known about any.
    """
    exclusive = source.labels.exclusive
    passes = Passes(model, source, memory * GIB)
    before, drawn = _first_pass(passes, len(source), seed, exclusive)
    fitted = metrics.fit_temperature(*drawn) if temperature else 1.0
    nll = marginal_nll(*drawn), marginal_nll(*drawn, fitted)
    half = halves(source, seed) if thresholds else None

    def once_more(text: str) -> Iterable[Predicted]:
        for item in passes.once_more(text):
            p = tempered(item.probabilities, fitted, exclusive=exclusive)
            yield item._replace(probabilities=p)

    way = _together if exclusive else _apart
    after, curves, even, tuning, crossed = way(once_more, source, half, score, bool(thresholds))
    used = (EVEN,) * source.labels.num_classes
    if thresholds is True or (thresholds and exclusive and _gains(crossed, even, score)):
        used = tuning.thresholds
    elif thresholds and not exclusive:
        used = separate.gaining(tuning, crossed, even, score)
    kept = thresholds is True or any(t != EVEN for t in used)
    reliability = before, after
    return Found(
        fitted, nll, reliability, curves, even, tuning, crossed, len(source), kept, tuple(used)
    )


def _together(
    once_more: Once, source: Source, half: np.ndarray | None, score: str, tune: bool
) -> Told:
    """The search over passes, since classes compete."""
    searches = _searches(score, source, half)
    after: list = []
    for number in range(MOST):
        for item in once_more(f"tuning, pass {number + 1}"):
            batch = item.target[None], item.probabilities[None]
            if not number:
                probability = metrics.count_probabilities(*batch)
                after = _sums(after, (metrics.count_reliability(*batch), probability))
            _look(item, searches)
        for search in (s for s in searches if not s.tuning.finished):
            search.learn()
        if not number:
            even = searches[0].tuning.counts
        if not tune or all(search.tuning.finished for search in searches):
            break
    crossed = None if half is None else _joined(search.tuning for search in searches[1:])
    return *after, even, searches[0].tuning if tune else None, crossed


def _apart(
    once_more: Once, source: Source, half: np.ndarray | None, score: str, tune: bool
) -> Told:
    """Each class by itself, in one pass for the histograms and one for what they decide."""
    total: list = []
    curves: list[Any] = [0, 0, 0]  # of all, of `half`, of the others
    for item in once_more("tuning"):
        batch = item.target[None], item.probabilities[None]
        part = metrics.count_probabilities(*batch, exclusive=False)
        reliability = metrics.count_reliability(*batch, exclusive=False)
        total = _sums(total, (reliability, separate.counted(item)))
        for k in (0, 1 if half is not None and half[item.index] else 2):
            curves[k] = part if not curves[k] else curves[k] + part
    if not tune:
        return total[0], curves[0], total[1], None, None
    mine = curves if half is not None else curves[:1]
    return total[0], curves[0], total[1], *separate.tune(once_more, half, mine, score)


def _searches(score: str, source: Source, half: np.ndarray | None) -> list[_Search]:
    """On all images; and on each half, if there are two."""
    parts = [np.ones(len(source), bool)]
    parts += [] if half is None else [half, ~half]
    labels = source.labels
    return [_Search(Tuning(score, labels.num_classes, labels.background), p) for p in parts]


def _first_pass(
    passes: Passes, images: int, seed: int, exclusive: bool
) -> tuple[Reliability, Drawn]:
    reliability: list = []
    parts = []
    for item in passes.once_more("predicting"):
        batch = item.target[None], item.probabilities[None]
        counted = metrics.count_reliability(*batch, exclusive=exclusive)
        reliability = _sums(reliability, (counted,))
        parts.append((draw if exclusive else draw_cells)(item, images, seed))
    return reliability[0], together(parts)


def _look(item: Predicted, searches: list[_Search]) -> None:
    counted: dict[tuple, tuple[Counts, ThresholdCounts]] = {}
    for search in searches:
        if search.tuning.finished:
            continue
        proposal = search.tuning.proposal
        if proposal not in counted:
            target = item.target[None]
            probabilities = item.probabilities[None]
            counted[proposal] = (
                metrics.count(target, decide(probabilities, proposal)),
                metrics.count_thresholds(target, probabilities, proposal),
            )
        search.look(item, counted[proposal])


def _joined(tunings: Iterable[Tuning]) -> Counts:
    first, second = (tuning.elsewhere for tuning in tunings)
    return first + second


def _gains(crossed: Counts | None, even: Counts, score: str) -> bool:
    return crossed is not None and mean_score(crossed, score) > mean_score(even, score)


def _sums(totals: list, parts: tuple) -> list:
    return [a + b for a, b in zip(totals, parts)] if totals else list(parts)

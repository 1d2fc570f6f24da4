"""From predictions of validation data to a temperature and thresholds, and what they bring."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Iterable

import numpy as np

from segkit import metrics
from segkit.calibration.drawing import Drawn, draw, together
from segkit.calibration.passes import GIB, Passes, Predicted, halves
from segkit.contract import Source
from segkit.evidence import require_exclusive
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
    tuning: the search for thresholds; None if there was none.
    crossed: what is decided in each half of the images with thresholds tuned on the other; None
        if there are no halves.
    images: how many were predicted.
    kept: whether the tuned thresholds are those to be used.
    """

    temperature: float
    nll: tuple[float, float]
    reliability: tuple[Reliability, Reliability]
    curves: ProbabilityCounts
    even: Counts
    tuning: Tuning | None
    crossed: Counts | None
    images: int
    kept: bool

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Those to be used: the tuned ones, or 0.5 everywhere."""
        return self.tuning.thresholds if self.kept else (EVEN,) * len(self.even.images)


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
        ValueError: if there is no image, nothing is known about any, or the classes overlap.
    """
    require_exclusive(source.labels)
    passes = Passes(model, source, memory * GIB)
    before, drawn = _first_pass(passes, len(source), seed)
    fitted = metrics.fit_temperature(*drawn) if temperature else 1.0
    nll = marginal_nll(*drawn), marginal_nll(*drawn, fitted)
    half = halves(source, seed) if thresholds else None
    searches = _searches(score, source, half)
    after: list = []
    for number in range(MOST):
        for item in _tempered(passes.once_more(f"tuning, pass {number + 1}"), fitted):
            batch = item.target[None], item.probabilities[None]
            if not number:
                probability = metrics.count_probabilities(*batch)
                after = _sums(after, (metrics.count_reliability(*batch), probability))
            _look(item, searches)
        for search in (s for s in searches if not s.tuning.finished):
            search.learn()
        if not number:
            even = searches[0].tuning.counts
        if not thresholds or all(search.tuning.finished for search in searches):
            break
    crossed = None if half is None else _joined(search.tuning for search in searches[1:])
    tuning = searches[0].tuning if thresholds else None
    kept = thresholds is True or (thresholds == AUTO and _gains(crossed, even, score))
    reliability = before, after[0]
    return Found(fitted, nll, reliability, after[1], even, tuning, crossed, len(source), kept)


def _searches(score: str, source: Source, half: np.ndarray | None) -> list[_Search]:
    """On all images; and on each half, if there are two."""
    parts = [np.ones(len(source), bool)]
    parts += [] if half is None else [half, ~half]
    labels = source.labels
    return [_Search(Tuning(score, labels.num_classes, labels.background), p) for p in parts]


def _first_pass(passes: Passes, images: int, seed: int) -> tuple[Reliability, Drawn]:
    reliability: list = []
    parts = []
    for item in passes.once_more("predicting"):
        batch = item.target[None], item.probabilities[None]
        reliability = _sums(reliability, (metrics.count_reliability(*batch),))
        parts.append(draw(item, images, seed))
    return reliability[0], together(parts)


def _tempered(items: Iterable[Predicted], temperature: float) -> Iterable[Predicted]:
    for item in items:
        yield item._replace(probabilities=tempered(item.probabilities, temperature))


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

"""Thresholds of independent classes: each by itself, from the histogram of its probability."""

from __future__ import annotations

from typing import Callable, Iterable, NamedTuple

import numpy as np

from segkit import metrics
from segkit.calibration.passes import Predicted
from segkit.inference import decide
from segkit.metrics import Counts, ProbabilityCounts
from segkit.metrics.thresholds import EVEN, class_scores, own_thresholds

Once = Callable[[str], Iterable[Predicted]]


class Separate(NamedTuple):
    """Thresholds that were tuned each by itself.

    thresholds: the best of each class, (C,).
    counts: what is decided with them.
    """

    thresholds: tuple[float, ...]
    counts: Counts


def tune(
    once_more: Once, half: np.ndarray | None, curves: list[ProbabilityCounts], score: str
) -> tuple[Separate, Counts | None]:
    """The best threshold of each class, and what those of each half decide in the other.

    Args:
        once_more: a pass over the images, with what a bar on the terminal is to say.
        half: which half each image is in; None: there are none.
        curves: histograms of all images; and of the first and the second half.
        score: see `segkit.metrics.thresholds`.
    """
    found = [tuple(map(float, own_thresholds(part, score))) for part in curves]
    counts: Counts | None = None
    crossed: Counts | None = None
    for item in once_more("scoring the thresholds"):
        counts = _plus(counts, counted(item, found[0]))
        if half is not None:  # the first half is `half`, the second the others
            crossed = _plus(crossed, counted(item, found[2] if half[item.index] else found[1]))
    return Separate(found[0], counts), crossed


def counted(item: Predicted, thresholds: tuple[float, ...] | None = None) -> Counts:
    """Counts of the planes that thresholds choose in one image."""
    planes = decide(item.probabilities, thresholds, exclusive=False)
    return metrics.count(item.target[None], planes[None])


def gaining(tuned: Separate, crossed: Counts | None, even: Counts, score: str) -> tuple[float, ...]:
    """The tuned threshold of each class that gains by it where it was not tuned; else 0.5."""
    if crossed is None:
        return (EVEN,) * len(tuned.thresholds)
    gains = class_scores(crossed, score) > class_scores(even, score)
    return tuple(t if gain else EVEN for t, gain in zip(tuned.thresholds, gains))


def _plus(total: Counts | None, part: Counts) -> Counts:
    return part if total is None else total + part

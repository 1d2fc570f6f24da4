"""Intervals of the scores of many images."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from segkit.evaluation.image_scores import Tally
from segkit.metrics.intervals import Intervals, bootstrap
from segkit.metrics.ordered import ordered_intervals

FEWEST = 2  # units that an interval needs


def resample(
    tally: Tally | None, owner: Sequence[str], options: Mapping[str, Any]
) -> tuple[Intervals | None, dict[str, Any]]:
    """Intervals of IoU and Dice, and of the scores of ordered classes.

    Args:
        tally: of the images; None if there are none.
        owner: what each image of the source belongs to, (N,), which is drawn as a whole.
        options: n, level and seed of `segkit.metrics.bootstrap`; without samples, no intervals.

    Returns:
        None and {} where there are none.
    """
    mine = [] if tally is None else [owner[index] for index in tally.indices]
    if not options["n"] or len(set(mine)) < FEWEST:
        return None, {}
    found = bootstrap(*tally.cells, groups=mine, **options)
    if None in tally.ordered:
        return found, {}
    return found, ordered_intervals(tally.ordered, groups=mine, **options)

"""Counts on known cells and the scores they give, and the bounds over what is unknown."""

from segkit.metrics.bounds import Bounds, bounds
from segkit.metrics.counts import Counts, cell_counts, count, known_cells
from segkit.metrics.tracking import ClassLosses, MeanIoU

__all__ = [
    "Bounds",
    "ClassLosses",
    "Counts",
    "MeanIoU",
    "bounds",
    "cell_counts",
    "count",
    "known_cells",
]

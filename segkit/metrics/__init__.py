"""Counts on known cells, and the scores they give."""

from segkit.metrics.counts import Counts, cell_counts, count, known_cells
from segkit.metrics.tracking import ClassLosses, MeanIoU

__all__ = ["ClassLosses", "Counts", "MeanIoU", "cell_counts", "count", "known_cells"]

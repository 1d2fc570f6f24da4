"""Counts on known cells and the scores they give, their intervals, and bounds over the unknown."""

from segkit.metrics.bounds import Bounds, bounds
from segkit.metrics.calibration import Reliability, count_reliability, fit_temperature, marginal_nll
from segkit.metrics.cells import judged_cells, known_cells
from segkit.metrics.counts import Counts, cell_counts, count
from segkit.metrics.curves import ProbabilityCounts, count_probabilities
from segkit.metrics.intervals import Intervals, bootstrap
from segkit.metrics.ordered import (
    OrderedSums,
    count_ordered,
    ordered_block,
    ordered_intervals,
    sums_of_confusion,
)
from segkit.metrics.scatter import scatter_ratio
from segkit.metrics.surfaces import SurfaceScores, surface_scores
from segkit.metrics.threshold_counts import ThresholdCounts, count_thresholds
from segkit.metrics.thresholds import Tuning, best_thresholds, own_thresholds
from segkit.metrics.tracking import ClassLosses, MeanIoU, OrderedErrors

__all__ = [
    "Bounds",
    "ClassLosses",
    "Counts",
    "Intervals",
    "MeanIoU",
    "OrderedErrors",
    "OrderedSums",
    "ProbabilityCounts",
    "Reliability",
    "SurfaceScores",
    "ThresholdCounts",
    "Tuning",
    "best_thresholds",
    "bootstrap",
    "bounds",
    "cell_counts",
    "count",
    "count_ordered",
    "count_probabilities",
    "count_reliability",
    "count_thresholds",
    "fit_temperature",
    "judged_cells",
    "known_cells",
    "marginal_nll",
    "ordered_block",
    "ordered_intervals",
    "own_thresholds",
    "scatter_ratio",
    "sums_of_confusion",
    "surface_scores",
]

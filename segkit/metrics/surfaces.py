"""How far the outline of a prediction is from the outline of the annotation."""

from __future__ import annotations

from typing import Iterator, NamedTuple

import numpy as np
from scipy.spatial import KDTree

from segkit.contract import LABELLED, is_number, judged_pixels, require_target
from segkit.metrics.cells import each_cell, known_cells
from segkit.metrics.counts import one_hot

_Pair = tuple[np.ndarray, np.ndarray]
_PERCENTILE = 95
_OUTSIDE = -1  # of the image, ignored, or of no class that is known


class SurfaceScores(NamedTuple):
    """Scores of the outline of each class in one image, each float64 (C,).

    dice: the share of both outlines within the tolerance of the other, in [0, 1].
    hausdorff_95: the 95th percentile of the distances, the larger of both directions.
    mean_distance: the mean of all distances, in both directions.

    Distances are in the unit of `pixel_size`. NaN: the cell is not known, or neither has the
    class. Only one has it: the Dice is 0 and the distances are infinite.
    """

    dice: np.ndarray
    hausdorff_95: np.ndarray
    mean_distance: np.ndarray


def surface_scores(
    target: np.ndarray,
    prediction: np.ndarray,
    tolerance: float = 2.0,
    pixel_size: tuple[float, float] = (1.0, 1.0),
) -> SurfaceScores:
    """Surface Dice, 95 % Hausdorff distance and mean surface distance of each class.

    The outline of a class are its pixels with a side in common with a pixel of another class or
    with the edge of the image. With P the outline of the prediction, T that of the annotation,
    and d(a, B) the Euclidean distance from pixel a to the nearest of B:

        dice          = (#{p: d(p, T) <= tolerance} + #{t: d(t, P) <= tolerance}) / (#P + #T)
        hausdorff_95  = max(95th percentile of d(p, T), 95th percentile of d(t, P))
        mean_distance = (sum_p d(p, T) + sum_t d(t, P)) / (#P + #T)

    Ignored pixels belong to no class, in the annotation and in the prediction. Independent
    classes: each has its own judged pixels and its own outline, whatever lies over it.

    Args:
        target: int8 (H, W, C) of the three states.
        prediction: the predicted ids, integers (H, W); or planes (H, W, C) of 0 and 1 of
            independent classes.
        tolerance: from 0 on, in the unit of `pixel_size`.
        pixel_size: (height, width) of a pixel, above 0.

    Raises:
        ValueError: if the shapes do not fit, the target is unsigned, a pixel has several labels,
            or the tolerance or the pixel size is no such number.

    Ref: Nikolov et al. 2018, arXiv:1809.04430, section on surface DSC. As in MONAI's SurfaceDice,
    HausdorffDistance(percentile=95) and SurfaceDistance(symmetric=True), outlines are pixels, not
    lengths. Differs: where only one of the two has the class, MONAI's 95 % distance is NaN.
    """
    prediction = np.asarray(prediction)
    _check(tolerance, pixel_size)
    if prediction.ndim == 3:
        require_target(target[None], prediction[None], "metrics.surface_scores")
        pairs = _pairs_of_planes(target, prediction != 0)
    else:
        pairs = _pairs(target, prediction)
    scores = np.full((3, target.shape[-1]), np.nan)
    for c, pair in pairs:
        sizes = [len(outline) for outline in pair]
        if all(sizes):
            scores[:, c] = _scores(*(outline * pixel_size for outline in pair), tolerance)
        elif any(sizes):
            scores[:, c] = 0, np.inf, np.inf
    return SurfaceScores(*scores)


def _pairs(target: np.ndarray, prediction: np.ndarray) -> Iterator[tuple[int, _Pair]]:
    """Each known class with the outlines of prediction and annotation."""
    one_hot(prediction[None], target[None], "metrics.surface_scores")
    known, judged = known_cells(target[None])[0], judged_pixels(target)
    labelled = target == LABELLED
    if (labelled.sum(-1, dtype="int16") > 1).any():
        raise ValueError(
            "metrics.surface_scores takes predicted ids if there is one label a pixel. Received: "
            "pixels with several. Where classes overlap it takes planes (H, W, C)."
        )
    truth = np.where(labelled.any(-1), labelled.argmax(-1), _OUTSIDE)
    found = np.where(judged, prediction, _OUTSIDE)
    for c, pair in enumerate(zip(_outlines(found, len(known)), _outlines(truth, len(known)))):
        if known[c]:
            yield c, pair


def _pairs_of_planes(target: np.ndarray, planes: np.ndarray) -> Iterator[tuple[int, _Pair]]:
    """The same, each class by itself."""
    for _, c, judged in each_cell(target[None], exclusive=False):
        there = planes[..., c] & judged, target[..., c] == LABELLED
        found, truth = (next(_outlines(np.where(part, 0, _OUTSIDE), 1)) for part in there)
        yield c, (found, truth)


def _check(tolerance, pixel_size) -> None:
    if not is_number(tolerance) or not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a number from 0 on. Received: {tolerance!r}.")
    sizes = tuple(pixel_size) if np.iterable(pixel_size) else (pixel_size,)
    if len(sizes) != 2 or not all(is_number(size) and 0 < size < np.inf for size in sizes):
        raise ValueError(
            "pixel_size must be the height and the width of a pixel, two numbers above 0. "
            f"Received: {pixel_size!r}."
        )


def _outlines(ids: np.ndarray, classes: int) -> Iterator[np.ndarray]:
    """The outline of each class in ids (H, W): row and column of each pixel of it, (N, 2)."""
    around = np.pad(ids, 1, constant_values=_OUTSIDE)
    neighbours = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    edge = np.zeros(ids.shape, bool)
    for neighbour in neighbours:
        edge |= ids != neighbour
    places = np.argwhere(edge & (ids != _OUTSIDE))
    owners = ids[tuple(places.T)]
    order = np.argsort(owners, kind="stable")
    ends = np.searchsorted(owners[order], np.arange(classes + 1))
    for start, end in zip(ends, ends[1:]):
        yield places[order[start:end]]


def _scores(found: np.ndarray, truth: np.ndarray, tolerance: float) -> tuple[float, float, float]:
    there = KDTree(truth).query(found)[0]
    back = KDTree(found).query(truth)[0]
    both = np.concatenate([there, back])
    farthest = max(np.percentile(way, _PERCENTILE) for way in (there, back))
    return float((both <= tolerance).mean()), float(farthest), float(both.mean())

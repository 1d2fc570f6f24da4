"""Masks of scores, depths, heights -> ids of ordered classes."""

from __future__ import annotations

import numpy as np

from segkit.data.places import Place
from segkit.data.readers.bands import GREY, Raster
from segkit.data.readers.formats import Unreadable
from segkit.labels import LabelSpace
from segkit.ordered import encode


def ids_of_scores(raster: Raster, labels: LabelSpace, path: Place) -> np.ndarray:
    """Cuts the numbers of a file into the bins of `labels`.

    NaN and what `bins.no_data` names get the ignore index; so do numbers outside of the bins,
    unless these are clipped.

    Returns:
        ids (H, W), uint8, or uint16 where one needs it.

    Raises:
        Unreadable: naming the file, if it does not hold one number a pixel, there are pixels
            without data and no ignore index, or none of its numbers lies in a bin.
    """
    stored, cut = raster.values, labels.bins
    if raster.content != GREY or stored.dtype.kind not in "buif":
        height, width, bands = stored.shape
        raise Unreadable(
            f"{path} must hold one score a pixel, (H, W), as classes.json has bins. Received: "
            f"{height}x{width} of {stored.dtype} with {bands} bands ({raster.content}). Save the "
            "scores alone, as .npy, as a float TIFF or as a grey PNG."
        )
    stored = stored[..., 0]
    missing = np.isnan(stored)
    if cut.no_data is not None:
        missing |= stored == cut.no_data
    scores = np.where(missing, np.nan, stored) if missing.any() else stored
    if scores.dtype.kind == "f":  # in the precision of the file, so that 0.7 is the edge 0.7
        scores = scores.astype(stored.dtype if stored.dtype.kind == "f" else "float64", copy=False)
    try:
        ids = encode(scores, cut.stored, labels.ignore_index, cut.outside)
    except ValueError as error:
        raise Unreadable(f"{path}: {error}") from error
    if not missing.all() and cut.outside == "ignore" and (ids == labels.ignore_index).all():
        raise Unreadable(_all_outside(scores[~missing], labels, path))
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)


def _all_outside(scores: np.ndarray, labels: LabelSpace, path: Place) -> str:
    low, high = labels.bins.stored[0], labels.bins.stored[-1]
    return (
        f"{path} has no pixel in the bins of classes.json, which go from {low:g} to {high:g} in "
        f"the numbers of the file. Received: {scores.min():g} to {scores.max():g}. Is bins.scale "
        'the unit of the file (0.001 for millimetres where the edges are metres)? "outside": '
        '"clip" puts such scores into the first and the last class.'
    )

"""Mask files -> ids (H, W), or planes (H, W, C) of classes that may overlap."""

from __future__ import annotations

import numpy as np

from segkit.data.places import Place, read_bytes
from segkit.data.readers.arrays import decode_array
from segkit.data.readers.bands import GREY, GREY_ALPHA, RGB, RGBA, Raster
from segkit.data.readers.colors import ids_of_colors
from segkit.data.readers.formats import Unreadable, exact_format, reading
from segkit.data.readers.pictures import decode_ids
from segkit.data.readers.scores import ids_of_scores
from segkit.data.readers.tiff import decode_tiff_ids
from segkit.labels import MAX_ID, LabelSpace

_WHAT = "a mask"
_SET = 255  # what many programs write for "here" in a plane


def read_mask(path: Place, labels: LabelSpace) -> np.ndarray:
    """Reads the ids of a mask file.

    PNG, TIFF: the grey value, or the index of a palette, is the id. Where a file holds colours
    (RGB; RGBA if nothing is transparent), each is the colour of a class in `labels.palette`, or
    of ignored pixels. .npy: whole numbers (H, W). Independent classes: planes (H, W, C) in .npy
    or a TIFF of C bands, each 0/1 or 0/255, and the ignore index. Where `labels` has bins, the
    file holds scores, and these are cut into ids.

    Whether `labels` knows each id is not looked at.

    Returns:
        (H, W) of uint8, or uint16 where an id needs it; planes (H, W, C) of uint8, 0/1.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. ValueError: naming the file,
            if it is empty, damaged, too large, or does not say for sure which class is where.
    """
    data = read_bytes(path)
    with reading(path, _WHAT):
        raster, format = _decoded(data, path)
        if labels.bins is not None:
            return ids_of_scores(raster, labels, path)
        if not labels.exclusive:
            if format == "PNG" and raster.content != GREY:
                raise Unreadable(_not_planes(raster, labels, path))
            return _planes(raster, labels, path)
        if format != "npy" and raster.content in (RGB, RGBA):
            return ids_of_colors(raster.values, labels, path)
        if raster.content != GREY:
            raise Unreadable(_not_ids(raster, path))
        return _whole_numbers(raster.values, path)[..., 0]


def _decoded(data: bytes, path: Place) -> tuple[Raster, str]:
    format = exact_format(data, path, _WHAT)
    if format == "TIFF":
        return decode_tiff_ids(data, path), format
    return (decode_ids if format == "PNG" else decode_array)(data, path), format


def _not_ids(raster: Raster, path: Place) -> str:
    height, width, bands = raster.values.shape
    if raster.content == GREY_ALPHA:
        return (
            f"{path} holds grey values and transparency, not ids alone. Remove the alpha channel: "
            "whether a transparent pixel is background or ignored, nobody can tell."
        )
    return (
        f"{path} must hold one id a pixel, (H, W), as the classes exclude each other. Received: "
        f"{height}x{width} with {bands} bands. Save the ids alone (np.argmax(planes, -1) if each "
        'band is a class), or set "exclusive": false in classes.json if classes overlap.'
    )


def _whole_numbers(values: np.ndarray, path: Place) -> np.ndarray:
    """uint8, or uint16 where a value needs it."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "bui":
        raise Unreadable(
            f"{path} must hold whole numbers. Received: dtype {values.dtype}. If the values are "
            "ids, convert it with mask.astype('uint8'); probabilities need a threshold."
        )
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > MAX_ID:
        raise Unreadable(
            f"{path} must hold ids from 0 to {MAX_ID}. Received: {low} to {high}. Give pixels "
            "without a class the ignore_index of classes.json."
        )
    return values.astype(np.uint8 if high < 256 else np.uint16)


def _not_planes(raster: Raster, labels: LabelSpace, path: Place) -> str:
    height, width, bands = raster.values.shape
    return (
        f"{path} must hold one plane a class, (H, W, {labels.num_classes}), as the classes may "
        f"overlap. Received: {height}x{width} with {bands} bands ({raster.content}). Save them as "
        ".npy or as TIFF, in the order of classes.json, or as one binary file a class. Masks of "
        "one id a pixel hold classes that exclude each other: labels.exclusive=true."
    )


def _planes(raster: Raster, labels: LabelSpace, path: Place) -> np.ndarray:
    if raster.values.shape[-1] != labels.num_classes:
        raise Unreadable(_not_planes(raster, labels, path))
    values, ignore = _whole_numbers(raster.values, path), labels.ignore_index
    found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    others = set(found.tolist()) - {0, 1, ignore}
    if others == {_SET} and 1 not in found:
        return np.where(values == _SET, np.uint8(1), values).astype(np.uint8)
    if ignore == _SET and _SET in found and 1 not in found:
        raise Unreadable(
            f"{path} holds 0 and 255, and 255 may mean a class or, as ignore_index, that nobody "
            "judged. Save planes of 0 and 1, or change ignore_index in classes.json: null if "
            "every pixel was judged, else a number such as 2."
        )
    if others or found[-1] > 255:
        raise Unreadable(
            f"{path} holds planes, each 0 and 1 (or 0 and 255), and {ignore} where nobody judged. "
            f"Received also: {', '.join(map(str, sorted(others)[:10]))}. Save what is there as 1."
        )
    return values.astype(np.uint8, copy=False)

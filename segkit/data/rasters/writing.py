"""Ids and planes of an image of any size, written in strips."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Callable, ContextManager, Mapping

import numpy as np

from segkit.data.class_folders import file_stems
from segkit.data.places import Place
from segkit.data.rasters.class_pngs import ClassPngs
from segkit.data.rasters.raster import Raster
from segkit.data.rasters.saving import Sink, Strips, strips
from segkit.data.rasters.sinks import Npy, Png, Zarr
from segkit.data.rasters.tiff_sink import Tiff
from segkit.data.readers.formats import MAX_PIXELS
from segkit.labels import LabelSpace

PLANE_SUFFIXES = (".tif", ".tiff", ".zarr", ".npy")
ID_SUFFIXES = (".png", *PLANE_SUFFIXES)

_PALETTE_SIZE = 256
_PLANE_DTYPES = ("float16", "float32", "uint8")


def write_numbers(
    path: Place,
    shape: tuple[int, int],
    labels: LabelSpace,
    like: Raster | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ContextManager[Strips]:
    """Writes one number a pixel, float32, such as the mean of the values of ordered classes.

    Args:
        path, shape, labels, like, metadata: see `write_ids`; the endings are `PLANE_SUFFIXES`.

    Returns:
        a context manager of an object on which `.write(rows, numbers)` is called with strips
        (h, W), from the top to the bottom.

    Raises:
        see `write_ids`.
    """
    suffix = suffix_of(path, PLANE_SUFFIXES, "numbers")
    opener = _opener(suffix, shape, np.dtype("float32"), labels, like, metadata)
    return strips(path, shape[0], opener, partial(_require_numbers, path, shape[1]))


def write_ids(
    path: Place,
    shape: tuple[int, int],
    labels: LabelSpace,
    like: Raster | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ContextManager[Strips]:
    """Writes the ids of an image in the format that the ending of `path` names.

    PNG and TIFF (deflate, tiles) show the colours of the classes; with more than 256 classes ids
    take 16 bits and are grey. The classes are described in JSON: in PNG's text "Description",
    TIFF's ImageDescription, zarr's attributes; .npy has no place for it.

    Args:
        path: one of `ID_SUFFIXES`, in any folder of this computer. It appears when all rows are
            there; a file of this name is then replaced.
        shape: (H, W).
        labels: names and colours.
        like: of the image; resolution and georeference of a TIFF are copied into a TIFF.
        metadata: more that the description is to hold, for JSON.

    Returns:
        a context manager of an object on which `.write(rows, ids)` is called with strips (h, W) of
        ids in 0..C-1, from the top to the bottom.

    Raises:
        ValueError: for another ending, a PNG of more pixels than are read back, or strips that do
            not fit. OSError: naming the file, if it cannot be written.
    """
    suffix = suffix_of(path, ID_SUFFIXES, "ids")
    if suffix == ".png":
        _require_readable(path, shape)
    narrow = labels.num_classes <= _PALETTE_SIZE
    dtype = np.dtype("uint8" if narrow else "uint16")
    opener = _opener(suffix, shape, dtype, labels, like, metadata)
    return strips(path, shape[0], opener, partial(_require_ids, path, shape[1], labels))


def write_planes(
    path: Place,
    shape: tuple[int, int],
    labels: LabelSpace,
    dtype: str = "float16",
    like: Raster | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ContextManager[Strips]:
    """Writes one plane a class: probabilities, or masks of classes that may overlap.

    Args:
        path, shape, labels, like, metadata: see `write_ids`; the endings are `PLANE_SUFFIXES`.
        dtype: "float16" or "float32" of probabilities, "uint8" of masks (0 and 1). float16 rounds
            probabilities by at most 0.00025.

    Returns:
        a context manager of an object on which `.write(rows, planes)` is called with strips
        (h, W, C), from the top to the bottom.

    Raises:
        see `write_ids`.
    """
    suffix = suffix_of(path, PLANE_SUFFIXES, "planes")
    if dtype not in _PLANE_DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(_PLANE_DTYPES)}. Received: {dtype!r}.")
    planes = *shape, labels.num_classes
    opener = _opener(suffix, planes, np.dtype(dtype), labels, like, metadata)
    return strips(path, shape[0], opener, partial(_require_planes, path, planes))


def write_class_files(
    path: Place,
    shape: tuple[int, int],
    labels: LabelSpace,
    metadata: Mapping[str, Any] | None = None,
) -> ContextManager[Strips]:
    """Writes one black and white PNG a class, `PATH/CLASS.png`, also of classes that are nowhere.

    What cannot stand in the name of a file is written as %XX; a folder data set reads such names
    back (`masks/STEM/CLASS.png`).

    Args:
        path: the folder, which appears when all rows are there; one of this name is then replaced.
        shape, metadata: see `write_ids`.
        labels: the names.

    Returns:
        a context manager of an object on which `.write(rows, planes)` is called with strips
        (h, W, C) of 0 and 1, from the top to the bottom.

    Raises:
        ValueError: for names that no files can have, more pixels than are read back, or strips
            that do not fit. OSError: naming the folder, if it cannot be written.
    """
    file_stems(labels)
    _require_readable(path, shape)
    opener = partial(ClassPngs, shape=shape, labels=labels, metadata=metadata or {})
    planes = *shape, labels.num_classes
    return strips(path, shape[0], opener, partial(_require_planes, path, planes), folder=True)


def suffix_of(path: Place, suffixes: tuple[str, ...], what: str) -> str:
    """The ending of an output in lower case.

    Raises:
        ValueError: if it is none of those that can be written.
    """
    suffix = path.suffix.lower()
    if suffix not in suffixes:
        raise ValueError(
            f"{path} must end with one of {', '.join(suffixes)}, to which {what} can be written. "
            f"Received: {suffix or 'no ending'}."
        )
    return suffix


def _opener(
    suffix: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    labels: LabelSpace,
    like: Raster | None,
    metadata: Mapping[str, Any] | None,
) -> Callable[[Path], Sink]:
    """What opens a sink for the format at a place."""
    description = {"labels": labels.to_dict(), **(metadata or {})}
    text = json.dumps(description)
    narrow = len(shape) == 2 and dtype == np.uint8
    palette = labels.palette if narrow else None
    if suffix == ".png":
        return partial(Png, shape=shape[:2], palette=palette, description=text)
    if suffix == ".npy":
        return partial(Npy, shape=shape, dtype=dtype)
    if suffix == ".zarr":
        return partial(Zarr, shape=shape, dtype=dtype, attributes=json.loads(text))
    tags = like.tags if like is not None and like.shape == tuple(shape[:2]) else {}
    options = {"palette": palette, "description": text, "tags": tags}
    return partial(Tiff, shape=shape, dtype=dtype, **options)


def _require_readable(path: Place, shape: tuple[int, int]) -> None:
    if shape[0] * shape[1] > MAX_PIXELS:
        raise ValueError(
            f"{path} would have {shape[0]:,} x {shape[1]:,} pixels; PNG has to be read whole, and "
            f"at most {MAX_PIXELS:,} pixels are. Write .tif or .zarr."
        )


def _require_ids(path: Place, width: int, labels: LabelSpace, ids: np.ndarray) -> None:
    if ids.ndim != 2 or ids.shape[1] != width or ids.dtype.kind not in "ui":
        raise ValueError(
            f"{path} needs strips of ids, whole numbers (h, {width}). Received: {ids.dtype} "
            f"{ids.shape}."
        )
    if ids.min() < 0 or ids.max() >= labels.num_classes:
        raise ValueError(
            f"{path} needs ids in 0..{labels.num_classes - 1}, one a class. Received: {ids.min()} "
            f"to {ids.max()}."
        )


def _require_planes(path: Place, shape: tuple[int, ...], planes: np.ndarray) -> None:
    if planes.shape[1:] != shape[1:]:
        raise ValueError(
            f"{path} needs strips (h, {shape[1]}, {shape[2]}), a plane a class. Received: "
            f"{planes.shape}."
        )


def _require_numbers(path: Place, width: int, numbers: np.ndarray) -> None:
    if numbers.ndim != 2 or numbers.shape[1] != width:
        raise ValueError(f"{path} needs strips (h, {width}). Received: {numbers.shape}.")

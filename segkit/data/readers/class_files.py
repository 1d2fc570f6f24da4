"""One binary file a class -> ids (H, W), or planes (H, W, C) of classes that may overlap."""

from __future__ import annotations

from typing import Mapping

import numpy as np

from segkit.data.places import Place, read_bytes
from segkit.data.readers.bands import GREY_ALPHA, RGB, RGBA, Raster
from segkit.data.readers.colors import require_opaque
from segkit.data.readers.formats import Unreadable, exact_format, reading
from segkit.data.readers.images import decode
from segkit.data.readers.pictures import require_no_clear_color
from segkit.data.readers.tiff import decode_tiff_ids
from segkit.labels import LabelSpace

_WHAT = "a mask"


def read_class_files(
    files: Mapping[str, Place], labels: LabelSpace, size: tuple[int, int]
) -> np.ndarray:
    """Reads one binary file a class: black or 0 outside, one other value inside.

    Args:
        files: {class name: its file}.
        labels: the label space. Classes that exclude each other: pixels in no file are
            background, or ignored if `labels` has no background. Independent ones: a class
            without a file is nowhere.
        size: (H, W) of the image, which each file must have.

    Returns:
        ids (H, W) of uint8, or uint16 where an id needs it; planes (H, W, C) of uint8, 0/1.

    Raises:
        FileNotFoundError, OSError: if one is gone or may not be read. ValueError: naming the
            file, if it is damaged, of another size or not binary, or claims pixels of another.
    """
    inside = {labels.index(name): _read_binary(path, size) for name, path in files.items()}
    if not labels.exclusive:
        planes = np.zeros((*size, labels.num_classes), np.uint8)
        for c, plane in inside.items():
            planes[..., c] = plane
        return planes
    rest = labels.ignore_index if labels.background is None else labels.background
    if rest is None:
        raise Unreadable(
            f"{', '.join(map(str, files.values())) or 'No file'} leaves open what the other pixels "
            'are. Give classes.json a "background", or an "ignore_index" if nobody judged them.'
        )
    ids = np.full(size, rest, np.uint8 if max(rest, labels.num_classes - 1) < 256 else np.uint16)
    taken = np.zeros(size, bool)
    for c, plane in inside.items():
        if (taken & plane).any():
            raise Unreadable(_overlap(files, inside, c, labels))
        taken |= plane
        ids[plane] = c
    return ids


def _read_binary(path: Place, size: tuple[int, int]) -> np.ndarray:
    """The mask of one class, bool (H, W)."""
    data = read_bytes(path)
    with reading(path, _WHAT):
        raster = _decoded(data, path)
        values = raster.values
        if values.shape[:2] != tuple(size):
            raise Unreadable(
                f"{path} must be as large as its image, {size[0]}x{size[1]} (height x width). "
                f"Received: {values.shape[0]}x{values.shape[1]}. Replace the one that does not "
                "belong to the other."
            )
        if raster.content in (RGBA, GREY_ALPHA):
            require_opaque(values, path)
            values = values[..., :-1]
        return _binary(values, raster.content in (RGB, RGBA), path)


def _decoded(data: bytes, path: Place) -> Raster:
    format = exact_format(data, path, _WHAT)
    if format == "PNG":
        require_no_clear_color(data, path)
    # Palettes are applied: in a small PNG, the index of black may be 0 or 1.
    return decode_tiff_ids(data, path) if format == "TIFF" else decode(data, path, _WHAT)


def _binary(values: np.ndarray, colors: bool, path: Place) -> np.ndarray:
    if values.dtype.kind not in "bui" or not (values.shape[-1] == 1 or colors):
        raise Unreadable(
            f"{path} must be the mask of one class: whole numbers or bool, (H, W). Received: "
            f"{values.dtype}, {values.shape[-1]} bands. Save it as a black and white PNG."
        )
    codes = values[..., 0]
    for band in range(1, values.shape[-1]):  # three of at most 16 bits
        codes = (codes.astype(np.int64) << 16) | values[..., band]
    inside = codes != 0
    if inside.any() and (codes[inside] != codes[inside][0]).any():
        _, first = np.unique(codes, return_index=True)
        found = [tuple(value) for value in values.reshape(-1, values.shape[-1])[first].tolist()]
        found = [str(value[0] if len(value) == 1 else value) for value in found if any(value)]
        raise Unreadable(
            f"{path} must be the mask of one class: 0 and one other value. Received: "
            f"{len(found)} others ({', '.join(found[:5])}{', ...' if len(found) > 5 else ''}). "
            "Smoothed edges need a threshold; ids of several classes belong into one file."
        )
    return inside


def _overlap(
    files: Mapping[str, Place], inside: Mapping[int, np.ndarray], c: int, labels: LabelSpace
) -> str:
    other = next(o for o in inside if (inside[o] & inside[c]).any())
    both = inside[other] & inside[c]
    row, column = np.argwhere(both)[0]
    names = labels.names
    return (
        f"{files[names[other]]} and {files[names[c]]} claim the same {np.count_nonzero(both):,} "
        f"pixels, one of them in row {row}, column {column}, but a pixel has one class. Correct "
        'them, or set "exclusive": false (and "background": null) in classes.json.'
    )

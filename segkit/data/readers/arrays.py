"""NumPy's .npy files."""

from __future__ import annotations

import io
import math
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from segkit.data.places import Place
from segkit.data.readers.bands import BANDS, GREY, RGB, Raster
from segkit.data.readers.formats import Unreadable, require_size

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def decode_array(data: bytes, path: Place) -> Raster:
    """(H, W) or (H, W, K) of any plain dtype; three bands count as colours."""
    file = io.BytesIO(data)
    shape, dtype, order = array_header(file, len(data), path)
    height, width, bands = array_extent(shape, path)
    require_size(height, width, bands, path)
    values = np.frombuffer(data, dtype, math.prod(shape), file.tell()).reshape(shape, order=order)
    content = {1: GREY, 3: RGB}.get(bands, BANDS)
    return Raster(np.array(values, order="C").reshape(height, width, bands), content)


def array_size(file: BinaryIO, path: Place) -> tuple[int, int]:
    """(H, W) from the header."""
    shape, _, _ = array_header(file, None, path)
    height, width, bands = array_extent(shape, path)
    require_size(height, width, bands, path)
    return height, width


def require_whole_array(file: BinaryIO, length: int, path: Place) -> None:
    """Checks that a file of `length` bytes is as long as its header says."""
    array_header(file, length, path)


def array_header(
    file: BinaryIO, length: int | None, path: Place
) -> tuple[tuple[int, ...], np.dtype, str]:
    """Shape, dtype and order ("C" or "F"); the file is then where the values begin.

    Raises:
        Unreadable: if it holds objects, or is shorter than its header says.
    """
    version = npy.read_magic(file)
    if version not in _HEADERS:  # 3.0: structured arrays with names beyond Latin-1
        raise Unreadable(
            f"{path} must hold one plain array. Received: .npy version {version}. Save it again "
            "with np.save."
        )
    shape, fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise Unreadable(
            f"{path} holds Python objects, which may run code when they are read. "
            f"Received: dtype {dtype}. Save plain numbers: np.save(path, array.astype('float32'))."
        )
    needed = file.tell() + math.prod(shape) * dtype.itemsize
    if length is not None and length < needed:
        raise Unreadable(
            f"{path} is cut short: its header promises {needed:,} bytes. Received: {length:,}. "
            "Restore the file, or remove the pair."
        )
    return shape, dtype, "F" if fortran else "C"


def array_extent(shape: tuple[int, ...], path: Place) -> tuple[int, int, int]:
    """(H, W, K) of an array (H, W) or (H, W, K).

    Raises:
        Unreadable: if it has other axes.
    """
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) != 3:
        raise Unreadable(
            f"{path} must hold an array (H, W) or (H, W, K). Received: shape {shape}. Save one "
            "image a file."
        )
    return shape

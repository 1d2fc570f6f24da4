"""Bytes of an open file, asked for by several threads, and values that lie there as they are."""

from __future__ import annotations

import threading
from typing import BinaryIO, Callable, Sequence

import numpy as np

from segkit.data.places import Place, named
from segkit.data.rasters.segments import Segments
from segkit.data.readers.formats import Unreadable

Read = Callable[[int, int], bytes]

_AT_ONCE = 2**22  # bytes


def reader(file: BinaryIO, path: Place) -> Read:
    """(offset, count) -> so many bytes of the file.

    Raises, when called:
        OSError: naming the file, if they cannot be read. Unreadable: if it ends before.
    """
    lock = threading.Lock()

    def read(offset: int, count: int) -> bytes:
        with lock, named(path):
            file.seek(offset)
            data = file.read(count)
        if len(data) < count:
            raise Unreadable(
                f"{path} is cut short: its header promises {offset + count:,} bytes. Received: "
                f"{offset + len(data):,}. Restore the file."
            )
        return data

    return read


def rows_of(
    read: Read, starts: Sequence[int], dtype: np.dtype, shape: tuple[int, int, int], cache: int
) -> Segments:
    """Values that are not compressed, row after row.

    Args:
        read: what `reader` gives.
        starts: where the planes begin, one or several.
        dtype: of the values, in the byte order of the file.
        shape: (height, width, samples) of a plane.
        cache: see `Segments`.
    """
    height, width, samples = shape
    line = width * samples * dtype.itemsize
    strip = min(height, max(1, _AT_ONCE // line))

    def decode(row: int, column: int) -> np.ndarray:
        rows = min(strip, height - row * strip)
        parts = [read(start + row * strip * line, rows * line) for start in starts]
        planes = [np.frombuffer(part, dtype).reshape(rows, width, samples) for part in parts]
        return planes[0] if len(planes) == 1 else np.concatenate(planes, axis=-1)

    whole = height, width, samples * len(starts)
    return Segments(whole, dtype.newbyteorder("="), (strip, width), decode, cache)

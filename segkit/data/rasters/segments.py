"""Bands that lie in a file in segments: decoded where a window needs them, once."""

from __future__ import annotations

import functools
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import product
from typing import Callable

import numpy as np

_AHEAD = 2  # segments a thread may be ahead of whoever copies them


class Segments:
    """The values of a file by window; the segments used last stay in memory.

    Args:
        shape: (H, W, K) of all of it.
        dtype: of the values.
        size: (height, width) of a segment; those of the last row and column may be larger than
            what is left of the image, or smaller.
        decode: (row, column) of a segment in the grid -> its values (h, w, K). Called in threads.
        cache: bytes that decoded segments may take while they wait to be used again. At least one
            segment is kept.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype,
        size: tuple[int, int],
        decode: Callable[[int, int], np.ndarray],
        cache: int,
    ):
        self.shape, self.dtype, self.size = shape, np.dtype(dtype), size
        segment = size[0] * size[1] * shape[2] * self.dtype.itemsize
        kept = max(1, cache // segment)
        workers = max(2, os.cpu_count() or 1)
        self._ahead = min(_AHEAD * workers, kept)
        self._pool = ThreadPoolExecutor(workers)
        # A segment that is being decoded is in here as well: who needs it next waits for it.
        self._segment = functools.lru_cache(kept)(functools.partial(self._pool.submit, decode))

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """The values (h, w, K) of a window that lies inside."""
        (height, width), bands = self.size, self.shape[2]
        shape = rows.stop - rows.start, columns.stop - columns.start, bands
        values = np.empty(shape, self.dtype)
        down = range(rows.start // height, -(-rows.stop // height))
        across = range(columns.start // width, -(-columns.stop // width))
        waiting: deque[tuple[int, int, Future]] = deque()
        for row, column in product(down, across):
            waiting.append((row * height, column * width, self._segment(row, column)))
            if len(waiting) > self._ahead:
                _copy(waiting.popleft(), values, rows, columns)
        while waiting:
            _copy(waiting.popleft(), values, rows, columns)
        return values

    def close(self) -> None:
        """Ends the threads and lets go of what they decoded."""
        self._pool.shutdown(cancel_futures=True)
        self._segment.cache_clear()


def _copy(
    decoded: tuple[int, int, Future], values: np.ndarray, rows: slice, columns: slice
) -> None:
    """Copies the part of a segment that lies in the window."""
    top, left, future = decoded
    segment = future.result()
    first, before = max(top, rows.start), max(left, columns.start)
    last = min(top + segment.shape[0], rows.stop)
    behind = min(left + segment.shape[1], columns.stop)
    values[
        first - rows.start : last - rows.start, before - columns.start : behind - columns.start
    ] = segment[first - top : last - top, before - left : behind - left]

"""A window of an image as models see it: the same values that reading the whole would give."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Protocol, Sequence

import numpy as np

from segkit.data.places import Place
from segkit.data.readers.bands import Raster as Decoded
from segkit.data.readers.bands import lies, numbers, upright, with_channels
from segkit.data.readers.formats import Unreadable, reading
from segkit.data.scaling import to_unit

WHAT = "an image"


class Values(Protocol):
    """The values of a file as they lie there, by window."""

    shape: tuple[int, int, int]
    dtype: np.dtype

    def window(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, K) of a window that lies inside."""

    def close(self) -> None:
        """Lets go of threads and memory."""


class Stored(NamedTuple):
    """What a file holds.

    values: by window; None if they have to be decoded as a whole.
    for_the_eye: values (h, w, K) -> the same as colours or grey, and which of them.
    orientation: of EXIF and TIFF, 1 to 8.
    tags: of an upright TIFF, what says where on earth and how large its pixels are: the arguments
        that `TiffWriter.write` takes for them.
    """

    values: Values | None = None
    for_the_eye: Callable[[np.ndarray], Decoded] | None = None
    orientation: int = 1
    tags: dict[str, Any] = {}


class Raster:
    """An open image; `open_raster` makes it.

    path: the file. shape: (H, W) of the upright image. by_window: whether a window costs no more
    than what it touches; False for what can only be decoded whole. tags: see `Stored`.
    """

    path: Place
    shape: tuple[int, int]
    by_window: bool
    tags: dict[str, Any]

    def __init__(self, path: Place, value_range: Sequence | None):
        self.path, self._value_range = path, value_range

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        """Reads a window, as `to_unit(read_image(path, channels), value_range, path)` has it.

        Args:
            rows, columns: slices with start <= stop that lie inside the image, without a step.

        Returns:
            uint8 or float32 in [0, 1], (h, w, K).

        Raises:
            OSError: if the file may not be read any more. ValueError: naming the file, if the
                window lies outside or what it touches is damaged.
        """
        for name, part, size in zip(("rows", "columns"), (rows, columns), self.shape):
            ends = part.start, part.stop
            if part.step not in (None, 1) or None in ends or not 0 <= ends[0] < ends[1] <= size:
                raise ValueError(
                    f"{name} must be a slice(start, stop) of at least one of the {size:,} {name} "
                    f"of {self.path}. Received: {part}."
                )
        with reading(self.path, WHAT):
            values = self._values(rows, columns)
        return to_unit(values, self._value_range, self.path)

    def _values(self, rows: slice, columns: slice) -> np.ndarray:
        """(h, w, channels) as `read_image` gives them."""
        raise NotImplementedError


class Windowed(Raster):
    """Reads and decodes what a window touches."""

    by_window = True

    def __init__(self, path: Place, channels: int, value_range: Sequence | None, stored: Stored):
        super().__init__(path, value_range)
        self._stored, self._turned, self._channels = stored, stored.orientation, channels
        height, width, _ = stored.values.shape
        self.shape = (width, height) if lies(self._turned) else (height, width)
        self.tags = stored.tags
        self._require_channels()

    def _values(self, rows: slice, columns: slice) -> np.ndarray:
        decoded = self._stored.for_the_eye(self._stored.values.window(*self._lying(rows, columns)))
        values = numbers(upright(decoded.values, self._turned), self.path)
        values = with_channels(Decoded(values, decoded.content), self._channels, self.path)
        self._require_finite(values, rows, columns)
        return values

    def _lying(self, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Where a window of the upright image lies in the file; the inverse of `upright`."""
        if self._turned in (2, 3, 6, 7):
            columns = slice(self.shape[1] - columns.stop, self.shape[1] - columns.start)
        if self._turned in (3, 4, 7, 8):
            rows = slice(self.shape[0] - rows.stop, self.shape[0] - rows.start)
        return (columns, rows) if lies(self._turned) else (rows, columns)

    def _require_channels(self) -> None:
        """Refuses a wrong number of bands or no numbers before anything is decoded."""
        values = self._stored.values
        one = np.zeros((1, 1, values.shape[2]), values.dtype)
        decoded = self._stored.for_the_eye(one)
        numbers(decoded.values, self.path)
        try:
            with_channels(decoded, self._channels, self.path)
        except Unreadable:
            shape = *self.shape, decoded.values.shape[2]
            everything = np.broadcast_to(decoded.values[:1, :1], shape)  # for the words alone
            with_channels(Decoded(everything, decoded.content), self._channels, self.path)

    def _require_finite(self, values: np.ndarray, rows: slice, columns: slice) -> None:
        if values.dtype.kind != "f":
            return
        wrong = ~np.isfinite(values).all(-1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise Unreadable(
                f"{self.path} holds NaN or infinity in {wrong.sum():,} of {wrong.size:,} pixels of "
                f"rows {rows.start} to {rows.stop - 1}, the first in row {rows.start + row}, "
                f"column {columns.start + column}. Replace them by a number."
            )


class Whole(Raster):
    """Decodes everything when the first window is read, and copies windows of it.

    Args:
        path, value_range: see `open_raster`.
        shape: (H, W).
        decode: gives the values (H, W, channels) as `read_image` does.
        tags: see `Stored`.
    """

    by_window = False

    def __init__(
        self,
        path: Place,
        value_range: Sequence | None,
        shape: tuple[int, int],
        decode: Callable[[], np.ndarray],
        tags: dict[str, Any],
    ):
        super().__init__(path, value_range)
        self.shape, self.tags = shape, tags
        self._decode = decode

    @functools.cached_property
    def _everything(self) -> np.ndarray:
        return self._decode()

    def _values(self, rows: slice, columns: slice) -> np.ndarray:
        return self._everything[rows, columns].copy()

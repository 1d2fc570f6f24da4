"""Any image, open to be read by window."""

from __future__ import annotations

import io
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import BinaryIO, Iterator, Sequence

from segkit.contract import whole_number
from segkit.data.places import Place, opened
from segkit.data.rasters.arrays import stored_in_array
from segkit.data.rasters.raster import WHAT, Raster, Stored, Whole, Windowed
from segkit.data.rasters.stores import is_store, is_web, stored_in_zarr
from segkit.data.rasters.tiffs import stored_in_tiff
from segkit.data.readers.formats import SIGNATURE_BYTES, Unreadable, format_of, reading
from segkit.data.readers.images import image_size, read_image

_CACHE = 2**28
_BY_WINDOW = {"TIFF": stored_in_tiff, "npy": stored_in_array}


@contextmanager
def open_raster(
    path: Place, channels: int = 3, value_range: Sequence | None = None, cache: int = _CACHE
) -> Iterator[Raster]:
    """Opens an image of any size to read windows of it.

    TIFF in tiles, strips or without compression, .npy and zarr are read by window; segments that
    were decoded are kept for the next window. PNG, JPEG, TIFF in a single compressed piece and
    .npy in Fortran's order are decoded whole when the first window is read, so they may have
    `readers.MAX_PIXELS` at most.

    Args:
        path: a file that `read_image` reads, or a zarr array or group: a folder, a URL or a
            .zarr.zip. Of a group, the first level of its multiscales, or the array "0".
        channels: as for `read_image`. The bands of zarr are its axis called c, the last axis if
            there are 1 to 4, or the first.
        value_range: as for `to_unit`.
        cache: bytes that decoded segments may take, so that windows that overlap decode nothing
            twice. A row of segments as wide as the image should fit.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. ValueError: naming the file,
            if it is empty, damaged, no image, or does not hold `channels` bands of numbers; what
            only the values tell is raised by `read`.
    """
    whole_number("channels", channels, 1)
    with ExitStack() as stack:
        stored = _stored(path, channels, cache, stack)
        with reading(path, WHAT):
            if stored.values is None:
                size, decode = image_size(path), partial(read_image, path, channels)
                raster: Raster = Whole(path, value_range, size, decode, stored.tags)
            else:
                stack.callback(stored.values.close)
                raster = Windowed(path, channels, value_range, stored)
        yield raster


def _stored(path: Place, channels: int, cache: int, stack: ExitStack) -> Stored:
    if is_store(path):
        return stored_in_zarr(path, channels, cache, stack)
    file = stack.enter_context(opened(path))
    with reading(path, WHAT):
        format = format_of(file.read(SIGNATURE_BYTES), path, WHAT)
        by_window = _BY_WINDOW.get(format)
        if by_window is None:
            return Stored()
        if is_web(path):
            _require_parts(file, path)
        file.seek(0)
        return by_window(file, path, cache)


def _require_parts(file: BinaryIO, path: Place) -> None:
    """Refuses a web server that gives whole files alone."""
    try:
        file.seek(-1, io.SEEK_END)
        file.read(1)
    except ValueError as error:
        raise Unreadable(
            f"{path} cannot be read by window: its server gives no parts of files (HTTP ranges). "
            "Download it, and name the file."
        ) from error

"""NumPy's .npy files by window."""

from __future__ import annotations

import io
from functools import partial
from typing import BinaryIO

from segkit.data.places import Place
from segkit.data.rasters.files import reader, rows_of
from segkit.data.rasters.raster import Stored
from segkit.data.readers.arrays import array_extent, array_header
from segkit.data.readers.bands import BANDS, GREY, RGB
from segkit.data.readers.bands import Raster as Decoded
from segkit.data.readers.formats import require_size


def stored_in_array(file: BinaryIO, path: Place, cache: int) -> Stored:
    """What a .npy file holds, by window; without values if its columns follow each other (Fortran).

    Raises:
        Unreadable: as `read_image` does, as far as the header tells.
    """
    length = file.seek(0, io.SEEK_END)
    file.seek(0)
    shape, dtype, order = array_header(file, length, path)
    height, width, bands = array_extent(shape, path)
    if order == "F" and len(shape) - shape.count(1) > 1:
        return Stored()
    if min(height, width, bands) < 1:
        require_size(height, width, bands, path)  # whose words they are
    values = rows_of(reader(file, path), [file.tell()], dtype, (height, width, bands), cache)
    content = {1: GREY, 3: RGB}.get(bands, BANDS)
    return Stored(values, partial(Decoded, content=content))

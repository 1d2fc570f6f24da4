"""TIFF by window: tiles, strips and planes; of a pyramid, its largest level."""

from __future__ import annotations

import io
import math
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from tifffile import TiffPage

from segkit.data.places import Place
from segkit.data.rasters.files import Read, reader, rows_of
from segkit.data.rasters.raster import Stored
from segkit.data.rasters.segments import Segments
from segkit.data.readers.bands import BANDS
from segkit.data.readers.bands import Raster as Decoded
from segkit.data.readers.formats import Unreadable, require_size
from segkit.data.readers.tiff import cut_short, for_the_eye, image_pages, open_tiff, orientation_of

_JPEGS = (6, 7, 34892, 33007)  # which share tables that the header of the file holds
# GeoTIFF: pixel scale, tie points, transformation, keys, and the numbers and names of the keys.
_GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737)
_RESOLUTION, _UNIT = (282, 283), 296


def stored_in_tiff(file: BinaryIO, path: Place, cache: int) -> Stored:
    """What a TIFF holds, by window; without values if it has to be decoded whole.

    Args:
        file: open at its beginning; has to stay open while values are read.
        path: named in errors.
        cache: see `Segments`.

    Raises:
        Unreadable: as `read_image` does, as far as the header tells.
    """
    pages = image_pages(open_tiff(file, path), path)
    values = _values(pages, reader(file, path), path, cache)
    _require_length(pages, file.seek(0, io.SEEK_END), path)
    page = pages[0]
    if len(pages) > 1:
        show = partial(Decoded, content=BANDS)
    else:
        show = partial(for_the_eye, page=page, path=path)
    turned = orientation_of(page)
    return Stored(values, show, turned, _tags(page) if turned == 1 else {})


def _values(pages: list[TiffPage], read: Read, path: Place, cache: int) -> Segments | None:
    page = pages[0]
    if any(other.hash != page.hash for other in pages):
        return None
    samples = page.samplesperpixel if page.planarconfig == 1 else 1
    planes = page.samplesperpixel // samples
    shape = page.imagelength, page.imagewidth
    if all(p.is_contiguous for p in pages):
        if page.predictor != 1 or page.fillorder != 1 or page.is_subsampled:
            return None
        size = math.prod(shape) * samples * page.dtype.itemsize
        starts = [p.dataoffsets[0] + plane * size for p in pages for plane in range(planes)]
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        return rows_of(read, starts, dtype, (*shape, samples), cache)
    segment = page.tilelength, page.tilewidth
    if not page.is_tiled:
        segment = min(page.rowsperstrip, shape[0]), shape[1]
    grid = tuple(math.ceil(edge / size) for edge, size in zip(shape, segment))
    if grid == (1, 1):
        return None
    bands = page.samplesperpixel * len(pages)
    require_size(*segment, bands, path)  # it is decoded at once
    for each in pages:
        _require_listed(each, math.prod(grid) * planes, path)
    decode = partial(_decode, pages, planes, grid, read)
    return Segments((*shape, bands), page.dtype, segment, decode, cache)


def _decode(
    pages: list[TiffPage], planes: int, grid: tuple[int, int], read: Read, row: int, column: int
) -> np.ndarray:
    """A tile or strip (h, w, K), its planes stacked."""
    parts = []
    for page in pages:
        tables = {}
        if page.compression in _JPEGS:
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
        for plane in range(planes):
            index = (plane * grid[0] + row) * grid[1] + column
            offset, count = page.dataoffsets[index], page.databytecounts[index]
            data = read(offset, count) if offset and count else None
            values, _, shape = page.decode(data, index, **tables)
            if values is None:  # left out by whoever wrote the file: there is nothing in it
                values = np.full(shape, page.nodata, page.dtype)
            parts.append(values[0])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


def _require_listed(page: TiffPage, needed: int, path: Place) -> None:
    """tifffile fills in zeros for what a damaged header leaves out."""
    listed = min(len(page.dataoffsets), len(page.databytecounts))
    if listed < needed:
        what = "tiles" if page.is_tiled else "strips"
        raise Unreadable(
            f"{path} is damaged: its header must say where {needed:,} {what} lie. Received: "
            f"{listed:,}. Restore the file."
        )


def _require_length(pages: list[TiffPage], length: int, path: Place) -> None:
    """Sees what is cut short before hours were spent on the first part."""
    ends = [
        offset + count
        for page in pages
        for offset, count in zip(page.dataoffsets, page.databytecounts)
    ]
    if max(ends, default=0) > length:
        raise Unreadable(cut_short(path, max(ends), length))


def _tags(page: TiffPage) -> dict[str, Any]:
    """What `TiffWriter.write` takes to say the same of another image of this size."""
    found: dict[str, Any] = {}
    resolution = [page.tags[code].value for code in _RESOLUTION if code in page.tags]
    if len(resolution) == 2 and all(above and below for above, below in resolution):
        found["resolution"] = tuple(resolution)
        if _UNIT in page.tags:
            found["resolutionunit"] = page.tags[_UNIT].value
    kept = [page.tags[code] for code in _GEOREFERENCE if code in page.tags]
    if kept:
        found["extratags"] = [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in kept]
    return found

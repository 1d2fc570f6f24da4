"""TIFF: bands side by side, one after the other, or a page each."""

from __future__ import annotations

import io
import logging
from typing import BinaryIO

import numpy as np
from PIL import Image
from tifffile import EXTRASAMPLE, PHOTOMETRIC, TiffFile, TiffPage

from segkit.data.places import Place
from segkit.data.readers.bands import BANDS, GREY, GREY_ALPHA, RGB, RGBA, Raster, lies, upright
from segkit.data.readers.formats import Unreadable, require_size

# Damage is reported by an error here; without this, it would also be printed.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_ORIENTATION = 274
_SMALLER_OR_MASK = 1 | 4  # bits of NewSubfileType: an overview, a transparency mask
_ALPHA = (EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA)
_JPEGS = (6, 7, 34892)  # compressions that smear ids
_BAND_AXES = set("CSIQ")  # channels, samples, and axes without a name


def decode_tiff(data: bytes, path: Place) -> Raster:
    """Decodes a TIFF, upright, for the eye: a palette gives its colours, few bits are stretched."""
    with open_tiff(io.BytesIO(data), path) as tiff:
        pages = image_pages(tiff, path)
        _require_size(pages, path)
        page, values = pages[0], _values(pages)
        if len(pages) > 1:
            return Raster(values, BANDS)
        return for_the_eye(values, page, path)


def decode_tiff_ids(data: bytes, path: Place) -> Raster:
    """Decodes a TIFF whose values count: the index of a palette, nothing stretched or inverted.

    Raises:
        Unreadable: if the values cannot be told for sure.
    """
    with open_tiff(io.BytesIO(data), path) as tiff:
        pages = image_pages(tiff, path)
        _require_size(pages, path)
        page = pages[0]
        if page.compression in _JPEGS:
            raise Unreadable(
                f"{path} is compressed as JPEG, which smears the values of a mask along every "
                "edge. Write it without loss: as PNG, or as TIFF with deflate."
            )
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            raise Unreadable(
                f"{path} says that its zeros are white (photometric MINISWHITE), and programs "
                "disagree on whether its values are then inverted. Write the mask as PNG, or with "
                "photometric='minisblack'."
            )
        content = GREY if page.samplesperpixel == 1 else _content(page, path)
        return Raster(_values(pages), content if len(pages) == 1 else BANDS)


def tiff_size(file: BinaryIO, path: Place) -> tuple[int, int]:
    """(H, W) of an upright TIFF, from its header."""
    with open_tiff(file, path) as tiff:
        pages = image_pages(tiff, path)
        _require_size(pages, path)
        page = pages[0]
        height, width = page.imagelength, page.imagewidth
        return (width, height) if lies(orientation_of(page)) else (height, width)


def require_whole_tiff(file: BinaryIO, length: int, path: Place) -> None:
    """Checks that every strip and tile lies inside a file of `length` bytes."""
    with open_tiff(file, path) as tiff:
        ends = [
            offset + count
            for page in tiff.pages
            for offset, count in zip(page.dataoffsets, page.databytecounts)
        ]
    if max(ends, default=0) > length:
        raise Unreadable(cut_short(path, max(ends), length))


def open_tiff(file: BinaryIO, path: Place) -> TiffFile:
    """An open TIFF, after a look at how its pages follow each other.

    Raises:
        Unreadable: if one lies behind the end of the file, or they go round in a circle.
    """
    # tifffile leaves out a page that begins behind the end of the file, and goes round for ever
    # where the last page points back to an earlier one.
    head = file.read(8)
    order = "little" if head[:2] == b"II" else "big"
    counted, tag, pointer, first = (8, 20, 8, 8) if 43 in head[2:4] else (2, 12, 4, 4)
    length, at, seen = file.seek(0, io.SEEK_END), first, set()
    while True:
        file.seek(at)
        page = int.from_bytes(file.read(pointer), order)
        if page == 0:
            break
        if page + counted > length:
            raise Unreadable(cut_short(path, page + counted, length))
        if page in seen:
            raise Unreadable(f"{path} is damaged: its pages follow each other in a circle.")
        seen.add(page)
        file.seek(page)
        at = page + counted + tag * int.from_bytes(file.read(counted), order)
    file.seek(0)
    return TiffFile(file)


def cut_short(path: Place, promised: int, length: int) -> str:
    """The words for a file that ends before its header says."""
    return (
        f"{path} is cut short: its header promises {promised:,} bytes. Received: {length:,}. "
        "Restore the file, or remove the pair."
    )


def image_pages(tiff: TiffFile, path: Place) -> list[TiffPage]:
    """The pages that hold the bands, of any size, after a look at their headers.

    Of the slides that microscopes scan (SVS), that is the largest level alone.

    Raises:
        Unreadable: if the file holds several images, a volume, no pixels, or numbers of a kind
            that is not read.
    """
    pages = [page for page in tiff.pages if not page.subfiletype & _SMALLER_OR_MASK]
    pages = pages if pages and not tiff.is_svs else [tiff.pages[0]]
    first = pages[0]
    if first.imagedepth > 1:
        raise Unreadable(f"{path} is a volume of depth {first.imagedepth}. Save its slices.")
    bands = first.samplesperpixel * len(pages)
    if min(first.imagelength, first.imagewidth, bands) < 1:
        require_size(first.imagelength, first.imagewidth, bands, path)  # whose words they are
    if first.dtype is None:
        raise Unreadable(
            f"{path} holds numbers of a kind that is not read: SampleFormat {first.sampleformat} "
            f"of {first.bitspersample} bits. Store them as uint8, uint16 or float32."
        )
    stacked = [axis for axis in tiff.series[0].axes if axis in "ZT"]
    alike = all((p.shape, p.dtype) == (first.shape, first.dtype) for p in pages)
    single = first.samplesperpixel == 1 and first.photometric != PHOTOMETRIC.PALETTE
    axes = set(tiff.series[0].axes) - set("YX")
    if stacked or (len(pages) > 1 and not (alike and single and axes <= _BAND_AXES)):
        raise Unreadable(
            f"{path} is a stack of images, where one image is expected; pages count as bands only "
            "if all are grey, of one size and dtype, and not called slices or times. Received: "
            f"{len(pages)} pages, the first {first.shape}, axes {tiff.series[0].axes}. Save each "
            "as a file of its own, or as one page with planar or interleaved bands."
        )
    return pages


def _require_size(pages: list[TiffPage], path: Place) -> None:
    """Refuses what is too large to be decoded as a whole."""
    bands = pages[0].samplesperpixel * len(pages)
    require_size(pages[0].imagelength, pages[0].imagewidth, bands, path)


def orientation_of(page: TiffPage) -> int:
    """How a page lies, as EXIF has it: 1 to 8."""
    tag = page.tags.get(_ORIENTATION)
    return 1 if tag is None else tag.value


def _values(pages: list[TiffPage]) -> np.ndarray:
    """(H, W, K) of any dtype, upright."""
    # The pipeline decodes several files at once; more threads in here would be in their way.
    decoded = [page.asarray(maxworkers=1) for page in pages]
    page, values = pages[0], decoded[0]
    if len(decoded) > 1:
        values = np.stack(decoded, axis=-1)
    elif page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    return upright(values.reshape(page.imagelength, page.imagewidth, -1), orientation_of(page))


def for_the_eye(values: np.ndarray, page: TiffPage, path: Place) -> Raster:
    """Decoded values (h, w, K), of any part of a page, as grey or colours.

    Raises:
        Unreadable: if their colours are of another space.
    """
    photometric, bits = page.photometric, page.bitspersample
    if values.dtype == bool:
        values = values * np.uint8(255)
    elif values.dtype == np.uint8 and bits < 8 and photometric != PHOTOMETRIC.PALETTE:
        values = values * np.uint8(255 // (2**bits - 1))
    if photometric == PHOTOMETRIC.PALETTE:
        colors = page.colormap  # (3, 2**bits) of 16 bits; some programs fill in only 8
        colors = colors if colors.max() < 256 else colors >> 8
        return Raster(np.moveaxis(colors.astype(np.uint8)[:, values[..., 0]], 0, -1), RGB)
    if photometric == PHOTOMETRIC.MINISWHITE:
        if values.dtype.kind != "u":
            raise Unreadable(
                f"{path} says that its zeros are white (photometric MINISWHITE), which for "
                f"{values.dtype} says nothing about the other values. Store it as MINISBLACK."
            )
        values = np.iinfo(values.dtype).max - values
    if photometric == PHOTOMETRIC.SEPARATED and values.shape[-1] == 4 and values.dtype == np.uint8:
        return Raster(np.array(Image.fromarray(values, "CMYK").convert("RGB")), RGB)
    return Raster(values, _content(page, path))


def _content(page: TiffPage, path: Place) -> str:
    color, bands = page.photometric, page.samplesperpixel
    alpha = len(page.extrasamples) == 1 and page.extrasamples[0] in _ALPHA
    # A JPEG inside a TIFF has been turned into RGB by the decoder.
    if color == PHOTOMETRIC.RGB or (color == PHOTOMETRIC.YCBCR and page.compression in _JPEGS):
        return RGB if bands == 3 else RGBA if bands == 4 and alpha else BANDS
    if color in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.PALETTE):
        return GREY if bands == 1 else GREY_ALPHA if bands == 2 and alpha else BANDS
    name = getattr(color, "name", color)
    raise Unreadable(f"{path} holds colours of the space {name}. Convert the file to RGB.")

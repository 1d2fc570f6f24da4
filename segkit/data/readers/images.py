"""Image files -> arrays (H, W, K)."""

from __future__ import annotations

import numpy as np

from segkit.contract import whole_number
from segkit.data.places import Place, opened, read_bytes
from segkit.data.readers.arrays import array_size, decode_array
from segkit.data.readers.bands import Raster, numbers, require_finite, with_channels
from segkit.data.readers.formats import SIGNATURE_BYTES, format_of, reading
from segkit.data.readers.pictures import decode_picture, picture_size
from segkit.data.readers.tiff import decode_tiff, tiff_size

_WHAT = "an image"


def read_image(path: Place, channels: int = 3) -> np.ndarray:
    """Reads an image in the precision of its file, upright as its EXIF orientation says.

    Args:
        path: a JPEG, PNG, TIFF or .npy file; what it is, its first bytes say.
        channels: 3 for colours: grey is repeated, alpha dropped. 1 for grey: of colours, the
            luma of ITU-R 601. Otherwise exactly the bands of the file; 4 keeps the alpha.

    Returns:
        (H, W, channels): uint8 or uint16 as stored; float32 for all other numbers.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. ValueError: naming the file,
            if it is empty, damaged, too large, or does not hold `channels` bands of numbers.
    """
    whole_number("channels", channels, 1)
    data = read_bytes(path)
    with reading(path, _WHAT):
        raster = decode(data, path)
        values = numbers(raster.values, path)
        values = with_channels(Raster(values, raster.content), channels, path)
        require_finite(values, path)
    return values


def decode(data: bytes, path: Place, what: str = _WHAT) -> Raster:
    """The bands of a file, colours for the eye: palettes applied, grey of few bits stretched."""
    format = format_of(data[:SIGNATURE_BYTES], path, what)
    if format == "TIFF":
        return decode_tiff(data, path)
    if format == "npy":
        return decode_array(data, path)
    return decode_picture(data, format, path)


def image_size(path: Place) -> tuple[int, int]:
    """(H, W) of an image as `read_image` returns it, from the file's header alone.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. ValueError: naming the file,
            if it is empty, has a damaged header, or is too large.
    """
    with opened(path) as file, reading(path, _WHAT):
        format = format_of(file.read(SIGNATURE_BYTES), path, _WHAT)
        file.seek(0)
        if format == "TIFF":
            return tiff_size(file, path)
        if format == "npy":
            return array_size(file, path)
        return picture_size(file, format, path)

"""What a decoder gives, and how it becomes the K channels that were asked for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.data.places import Place
from segkit.data.readers.formats import Unreadable

GREY, GREY_ALPHA, RGB, RGBA, BANDS = "grey", "grey and alpha", "RGB", "RGBA", "bands"

_LUMA = (19_595, 38_470, 7_471)  # ITU-R 601, in 1/65536, as Pillow has it
_EXACT_IN_FLOAT32 = 2**24


class Raster(NamedTuple):
    """Decoded values (H, W, K) of any dtype, and what they are: GREY, ..., or BANDS."""

    values: np.ndarray
    content: str


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, ...) turned as an EXIF or TIFF orientation (1-8) says; others change nothing."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def lies(orientation: int) -> bool:
    """Whether height and width change places when the image is turned upright."""
    return orientation in (5, 6, 7, 8)


def numbers(values: np.ndarray, path: Place) -> np.ndarray:
    """uint8 and uint16 as they are, other real numbers as float32.

    Raises:
        Unreadable: if they are no numbers, or whole ones that float32 cannot hold.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "uif":
        raise Unreadable(
            f"{path} must hold numbers: whole ones or floats. Received: dtype {values.dtype}. "
            "Convert it, for example with array.astype('float32')."
        )
    if kind == "u" and size <= 2:
        return values.astype(f"u{size}", copy=False)  # in the byte order of this computer
    if kind in "ui" and size > 2:
        low, high = int(values.min()), int(values.max())
        if max(-low, high) > _EXACT_IN_FLOAT32:
            raise Unreadable(
                f"{path} holds whole numbers that float32 would round: more than "
                f"{_EXACT_IN_FLOAT32:,}. Received: {low:,} to {high:,}, dtype {values.dtype}. "
                "Subtract an offset or divide, and store it as float32 or uint16."
            )
    with np.errstate(over="ignore"):  # an infinity is reported by `require_finite`
        return values.astype("float32", copy=False)


def require_finite(values: np.ndarray, path: Place) -> None:
    """Checks that floats (H, W, K) are numbers.

    Raises:
        Unreadable: naming the file and how many pixels are not.
    """
    if values.dtype.kind != "f":
        return
    finite = np.isfinite(values)
    if not finite.all():
        wrong = ~finite.all(-1)
        row, column = np.argwhere(wrong)[0]
        raise Unreadable(
            f"{path} holds NaN or infinity in {wrong.sum():,} of {wrong.size:,} pixels, the first "
            f"in row {row}, column {column}. Replace them by a number, and mark the pixels as "
            "ignored in the mask."
        )


def with_channels(raster: Raster, channels: int, path: Place) -> np.ndarray:
    """The values of a file as (H, W, channels).

    3: colours; grey is repeated, alpha dropped. 1: grey; colours become their luma. Otherwise
    exactly the bands of the file.

    Raises:
        Unreadable: if the file has another number of bands.
    """
    values, content = raster
    bands = values.shape[-1]
    if channels == 3 and content in (RGB, RGBA):
        return np.ascontiguousarray(values[..., :3]) if bands > 3 else values
    if channels == 3 and content in (GREY, GREY_ALPHA):
        return np.repeat(values[..., :1], 3, axis=-1)
    if channels == 1 and content in (GREY, GREY_ALPHA):
        return np.ascontiguousarray(values[..., :1])
    if channels == 1 and content in (RGB, RGBA):
        return _luma(values)[..., None]
    if channels == bands:
        return values
    height, width = values.shape[:2]
    way = f"Set data.channels={bands}, or convert the files."
    if content == BANDS and height == channels:
        way += " If its bands come first, store them last: np.moveaxis(array, 0, -1)."
    raise Unreadable(
        f"{path} must have {channels} channel{'s' * (channels > 1)}, as data.channels says. "
        f"Received: {bands} ({content}), {height}x{width} pixels (height x width). {way}"
    )


def _luma(values: np.ndarray) -> np.ndarray:
    red, green, blue = (values[..., band] for band in range(3))
    if values.dtype.kind == "f":
        weights = [np.float32(weight / 65_536) for weight in _LUMA]
        return red * weights[0] + green * weights[1] + blue * weights[2]
    # 65,535 times the sum of the weights still fits.
    weights = [np.uint32(weight) for weight in _LUMA]
    total = red * weights[0] + green * weights[1] + blue * weights[2] + np.uint32(2**15)
    return (total >> 16).astype(values.dtype)

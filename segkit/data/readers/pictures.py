"""JPEG and PNG, in memory."""

from __future__ import annotations

import io
from typing import BinaryIO, Iterator

import imagecodecs
import numpy as np
from PIL import ExifTags
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from segkit.data.places import Place
from segkit.data.readers.bands import GREY, GREY_ALPHA, RGB, RGBA, Raster, lies, upright
from segkit.data.readers.formats import Unreadable, require_size

# Image.open would judge the size by a limit of its own, with a warning that cannot be caught by
# one thread alone; the classes behind it do not.
_OPENERS = {"JPEG": JpegImageFile, "PNG": PngImageFile}
_CONTENT = {"L": GREY, "LA": GREY_ALPHA, "RGB": RGB, "RGBA": RGBA, "I;16": GREY}
_PLAIN = {0: GREY, 4: GREY_ALPHA, 2: RGB, 6: RGBA}  # PNG's numbers for what has no palette
_PIXELS = (b"IHDR", b"IDAT", b"IEND")
_DEPTH, _COLOR = 24, 25  # bytes of a PNG: 8 of signature, 8 of chunk header, then IHDR's fields
_SIGNATURE = 8
# Where an orientation may be; to read the last two, Pillow has to unpack the picture.
_EXIF, _TEXTS = b"eXIf", (b"tEXt", b"zTXt", b"iTXt")
_KEYWORDS = (b"Raw profile type exif", b"XML:com.adobe.xmp")


def decode_picture(data: bytes, format: str, path: Place) -> Raster:
    """Decodes a JPEG or PNG, upright, with all its bits; a palette gives its colours."""
    picture = _open(io.BytesIO(data), format, path)
    if format == "PNG" and _is_plain(data):
        return _decode_plain(data, picture)
    picture.load()
    orientation, mode = _orientation(picture), picture.mode
    if mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif mode not in _CONTENT:
        picture = picture.convert("L" if mode == "1" else "RGB")
    return Raster(_upright(picture, orientation), _CONTENT[picture.mode])


def decode_ids(data: bytes, path: Place) -> Raster:
    """Decodes a PNG whose values count: the index of a palette, grey values not stretched.

    Returns:
        GREY for ids (H, W, 1), or what else the file holds.
    """
    require_no_clear_color(data, path)
    picture = _open(io.BytesIO(data), "PNG", path)
    if _is_plain(data):
        return _decode_plain(data, picture)
    picture.load()
    ids = _upright(picture, _orientation(picture))
    if picture.mode == "L":
        # Pillow stretches grey PNGs of 2 and 4 bits to 0..255: id 1 arrives as 85 or 17. Programs
        # that make PNGs small write such files whenever a mask has few ids.
        ids = ids // (255 // (2 ** data[_DEPTH] - 1))
    return Raster(ids.astype(np.uint8, copy=False), GREY)


def picture_size(file: BinaryIO, format: str, path: Place) -> tuple[int, int]:
    """(H, W) of an upright JPEG or PNG, from its header; the picture is not unpacked for it."""
    picture = _open(file, format, path)
    width, height = picture.size
    if format == "PNG" and not _may_lie(file):
        return height, width
    return (width, height) if lies(_orientation(picture)) else (height, width)


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(kind, position of its data, length of its data) of each chunk of a PNG, as it says."""
    position = _SIGNATURE
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return
        length = int.from_bytes(head[:4], "big")
        yield head[4:], position + 8, length
        position += 12 + length


def _open(file: BinaryIO, format: str, path: Place) -> ImageFile:
    picture = _OPENERS[format](file)
    require_size(picture.height, picture.width, len(picture.getbands()), path)
    if format == "PNG" and getattr(picture, "n_frames", 1) > 1:
        raise Unreadable(
            f"{path} is an animation; an image and its mask are one picture. Received: "
            f"{picture.n_frames} frames. Save each frame as a file of its own."
        )
    return picture


def require_no_clear_color(data: bytes, path: Place) -> None:
    """Refuses the PNG of a mask in which one of the values is declared transparent.

    Raises:
        ValueError: naming the file.
    """
    listed = chunks(io.BytesIO(data)) if data[_COLOR] in _PLAIN else ()
    if any(kind == b"tRNS" for kind, *_ in listed):
        raise Unreadable(
            f"{path} declares one of its values transparent. Save it without: whether a "
            "transparent pixel is background or ignored, nobody can tell."
        )


def _is_plain(data: bytes) -> bool:
    return data[_COLOR] in _PLAIN and data[_DEPTH] >= 8


def _decode_plain(data: bytes, picture: ImageFile) -> Raster:
    # Pillow would cut 16-bit colours to 8 bits, and is slower with 8. Of the other chunks, libpng
    # prints its opinions, about colour profiles above all.
    listed = chunks(io.BytesIO(data))
    kept = [data[at - 8 : at + length + 4] for kind, at, length in listed if kind in _PIXELS]
    values = imagecodecs.png_decode(b"".join([data[:_SIGNATURE], *kept]))
    values = values[:, :, None] if values.ndim == 2 else values
    orientation = _orientation(picture) if _may_lie(io.BytesIO(data)) else 1
    return Raster(upright(values, orientation), _PLAIN[data[_COLOR]])


def _upright(picture, orientation: int) -> np.ndarray:
    values = np.array(picture)
    values = values[:, :, None] if values.ndim == 2 else values
    return upright(values, orientation) if orientation != 1 else values


def _orientation(picture: ImageFile) -> int:
    return picture.getexif().get(ExifTags.Base.Orientation, 1)


def _may_lie(file: BinaryIO) -> bool:
    at = file.tell()  # where Pillow goes on reading
    try:
        for kind, position, _ in chunks(file):
            if kind == _EXIF:
                return True
            if kind in _TEXTS:
                file.seek(position)
                if file.read(32).startswith(_KEYWORDS):
                    return True
        return False
    finally:
        file.seek(at)

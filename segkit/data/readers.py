"""Image and mask files -> arrays; whatever cannot be read right is an error that names the file."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageOps

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_SUFFIXES = (".png",)

_ID_MODES = ("1", "L", "P", "I;16")  # bilevel, grey, palette (its index is the id), 16-bit grey
_BIT_DEPTH_BYTE = 24  # in every PNG: 8 bytes of signature, 8 of chunk header, then IHDR's fields


def read_image(path: Path) -> np.ndarray:
    """Reads a picture as uint8 (H, W, 3), upright as its EXIF orientation says.

    Grey becomes three equal channels; transparency is dropped.

    Raises:
        FileNotFoundError: if it is gone. ValueError: naming the file, if it is empty, damaged, or
            has more than 8 bits a channel.
    """
    with _opened(path, "an image") as picture:
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        mode = picture.mode
        if "transparency" in picture.info:
            picture = picture.convert("RGBA")  # Pillow warns when it goes from P to RGB at once
        pixels = np.array(picture.convert("RGB"))
    if mode.startswith(("I", "F")):
        # Pillow clips these to 255 without a word.
        raise ValueError(
            f"{path} has more than 8 bits a channel. Received: Pillow mode {mode!r}. "
            "Convert it to 8 bits with a grey-value window of your choice."
        )
    return pixels


def read_mask(path: Path) -> np.ndarray:
    """Reads the ids of a PNG mask, (H, W) of uint8 or uint16.

    In a palette PNG the index is the id; the colours are for the eye.

    Raises:
        FileNotFoundError: if it is gone. ValueError: naming the file, if it is empty, damaged, or
            shows colours in place of ids.
    """
    # Only PNG: a JPEG renamed to .png would open, with ids smeared along every edge.
    with _opened(path, "a PNG mask", formats=("PNG",)) as picture:
        picture.load()
        mode, ids = picture.mode, np.array(picture)
    if mode not in _ID_MODES:
        raise ValueError(
            f"{path} holds colours, not ids: a mask is a grey PNG whose values are the ids, or a "
            f"palette PNG. Received: Pillow mode {mode!r}. "
            "Replace each colour with the id of its class."
        )
    if mode == "L":
        return ids // _grey_step(path)
    return ids.astype(np.uint8) if mode == "1" else ids


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of a picture as `read_image` returns it, mostly from the file's header alone."""
    with _opened(path, "an image") as picture:
        width, height = picture.size
        lying = picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    return (width, height) if lying else (height, width)


@contextmanager
def _opened(path: Path, what: str, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=formats) as picture:
            yield picture
    except FileNotFoundError:
        raise
    # Damaged files surface as OSError, SyntaxError, ValueError, zlib.error, struct.error, ...
    except Exception as error:
        empty = path.is_file() and path.stat().st_size == 0
        reason = "the file is empty (0 bytes)" if empty else f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} cannot be read as {what}: {reason}. Restore the file, or remove the pair."
        ) from error


def _grey_step(path: Path) -> int:
    # Pillow stretches grey PNGs of 2 and 4 bits to 0..255: id 1 arrives as 85 or 17. Programs
    # that make PNGs small write such files whenever a mask has few ids.
    with open(path, "rb") as file:
        depth = file.read(_BIT_DEPTH_BYTE + 1)[_BIT_DEPTH_BYTE]
    return 255 // (2**depth - 1) if depth < 8 else 1

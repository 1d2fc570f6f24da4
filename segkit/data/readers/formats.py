"""Which files can be read, how large they may be, and the words for those that cannot."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

from segkit.data.places import Place

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".npy")
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".npy")
MAX_PIXELS = 400_000_000  # 20,000 x 20,000
MAX_VALUES = 4 * MAX_PIXELS  # all bands together

_SIGNATURES = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "npy": (b"\x93NUMPY",),
}
SIGNATURE_BYTES = 8
_ON_GIT_LFS = b"version "


class Unreadable(ValueError):
    """A file that cannot be used; the message names it."""


@contextmanager
def reading(path: Place, what: str) -> Iterator[None]:
    """Turns whatever a decoder raises into an `Unreadable` that names the file.

    Args:
        path: the file.
        what: what it should be, "an image".
    """
    try:
        yield
    except (Unreadable, FileNotFoundError, PermissionError, IsADirectoryError, MemoryError):
        raise
    # Damaged files surface as OSError, SyntaxError, ValueError, zlib.error, struct.error, ...
    except Exception as error:
        raise _unreadable(path, what, f"{type(error).__name__}: {error}") from error


def format_of(head: bytes, path: Place, what: str) -> str:
    """ "JPEG", "PNG", "TIFF" or "npy", from the first bytes of a file.

    Raises:
        Unreadable: if it is none of these.
    """
    for name, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return name
    if not head:
        raise _unreadable(path, what, "the file is empty (0 bytes)")
    if head.startswith(_ON_GIT_LFS):
        raise Unreadable(
            f"{path} cannot be read as {what}: it is a pointer of Git LFS, not the file itself. "
            "Fetch the files: git lfs pull."
        )
    raise Unreadable(
        f"{path} cannot be read as {what}: it holds no JPEG, PNG, TIFF or .npy. "
        f"Received: a file that begins with {head[:SIGNATURE_BYTES]!r}. Convert it, or restore it."
    )


def require_size(height: int, width: int, bands: int, path: Place) -> None:
    """Checks the size that a header gives, before memory is taken for it.

    Raises:
        Unreadable: if it is empty, or more than `MAX_PIXELS`.
    """
    if min(height, width, bands) < 1:
        raise Unreadable(
            f"{path} holds no pixels. Received: {height}x{width} (height x width), {bands} bands. "
            "Restore the file, or remove the pair."
        )
    if height * width > MAX_PIXELS or height * width * bands > MAX_VALUES:
        raise Unreadable(
            f"{path} says it is {height:,} x {width:,} pixels (height x width) with {bands} bands; "
            f"at most {MAX_PIXELS:,} pixels and {MAX_VALUES:,} values are read. Cut it into tiles, "
            "or restore the file if that is not its size."
        )


def _unreadable(path: Place, what: str, reason: str) -> Unreadable:
    return Unreadable(
        f"{path} cannot be read as {what}: {reason.rstrip('.')}. Restore the file, or remove the "
        "pair."
    )


def exact_format(data: bytes, path: Place, what: str) -> str:
    """The format of a file whose values must be exactly those that were saved.

    Raises:
        Unreadable: naming the file, also if it is a JPEG.
    """
    format = format_of(data[:SIGNATURE_BYTES], path, what)
    if format == "JPEG":
        raise Unreadable(
            f"{path} cannot be read as {what}: it is a JPEG (whatever its suffix), which smears "
            "the values along every edge. Export the mask again, as PNG."
        )
    return format

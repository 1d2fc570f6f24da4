"""Is a file cut short? Looked up in its structure, without decoding."""

from __future__ import annotations

import io
from typing import BinaryIO

from segkit.data.places import Place, opened
from segkit.data.readers.arrays import require_whole_array
from segkit.data.readers.formats import SIGNATURE_BYTES, Unreadable, format_of, reading
from segkit.data.readers.pictures import chunks
from segkit.data.readers.tiff import require_whole_tiff

_WHAT = "an image"
_TAIL = 65_536
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END, _JPEG_SCAN, _JPEG_FILL = b"\xff\xd9", 0xDA, 0xFF
_JPEG_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def require_whole(path: Place) -> None:
    """Checks that an image or mask file goes on to its end; damage inside is not seen.

    Whatever follows the end is left alone: cameras append previews, videos and depth maps.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. ValueError: naming the file,
            if it is cut short, empty, or no JPEG, PNG, TIFF or .npy.
    """
    with opened(path) as file, reading(path, _WHAT):
        format = format_of(file.read(SIGNATURE_BYTES), path, _WHAT)
        length = file.seek(0, io.SEEK_END)
        file.seek(0)
        if format == "TIFF":
            require_whole_tiff(file, length, path)
        elif format == "npy":
            require_whole_array(file, length, path)
        elif not (_whole_jpeg if format == "JPEG" else _whole_png)(file, length):
            raise Unreadable(
                f"{path} is cut short: the {format} has no end. Received: {length:,} bytes. "
                "Restore the file, or remove the pair."
            )


def _whole_jpeg(file: BinaryIO, length: int) -> bool:
    scan = _scan(file)
    if scan is None:
        return False
    # Inside the scan, 0xFF is always followed by something else. A preview in the header has an
    # end, too, so only what comes behind the header counts.
    file.seek(max(scan, length - _TAIL))
    if _JPEG_END in file.read():
        return True
    file.seek(scan)
    return _JPEG_END in file.read()


def _scan(file: BinaryIO) -> int | None:
    """Where the compressed pixels of a JPEG begin."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != _JPEG_FILL:
            return None
        if head[1] == _JPEG_FILL:
            position += 1
        elif head[1] in _JPEG_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(head[2:], "big")
            if head[1] == _JPEG_SCAN:
                return position


def _whole_png(file: BinaryIO, length: int) -> bool:
    file.seek(max(0, length - len(_PNG_END)))
    if file.read() == _PNG_END:
        return True
    return any(kind == b"IEND" and position + 4 <= length for kind, position, _ in chunks(file))

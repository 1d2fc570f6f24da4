"""One entry of the disk cache: arrays in a file that says itself whether it is whole.

A file is a header of 64 bytes (magic, version, checksum, lengths), the dtypes and shapes as JSON,
and the bytes of the arrays, each at a multiple of 64. There is no pickle: reading runs no code.
"""

from __future__ import annotations

import json
import mmap
import os
import re
import struct
import zlib
from typing import BinaryIO, Sequence

import numpy as np

Arrays = tuple[np.ndarray, ...]

VERSION = 1
MAPPED = 4 * 2**20  # bytes; larger files are mapped, so that a crop reads its own pages only
_HEADER = struct.Struct("<8sIIQQ24x")  # magic, version, checksum, bytes of JSON, of everything
_MAGIC = b"segkit\r\n"  # damaged by whatever takes the file for text
_ALIGNED = 64
_KINDS = "biuf"  # of dtypes: bool, int, unsigned, float
_CHUNK = 2**20
_KEY = re.compile("[0-9a-f]{8,128}")


class Damaged(ValueError):
    """An entry that cannot be used: cut short, changed, of another version."""


def require_key(key: str) -> None:
    """Checks that a key is a hex digest, which is safe as the name of a file.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(
            "A key is a hex digest, of 8 to 128 characters 0-9 and a-f. "
            f"Received: {key!r}. segkit.data.cache.content_key makes one."
        )


def frozen(arrays: Sequence[np.ndarray]) -> Arrays:
    """Read-only views of arrays.

    Raises:
        ValueError: if one is no array of plain numbers.
    """
    views = []
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype.kind not in _KINDS:
            received = getattr(array, "dtype", type(array).__name__)
            raise ValueError(f"A cache holds arrays of plain numbers. Received: {received}.")
        view = array.view()
        view.flags.writeable = False
        views.append(view)
    return tuple(views)


def pack(key: str, arrays: Sequence[np.ndarray]) -> list[bytes | np.ndarray]:
    """The parts of a file that holds frozen arrays under `key`, in order, ready to be written."""
    described = json.dumps([[array.dtype.str, array.shape] for array in arrays]).encode()
    parts: list[bytes | np.ndarray] = [described, bytes(_padding(len(described)))]
    for array in arrays:
        parts += [np.asarray(array, order="C"), bytes(_padding(array.nbytes))]
    total = _HEADER.size + sum(memoryview(part).nbytes for part in parts)
    return [_header(key, parts, len(described), total), *parts]


def read(file: BinaryIO, key: str, verify: bool = True) -> Arrays:
    """The arrays of a file, read-only; mapped if it is large.

    Args:
        file: opened for reading, unbuffered.
        key: that it was written under.
        verify: False leaves out the checksum of a mapped file, which reads all of it. That of a
            file that is read anyway is always compared.

    Raises:
        Damaged: if it was not written by `pack`, whole, for this key, by this version.
    """
    size = os.fstat(file.fileno()).st_size
    if size > MAPPED:
        header = file.read(_HEADER.size)
        checksum, length = _checked(header, size)
        if verify:
            running = zlib.crc32(key.encode())
            while chunk := file.read(_CHUNK):
                running = zlib.crc32(chunk, running)
            _compare(checksum, running)
        content = _mapped(file, size)
    else:
        content = file.read(size)
        checksum, length = _checked(content, size)
        body = memoryview(content)[_HEADER.size :]
        _compare(checksum, zlib.crc32(body, zlib.crc32(key.encode())))
    return _arrays(content, length)


def _mapped(file: BinaryIO, size: int) -> bytes | mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except OSError:  # some network file systems cannot
        with open(file.fileno(), "rb", closefd=False) as whole:
            whole.seek(0)
            return whole.read()


def _header(key: str, parts: Sequence[bytes | np.ndarray], described: int, total: int) -> bytes:
    checksum = zlib.crc32(key.encode())  # so that no entry passes for another
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return _HEADER.pack(_MAGIC, VERSION, checksum, described, total)


def _checked(content: bytes, size: int) -> tuple[int, int]:
    """The checksum and the length of the JSON, if the header fits the size of the file."""
    if len(content) < _HEADER.size:
        raise Damaged(f"{size} bytes, too few for a header")
    magic, version, checksum, described, total = _HEADER.unpack_from(content)
    if magic != _MAGIC or version != VERSION:
        raise Damaged(f"not an entry of version {VERSION}")
    if total != size or described > size - _HEADER.size:
        raise Damaged(f"{size} bytes where {total} were written")
    return checksum, described


def _compare(expected: int, received: int) -> None:
    if expected != received:
        raise Damaged("its checksum is not that of its content")


def _arrays(content: bytes | mmap.mmap, length: int) -> Arrays:
    try:
        described = json.loads(content[_HEADER.size : _HEADER.size + length])
        offset, arrays = _HEADER.size + length + _padding(length), []
        for dtype, shape in described:
            array: np.ndarray = np.ndarray(shape, np.dtype(dtype), content, offset)
            offset += array.nbytes + _padding(array.nbytes)
            arrays.append(array)
    except (ValueError, TypeError) as error:  # only of a mapped file that was not verified
        raise Damaged(str(error)) from error
    return tuple(arrays)


def _padding(length: int) -> int:
    return -length % _ALIGNED

"""PNG, .npy and zarr, written from the top to the bottom."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np
import zarr
from numpy.lib import format as npy

from segkit.palette import Palette

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE, _GREY = 3, 0  # PNG's numbers for colour types
_CHUNK = 1024  # rows and columns of a piece of zarr
_CHUNK_BYTES = 2**24


class Blocks:
    """Strips of any height -> blocks of one height, the last as high as what is left.

    Args:
        shape: (H, W) or (H, W, C) of all rows together.
        dtype: of the blocks.
        height: of a block.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, height: int):
        self._shape, self._dtype, self._height = shape, dtype, height
        self._done, self._filled = 0, 0
        self._block = self._new()

    def add(self, values: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """(row of its top, values) of each block that becomes full."""
        taken = 0
        while taken < len(values):
            count = min(len(values) - taken, len(self._block) - self._filled)
            self._block[self._filled : self._filled + count] = values[taken : taken + count]
            taken, self._filled = taken + count, self._filled + count
            if self._filled == len(self._block):
                top, block = self._done, self._block
                self._done, self._filled = top + len(block), 0
                self._block = self._new()
                yield top, block

    def _new(self) -> np.ndarray:
        rows = min(self._height, self._shape[0] - self._done)
        return np.empty((rows, *self._shape[1:]), self._dtype)


class Png:
    """Ids as PNG: 8 bits with a palette, or 16 bits of grey; or one class in black and white.

    Pillow, OpenCV and imagecodecs write PNG from arrays that hold the whole image; this is what it
    takes to write one row after the other.

    Args:
        path: the file, or something to `write` to.
        shape: (H, W).
        palette: at most 256 colours, for bytes; None for uint16.
        description: text to keep in the file, of ASCII alone.
        binary: True for one bit a pixel, in which what is not 0 is white.
    """

    def __init__(
        self,
        path: Any,
        shape: tuple[int, int],
        palette: Palette | None,
        description: str,
        binary: bool = False,
    ):
        self._file = open(path, "wb") if isinstance(path, Path) else path
        self._dtype = np.dtype("u1" if palette else ">u2")
        self._binary = binary
        # Many files of one bit may be under way, each with such a compressor.
        self._deflate = zlib.compressobj(wbits=13, memLevel=6) if binary else zlib.compressobj()
        bits, color = 1 if binary else 8 * self._dtype.itemsize, _PALETTE if palette else _GREY
        header = struct.pack(">IIBBBBB", shape[1], shape[0], bits, color, 0, 0, 0)
        self._file.write(_SIGNATURE)
        self._chunk(b"IHDR", header)
        self._chunk(b"tEXt", b"Description\0" + description.encode("ascii"))
        if palette:
            self._chunk(b"PLTE", bytes(value for color in palette for value in color))

    def put(self, values: np.ndarray) -> None:
        """Ids (h, W)."""
        if self._binary:
            lines = np.packbits(values != 0, axis=1)
        else:
            lines = np.ascontiguousarray(values, self._dtype).view(np.uint8)
            lines = lines.reshape(len(values), -1)
        # Each line is told how it was changed to be smaller: not at all, the best for ids.
        self._data(self._deflate.compress(np.pad(lines, ((0, 0), (1, 0))).tobytes()))

    def close(self) -> None:
        """Completes the file."""
        self._data(self._deflate.flush())
        self._chunk(b"IEND", b"")
        self._file.close()

    def abort(self) -> None:
        """Closes the file."""
        _close_quietly(self._file)

    def _data(self, data: bytes) -> None:
        if data:
            self._chunk(b"IDAT", data)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        self._file.write(b"".join((struct.pack(">I", len(data)), kind, data, checksum)))


class Npy:
    """Values as .npy, not through a memory map: where the disk is full, that ends the process."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype):
        self._file, self._dtype = open(path, "wb"), dtype
        description = npy.dtype_to_descr(dtype)
        header = {"descr": description, "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)

    def put(self, values: np.ndarray) -> None:
        """Values (h, W) or (h, W, C)."""
        self._file.write(np.ascontiguousarray(values, self._dtype).data)

    def close(self) -> None:
        """Completes the file."""
        self._file.close()

    def abort(self) -> None:
        """Closes the file."""
        _close_quietly(self._file)


class Zarr:
    """Values as zarr 3, in chunks over all classes."""

    def __init__(
        self, path: Path, shape: tuple[int, ...], dtype: np.dtype, attributes: Mapping[str, Any]
    ):
        height, width, *planes = shape
        edge = _CHUNK
        while edge > 64 and edge * edge * int(np.prod(planes)) * dtype.itemsize > _CHUNK_BYTES:
            edge //= 2
        chunks = min(edge, height), min(edge, width), *planes
        self._array = zarr.create_array(
            path,
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            attributes=dict(attributes),
            dimension_names=("y", "x", "c")[: len(shape)],
        )
        self._blocks = Blocks(shape, dtype, chunks[0])

    def put(self, values: np.ndarray) -> None:
        """Values (h, W) or (h, W, C)."""
        for top, block in self._blocks.add(values):
            lefts = range(0, block.shape[1], self._array.chunks[1])
            # One by one: of several at once, zarr goes on writing some after another has failed.
            # Leaving the pool waits for all.
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda left: self._write(top, left, block), lefts))

    def _write(self, top: int, left: int, block: np.ndarray) -> None:
        columns = slice(left, left + self._array.chunks[1])
        self._array[top : top + len(block), columns] = block[:, columns]

    def close(self) -> None:
        """Nothing is left to do."""

    def abort(self) -> None:
        """Nothing is open."""


def _close_quietly(file: Any) -> None:
    try:
        file.close()
    except OSError:  # what waits to be written has no room either
        pass

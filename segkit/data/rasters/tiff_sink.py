"""Values as tiled TIFF, written from the top to the bottom."""

from __future__ import annotations

import queue
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np
from tifffile import TiffWriter

from segkit.data.rasters.sinks import Blocks
from segkit.palette import Palette

_TILE = 512
_ROW_BYTES = 2**26  # that a row of tiles may take, of which some wait
_CLASSIC = 2**32 - 2**25  # bytes that offsets of 32 bits reach, with room for the header
_WAIT = 0.1  # seconds between looks whether the thread that writes is still there
_COMPRESSED_AT_ONCE = 2**24  # bytes


class Aborted(Exception):
    """Ends the thread that writes."""


class Tiff:
    """Values as TIFF in tiles, compressed without loss.

    tifffile asks for the tiles, so it runs in a thread of its own that waits for them.

    Args:
        path: the file.
        shape: (H, W) or (H, W, C).
        dtype: of the values.
        palette: colours of ids that are bytes, or None.
        description: text to keep in the file, of ASCII alone.
        tags: more arguments of `TiffWriter.write`.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype,
        palette: Palette | None,
        description: str,
        tags: Mapping[str, Any],
    ):
        self._shape = shape
        self._tile = _tile(shape, dtype)
        self._blocks = Blocks(shape, dtype, self._tile)
        self._waiting: queue.Queue[np.ndarray | None] = queue.Queue(1)
        options = {
            "shape": shape[:2] if shape[2:] == (1,) else shape,
            "dtype": dtype,
            "tile": (self._tile, self._tile),
            "compression": "adobe_deflate",  # the number that all readers know
            "predictor": "floatingpoint" if dtype.kind == "f" else None,
            "description": description,
            "metadata": None,
            "software": "segkit",
            "buffersize": _COMPRESSED_AT_ONCE,
            **_colors(shape, palette),
            **tags,
        }
        big = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > _CLASSIC
        writer = TiffWriter(path, bigtiff=big)
        self._pool = ThreadPoolExecutor(1)
        self._done = self._pool.submit(self._write, writer, options)
        self._pool.shutdown(wait=False)

    def put(self, values: np.ndarray) -> None:
        """Values (h, W) or (h, W, C)."""
        for _, block in self._blocks.add(values):
            self._send(block)

    def close(self) -> None:
        """Waits until everything is written."""
        self._done.result()

    def abort(self) -> None:
        """Ends the thread and closes the file."""
        if not self._done.done():
            try:
                self._send(None)
            except Exception:  # it had ended by itself
                pass
        self._done.exception()

    def _send(self, block: np.ndarray | None) -> None:
        while True:
            if self._done.done():
                self._done.result()  # raises what ended it
            try:
                return self._waiting.put(block, timeout=_WAIT)
            except queue.Full:
                continue

    def _write(self, writer: TiffWriter, options: Mapping[str, Any]) -> None:
        with writer:
            writer.write(self._tiles(), **options)

    def _tiles(self) -> Iterator[np.ndarray]:
        rows = 0
        while rows < self._shape[0]:
            block = self._waiting.get()
            if block is None:
                raise Aborted
            rows += len(block)
            for left in range(0, self._shape[1], self._tile):
                tile = block[:, left : left + self._tile]
                missing = [(0, self._tile - size) for size in tile.shape[:2]]
                tile = np.pad(tile, missing + [(0, 0)] * (tile.ndim - 2))
                yield tile[..., 0] if self._shape[2:] == (1,) else tile


def _tile(shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Edge of the tiles: a multiple of 16."""
    width, planes = shape[1], int(np.prod(shape[2:]))
    edge = _TILE
    while edge > 64 and edge * width * planes * dtype.itemsize > _ROW_BYTES:
        edge //= 2
    return min(edge, -(-max(shape[:2]) // 16) * 16)


def _colors(shape: tuple[int, ...], palette: Palette | None) -> dict[str, Any]:
    if palette:
        colors = np.zeros((3, 256), np.uint16)
        colors[:, : len(palette)] = 257 * np.transpose(palette)
        return {"photometric": "palette", "colormap": colors}
    found: dict[str, Any] = {"photometric": "minisblack"}
    if len(shape) == 3 and shape[2] > 1:
        found |= {"planarconfig": "contig", "extrasamples": [0] * (shape[2] - 1)}
    return found

"""Images of any size in tiles that overlap, predicted row by row and blended smoothly."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Callable, Iterator, NamedTuple

import numpy as np

from segkit.contract import is_number

STRIDE = 32  # of the deepest encoders

Read = Callable[[slice, slice], np.ndarray]
Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    tile: edge of a square tile in pixels, a multiple of `stride`.
    overlap: the part of the edge that neighbours share at least, in [0, 0.75].
    batch_size: tiles that are predicted at once.
    stride: tiles lie at multiples of it: only there do the poolings of a model that makes its
        images so many times smaller see the same grid in every tile.
    """

    tile: int = 512
    overlap: float = 0.25
    batch_size: int = 4
    stride: int = STRIDE

    def __post_init__(self):
        if not isinstance(self.tile, int) or self.tile < self.stride or self.tile % self.stride:
            raise ValueError(
                f"tile must be a multiple of {self.stride} pixels, so that poolings see one grid. "
                f"Received: {self.tile!r}."
            )
        if not is_number(self.overlap) or not 0 <= self.overlap <= 0.75:
            raise ValueError(
                f"overlap must be a number from 0 to 0.75, a part of the tile. Received: "
                f"{self.overlap!r}."
            )
        if self.tile * (1 - self.overlap) < self.stride:
            raise ValueError(
                f"Tiles of {self.tile} pixels with an overlap of {self.overlap} lie closer than "
                f"the {self.stride} pixels of the grid. Set a larger tile, or a smaller overlap."
            )


class Span(NamedTuple):
    """A tile along one axis: where it begins, its length, and the weight of each of its pixels."""

    start: int
    length: int
    weights: np.ndarray


def spans(edge: int, tiling: Tiling) -> list[Span]:
    """The tiles along an axis of `edge` pixels; the weights at each pixel of it sum to 1.

    A pixel near the edge of a tile, where the tile lacks context, has weight 0 in it if another
    tile holds the pixel: with an overlap of o pixels the weight is 0 over the first 3 o/8, rises as
    (1 - cos) / 2 over the next o/4, and is 1 from there on. The last tile ends with the image and
    may be a little shorter: the model pads it as it pads the whole image.
    """
    tile, stride = tiling.tile, tiling.stride
    if edge <= tile:
        return [Span(0, edge, np.ones(edge, "float32"))]
    step = int(tile * (1 - tiling.overlap)) // stride * stride
    last = -(-(edge - tile) // stride) * stride
    starts = [*range(0, last, step), last]
    shared = tile - step
    at = np.arange(tile) + 0.5
    rise = _rise((at - 3 * shared / 8) / max(shared / 4, 1e-9)) if shared else np.ones(tile)
    raw = []
    for number, start in enumerate(starts):
        weights = np.where(number > 0, rise, 1.0) * np.where(start < last, rise[::-1], 1.0)
        raw.append(weights[: edge - start])
    total = np.zeros(edge)
    for start, weights in zip(starts, raw):
        total[start : start + len(weights)] += weights
    return [
        Span(start, len(weights), (weights / total[start : start + len(weights)]).astype("float32"))
        for start, weights in zip(starts, raw)
    ]


def blended(
    read: Read, shape: tuple[int, int], run: Run, tiling: Tiling
) -> Iterator[tuple[slice, np.ndarray]]:
    """The probabilities of an image, from top to bottom, a few rows at a time.

    What is held in memory is one row of tiles, whatever the height of the image.

    Args:
        read: (rows, columns) -> that part of the image, (h, w, K).
        shape: (H, W) of the image.
        run: images (B, h, w, K) -> probabilities (B, h, w, C).
        tiling: how it is cut.

    Yields:
        rows, and their probabilities, float32 (h, W, C).
    """
    height, width = shape
    bands, columns = spans(height, tiling), spans(width, tiling)
    following = [band.start for band in bands[1:]] + [height]

    def load(band: Span) -> np.ndarray:
        return read(slice(band.start, band.start + band.length), slice(0, width))

    waiting = None  # what earlier bands add to rows that are not finished
    with ThreadPoolExecutor(1) as pool:
        promised = pool.submit(load, bands[0])
        for number, (band, end) in enumerate(zip(bands, following)):
            image = promised.result()
            if number + 1 < len(bands):
                promised = pool.submit(load, bands[number + 1])
            found = _band(image, band, columns, run, tiling)
            if waiting is not None:
                found[: len(waiting)] += waiting
            done = end - band.start
            waiting = found[done:].copy()  # a view would keep the whole band in memory
            yield slice(band.start, end), found[:done]


def _band(
    image: np.ndarray, band: Span, columns: list[Span], run: Run, tiling: Tiling
) -> np.ndarray:
    """Weighted probabilities of one row of tiles, (h, W, C)."""
    total = None
    for now in _batches(columns, tiling.batch_size):
        tiles = [image[:, column.start : column.start + column.length] for column in now]
        probabilities = run(np.stack(tiles))
        if total is None:
            width = columns[-1].start + columns[-1].length
            total = np.zeros((band.length, width, probabilities.shape[-1]), "float32")
        for column, one in zip(now, probabilities):
            weights = band.weights[:, None] * column.weights
            total[:, column.start : column.start + column.length] += one * weights[..., None]
    return total


def _batches(columns: list[Span], size: int) -> Iterator[list[Span]]:
    """Some tiles at a time, all of one length."""
    batch: list[Span] = []
    for column in columns:
        if batch and (len(batch) == size or column.length != batch[0].length):
            yield batch
            batch = []
        batch.append(column)
    yield batch


def _rise(x: np.ndarray) -> np.ndarray:
    """0 up to 0, 1 from 1 on, smooth between; with its mirror image it sums to 1."""
    return (1 - np.cos(np.pi * np.clip(x, 0, 1))) / 2

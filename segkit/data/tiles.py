"""Large images in pieces of one size: to be watched while training, and to be predicted."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Iterator, NamedTuple, Sequence

import numpy as np

from segkit.contract import Sample, Source
from segkit.data.fitting import height_and_width, with_ignore_index
from segkit.data.patches import cut
from segkit.parallel import ordered

_KEPT = 4  # images, for the threads that load tiles of neighbouring ones
_MARGIN = 8  # the part of the edge of a tile, one in so many, that another tile predicts


class Tiles:
    """A source that cuts each image of another one into tiles of one size.

    The tiles form a grid, and each pixel of an image is judged in one of them: in the last row
    and column, which are moved back into the image, what other tiles hold is ignored. Where an
    image is smaller than a tile, its edge is repeated, and ignored.

    Args:
        source: any `contract.Source`. Each mask is read once here, for its size.
        size: (height, width) of a tile in pixels, or one number for both.

    Raises:
        ValueError: if the size is not positive.
    """

    def __init__(self, source: Source, size: int | Sequence[int]):
        self.source, self.size = source, height_and_width(size)
        if self.size is None:
            raise ValueError("Tiles need a size in pixels. Received: None.")
        self.labels = with_ignore_index(source.labels)
        self._read = _Recent(source)
        sizes = ordered(self._size_of, range(len(source)), "sizes of the images")
        self._places = [
            (index, (top, left))
            for index, (height, width) in enumerate(sizes)
            for top in range(0, height, self.size[0])
            for left in range(0, width, self.size[1])
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Sample:
        index, place = self._places[number]
        sample = self._read(index)
        tile = self._cut(sample, place)
        return tile._replace(name=f"{sample.name} at row {place[0]}, column {place[1]}")

    def annotation(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """The mask of tile `number`, and what was annotated in its image."""
        index, place = self._places[number]
        mask, annotated = self.source.annotation(index)
        return self._cut(Sample(mask, mask, annotated), place).mask, annotated

    def _size_of(self, index: int) -> tuple[int, int]:
        height, width = self.source.annotation(index)[0].shape[:2]
        return height, width

    def _cut(self, sample: Sample, place: tuple[int, int]) -> Sample:
        fill, shape = self.labels.ignore_index, sample.mask.shape
        top, left = (max(0, min(p, edge - s)) for p, edge, s in zip(place, shape, self.size))
        tile = cut(sample, (top, left), self.size, fill)
        above, before = place[0] - top, place[1] - left
        if above or before:
            masks = {"mask": tile.mask, "truth": tile.truth}
            for key, mask in masks.items():
                if mask is not None:
                    needed = np.promote_types(mask.dtype, np.min_scalar_type(fill))
                    masks[key] = mask.astype(needed, copy=False)
                    masks[key][:above], masks[key][:, :before] = fill, fill
            tile = tile._replace(**masks)
        return tile


class Window(NamedTuple):
    """A tile to predict, and which part of the image is taken from it.

    corner: row and column of its upper left pixel.
    size: its height and width; it may reach beyond the image.
    inner: slices in the tile, whose prediction is taken.
    outer: slices in the image, where it goes.
    """

    corner: tuple[int, int]
    size: tuple[int, int]
    inner: tuple[slice, slice]
    outer: tuple[slice, slice]


def windows(size: tuple[int, int], tile: tuple[int, int]) -> Iterator[Window]:
    """Tiles that overlap, for an image of (height, width); each pixel is taken from one of them.

    Neighbours share at least a quarter of a tile and meet in the middle of that, so that no pixel
    is predicted near the edge of a tile unless it is near that of the image.
    """
    for row in _spans(size[0], tile[0]):
        for column in _spans(size[1], tile[1]):
            corner, inner, outer = zip(row, column)
            yield Window(corner, tile, inner, outer)


def _spans(edge: int, tile: int) -> list[tuple[int, slice, slice]]:
    """Along one axis: where each tile begins, and the slices in it and in the image."""
    step = max(1, tile - 2 * (tile // _MARGIN))
    count = 1 + max(0, -(-(edge - tile) // step))
    starts = np.linspace(0, max(0, edge - tile), count).astype(int).tolist()
    meet = [(start + tile + after) // 2 for start, after in zip(starts, starts[1:])]
    return [
        (start, slice(first - start, last - start), slice(first, last))
        for start, first, last in zip(starts, [0, *meet], [*meet, edge])
    ]


class _Recent:
    """Samples of a source, the last few of them kept; threads that want the same one share it."""

    def __init__(self, source: Source):
        self._source, self._lock = source, threading.Lock()
        self._kept: OrderedDict[int, Future] = OrderedDict()

    def __call__(self, index: int) -> Sample:
        with self._lock:
            promised = self._kept.get(index)
            mine = promised is None
            if mine:
                promised = self._kept[index] = Future()
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        if mine:
            try:
                promised.set_result(self._source[index])
            except BaseException as error:
                with self._lock:
                    self._kept.pop(index, None)
                promised.set_exception(error)
        return promised.result()

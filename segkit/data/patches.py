"""Patches of images that are too large to train on whole."""

from __future__ import annotations

import math
import zlib
from typing import Mapping, Sequence

import numpy as np

from segkit import contract
from segkit.contract import Sample, is_number
from segkit.data.fitting import height_and_width, with_ignore_index
from segkit.labels import LabelSpace

_STREAM = zlib.crc32(b"patches")  # so that no other draw of the same seed repeats these
_BLOCK = 1 << 20  # pixels of a mask that are searched at once


class Whole:
    """Leaves images as they are."""

    size: tuple[int, int] | None = None

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """Returns its first argument."""
        return sample


class Random:
    """Cuts a patch out of an image, each place as likely as the others.

    An image smaller than the patch lies somewhere in it: its edge is repeated around it, and the
    mask is `ignore_index` there.

    Args:
        size: (height, width) of the patch in pixels, or one number for both.
        labels: `segkit.data.pipeline.batches` binds the labels of its source.

    Raises:
        ValueError: if the size is not positive.
    """

    def __init__(self, size: int | Sequence[int], labels: LabelSpace | None = None):
        self.size = _patch_size(size)
        self._fill = 255 if labels is None else with_ignore_index(labels).ignore_index

    def bound(self, labels: LabelSpace) -> Random:
        """The same patches, with the ignore index of `labels` around images that are smaller."""
        return Random(self.size, labels)

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """A patch of the sample; `seed` is numbers from 0 on, (seed, epoch, index)."""
        rng = np.random.default_rng([_STREAM, *map(int, seed)])
        return cut(sample, self._anywhere(sample, rng), self.size, self._fill)

    def _anywhere(self, sample: Sample, rng: np.random.Generator) -> tuple[int, int]:
        top, left = (
            int(rng.integers(min(0, edge - wanted), max(0, edge - wanted) + 1))
            for edge, wanted in zip(sample.mask.shape, self.size)
        )
        return top, left


class Centred(Random):
    """Cuts patches around labelled pixels, so that classes are seen that are rare in each image.

    With probability `share` a class is drawn, by its weight, among the foreground classes that
    the mask labels, and one of its pixels, each as likely as the others: it comes to lie in the
    middle of the patch, or as near as the edge of the image allows. Otherwise, and where nothing
    is labelled, the patch lies anywhere.

    Args:
        size: (height, width) of the patch in pixels, or one number for both.
        share: of the patches that are centred, in [0, 1].
        weights: {class name: how often it is drawn}, from 0 on; classes left out have 1, and None
            stands for 1 each.
        labels: `segkit.data.pipeline.batches` binds the labels of its source.

    Raises:
        ValueError: if a number is out of range, or weights name what is no foreground class.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        share: float = 0.5,
        weights: Mapping[str, float] | None = None,
        labels: LabelSpace | None = None,
    ):
        super().__init__(size, labels)
        self.share, self.weights = contract.share("share", share), _checked(weights)
        self._labels = labels
        if labels is not None:
            self._of_class = _by_class(self.weights, labels)

    def bound(self, labels: LabelSpace) -> Centred:
        """The same patches, around pixels that these labels call foreground."""
        return Centred(self.size, self.share, self.weights, labels)

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """A patch of the sample; `seed` is numbers from 0 on, (seed, epoch, index).

        Raises:
            ValueError: if no labels are bound.
        """
        if self._labels is None:
            raise ValueError("Centred needs to know the classes: call bound(labels) first.")
        rng = np.random.default_rng([_STREAM, *map(int, seed)])
        corner = self._anywhere(sample, rng)
        pixel = self._drawn(sample.mask, rng) if rng.random() < self.share else None
        if pixel is not None:
            corner = tuple(
                # Where the image is smaller than the patch there is no choice to make.
                min(max(at - wanted // 2, 0), edge - wanted) if edge > wanted else start
                for at, wanted, edge, start in zip(pixel, self.size, sample.mask.shape, corner)
            )
        return cut(sample, corner, self.size, self._fill)

    def _drawn(self, mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
        """Row and column of a labelled pixel of the first class in a weighted order that has one.

        Which is a draw by weight among the classes that are there, for a search of few of them.
        """
        classes, weights = self._of_class
        if not len(classes):
            return None
        for c in rng.choice(classes, len(classes), replace=False, p=weights / weights.sum()):
            pixel = _pixel_of(mask, int(c), rng)
            if pixel is not None:
                return pixel
        return None


def cut(sample: Sample, corner: tuple[int, int], size: tuple[int, int], fill: int) -> Sample:
    """The window of a sample whose upper left pixel is `corner`, copied; it may reach beyond.

    There, the edge of the image is repeated, and mask and truth hold `fill`.
    """
    return sample._replace(
        image=window(sample.image, corner, size),
        mask=window(sample.mask, corner, size, fill),
        truth=None if sample.truth is None else window(sample.truth, corner, size, fill),
    )


def window(
    array: np.ndarray, corner: tuple[int, int], size: tuple[int, int], fill: int | None = None
) -> np.ndarray:
    """(H, W, ...) -> (height, width, ...) from `corner` on, copied; it may reach beyond the edge.

    There, `fill` stands, or the edge is repeated if that is None.
    """
    slices, missing = [], []
    for start, wanted, edge in zip(corner, size, array.shape):
        slices.append(slice(max(0, start), max(0, min(edge, start + wanted))))
        missing.append((max(0, -start), max(0, start + wanted - edge)))
    # Sliced before it is copied: of a file mapped into memory, only these pages are read.
    part = np.array(array[tuple(slices)])
    if not np.any(missing):
        return part
    missing += [(0, 0)] * (array.ndim - 2)
    if fill is None:
        return np.pad(part, missing, mode="edge")
    part = part.astype(np.promote_types(part.dtype, np.min_scalar_type(fill)), copy=False)
    return np.pad(part, missing, mode="constant", constant_values=fill)


def _pixel_of(mask: np.ndarray, c: int, rng: np.random.Generator) -> tuple[int, int] | None:
    """A random pixel of class c in ids (H, W) or planes (H, W, C); None if there is none."""
    plane, value = (mask, c) if mask.ndim == 2 else (mask[..., c], 1)
    rows = max(1, _BLOCK // max(1, plane.shape[1]))
    starts = range(0, len(plane), rows)
    # Counted in blocks that stay in the cache of the processor, and searched in one of them.
    ends = np.cumsum([np.count_nonzero(plane[s : s + rows] == value) for s in starts])
    if not ends[-1]:
        return None
    chosen = int(rng.integers(ends[-1]))
    block = int(np.searchsorted(ends, chosen, side="right"))
    chosen -= int(ends[block - 1]) if block else 0
    here = plane[starts[block] : starts[block] + rows] == value
    row, column = divmod(int(np.flatnonzero(here)[chosen]), plane.shape[1])
    return starts[block] + row, column


def _patch_size(size: int | Sequence[int]) -> tuple[int, int]:
    pair = height_and_width(size)
    if pair is None:
        raise ValueError(
            "Patches need a size, a number of pixels or a pair (height, width). Received: None. "
            "Set patches.size=128, or patches=none for whole images."
        )
    return pair


def _checked(weights: Mapping[str, float] | None) -> dict[str, float] | None:
    if weights is None:
        return None
    fits = isinstance(weights, Mapping) and all(
        is_number(w) and math.isfinite(w) and w >= 0 for w in weights.values()
    )
    if not fits:
        raise ValueError(
            "weights maps class names to numbers from 0 on, for example {tumour: 5}. "
            f"Received: {weights!r}."
        )
    return {name: float(weight) for name, weight in weights.items()}


def _by_class(
    weights: Mapping[str, float] | None, labels: LabelSpace
) -> tuple[np.ndarray, np.ndarray]:
    """The foreground classes that can be drawn, and their weights."""
    names = [labels.names[c] for c in labels.foreground]
    odd = [name for name in weights or {} if name not in names]
    if odd:
        raise ValueError(
            f"patches.weights may name the foreground classes {', '.join(names)}. "
            f"Received: {', '.join(map(str, odd))}."
        )
    of_class = np.array([(weights or {}).get(name, 1.0) for name in names])
    return np.array(labels.foreground)[of_class > 0], of_class[of_class > 0]

"""The arrays of one batch: read, cut, augmented, encoded and mixed, as a function of its number."""

from __future__ import annotations

import functools
from typing import Any, Callable, Protocol, Sequence, runtime_checkable

import numpy as np

from segkit.contract import UNKNOWN, Sample, Source
from segkit.data.sampling import Order
from segkit.labels import LabelSpace
from segkit.targets import encode, known_ids

_STRAY = 127  # no state: marks ids that the label space does not know


@runtime_checkable
class NeedsLabels(Protocol):
    """A step of the pipeline that is told the labels of its source before it is called."""

    def bound(self, labels: LabelSpace) -> Callable: ...


def bound(step: Any, labels: LabelSpace) -> Any:
    """A step of the pipeline, told the labels if it needs them; None stays None."""
    return step.bound(labels) if isinstance(step, NeedsLabels) else step


class Loader:
    """Number of a batch -> its images, target and weights, in NumPy.

    Args:
        source: the samples.
        labels: those of the source, with an ignore index if the steps below need one.
        order: the images of each epoch.
        batch_size: images a batch, over all shards.
        first_epoch: the epoch of batch 0.
        steps: called one after the other with a sample and its address.
        mixing: called with the images and the target of the batch, and its address; or None.
        shards: (ks, n), the parts with these numbers of each batch cut into n, one after another.

    Raises:
        ValueError: if an image has another type than uint8 or float32, or another shape than
            the first.
    """

    def __init__(
        self,
        source: Source,
        labels: LabelSpace,
        order: Order,
        batch_size: int,
        first_epoch: int,
        steps: list[Callable],
        mixing: Callable | None,
        shards: tuple[Sequence[int], int],
    ):
        self.steps = -(-order.count // batch_size)
        self._source, self._seed, self._batch_size = source, order.seed, batch_size
        self._first_epoch, self._changes, self._mixing = first_epoch, steps, mixing
        self._shards, self._encoder = shards, _Encoder(labels)
        # An order serves all batches of its epoch; two epochs overlap while one ends.
        self._order = functools.lru_cache(maxsize=2)(order)
        self.first = self._sample(first_epoch, 0)  # the shape and type that all others must have
        _require_alike(self.first, self.first, 0)

    def __call__(self, number: int) -> tuple[np.ndarray, ...]:
        """What comes as the `number`-th, part by part and batch by batch.

        Returns:
            Images float32 (B, H, W, K), target int8 (B, H, W, C), weights float32 (B,), and how
            many images all parts of the batch have and this one, int32 (2,). A part without any
            holds one of which nothing is known.
        """
        chosen, n = self._shards
        number, part = divmod(int(number), len(chosen))
        k = chosen[part]
        epoch, step = divmod(number, self.steps)
        epoch += self._first_epoch
        whole = self._order(epoch)[step * self._batch_size :][: self._batch_size]
        chosen = np.array_split(whole, n)[k]
        counts = np.array([len(whole), len(chosen)], np.int32)
        images, target, weights = self._loaded(epoch, chosen if len(chosen) else whole[:1])
        if self._mixing is not None and len(chosen):
            target[weights == 0] = UNKNOWN  # so that nothing of it comes into others
            address = (self._seed, epoch, step) if n == 1 else (self._seed, epoch, step, k)
            images, target = self._mixing(images, target, address)
        if not len(chosen):
            target, weights = np.full_like(target, UNKNOWN), np.zeros_like(weights)
        return _unit(images), target, weights, counts

    def _loaded(self, epoch: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws (M, 2), see `Order` -> images, target and weights."""
        samples = [self._sample(epoch, int(index), int(repeat)) for index, repeat in chosen]
        for (index, _), sample in zip(chosen, samples):
            _require_alike(self.first, sample, index)
        images = _stacked([sample.image for sample in samples])
        target = self._encoder(samples, self.first.image.shape[:2])
        return images, target, np.array([sample.weight for sample in samples], np.float32)

    def _sample(self, epoch: int, index: int, repeat: int = 0) -> Sample:
        # An image that comes again in an epoch is cut and augmented anew.
        address = (self._seed, epoch, index, repeat) if repeat else (self._seed, epoch, index)
        sample = self._source[index]
        for change in self._changes:
            sample = change(sample, address)
        return sample


class _Encoder:
    """Masks and lists of annotated classes -> target, as `segkit.targets.encode` makes it.

    The rules are applied once to every id and list of annotated classes, and the table is kept:
    encoding then costs a look-up a pixel.
    """

    def __init__(self, labels: LabelSpace):
        self._labels = labels
        # One value for each that a byte can have, at least: bytes need not be searched for others.
        self._length = max(256, known_ids(labels)[-1] + 1)
        self._table = functools.lru_cache(1024 if self._length == 256 else 32)(self._made)

    def __call__(self, samples: list[Sample], size: tuple[int, int]) -> np.ndarray:
        """Samples with masks (H, W) or (H, W, C) -> int8 (B, H, W, C).

        Raises:
            ValueError: on an id that the labels do not know, and as `encode` does.
        """
        target = np.empty((len(samples), *size, self._labels.num_classes), np.int8)
        for out, sample in zip(target, samples):
            out[...] = self._looked_up(sample, out)
        return target

    def _looked_up(self, sample: Sample, out: np.ndarray) -> np.ndarray:
        mask, annotated = sample.mask, np.asarray(sample.annotated)
        if self._labels.exclusive and mask.ndim == 2 and mask.dtype.kind in "iu":
            if mask.dtype == np.uint8 or (mask.min() >= 0 and mask.max() < self._length):
                np.take(self._table(annotated.tobytes()), mask, axis=0, out=out, mode="clip")
                if not (out[..., 0] == _STRAY).any():
                    return out
        # Independent classes, and masks that are in want of words.
        return encode(mask[None], annotated[None], self._labels)[0]

    def _made(self, annotated: bytes) -> np.ndarray:
        """(C,) -> the states of every value that a mask may hold, (length, C)."""
        ids = np.array(known_ids(self._labels))
        table = np.full((self._length, self._labels.num_classes), _STRAY, np.int8)
        looked = np.frombuffer(annotated, bool)
        table[ids] = encode(ids[None, None], looked[None], self._labels)[0, 0]
        return table


def _stacked(images: list[np.ndarray]) -> np.ndarray:
    if len({image.dtype for image in images}) > 1:  # files of 8 and of 16 bits, side by side
        images = [_unit(image) for image in images]
    return np.stack(images)


def _unit(images: np.ndarray) -> np.ndarray:
    """Bytes and floats in [0, 1] -> float32 in [0, 1]."""
    if images.dtype != np.uint8:
        return images
    return np.divide(images, np.float32(255), dtype=np.float32)


def _require_alike(first: Sample, sample: Sample, index: int) -> None:
    if sample.image.dtype not in (np.uint8, np.float32):
        raise ValueError(
            f"Images are uint8, or float32 in [0, 1]. Received: {_described(sample, index)}."
        )
    expected, received = ((s.image.shape, s.mask.shape, s.annotated.shape) for s in (first, sample))
    if expected != received:
        raise ValueError(
            "A batch needs images of one shape. "
            f"Received: {_described(first, 0)} and {_described(sample, index)}. "
            "Bring them to one size with data.size=128, or cut patches of them with "
            "patches=random patches.size=128; or let the augmentation end with a crop of one size, "
            "such as albumentations.RandomCrop with pad_if_needed=true."
        )


def _described(sample: Sample, index: int) -> str:
    name = sample.name or f"sample {index}"
    return f"{name} with {sample.image.dtype} {sample.image.shape}"

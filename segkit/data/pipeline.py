"""From a source of samples to the batches that a model trains on, through tf.data."""

from __future__ import annotations

import functools
from typing import Any, Callable, NamedTuple, Protocol, Sequence, runtime_checkable

import keras
import numpy as np
import tensorflow as tf

from segkit.contract import Sample, Source
from segkit.data.fitting import with_ignore_index
from segkit.data.sampling import draw
from segkit.labels import LabelSpace
from segkit.targets import encode


@runtime_checkable
class NeedsLabels(Protocol):
    """An augmentation or a mixing that is told the labels of its source before it is called."""

    def bound(self, labels: LabelSpace) -> Callable: ...


def steps(source: Source, batch_size: int) -> int:
    """The number of batches in an epoch: ceil(n / batch_size), the last one may be smaller."""
    return -(-len(source) // batch_size)


def batches(
    source: Source,
    batch_size: int,
    *,
    seed: int = 0,
    epochs: int = 1,
    first_epoch: int = 0,
    shuffle: bool = False,
    augmentation: Callable[[Sample, Sequence[int]], Sample] | None = None,
    mixing: Callable[[np.ndarray, np.ndarray, Sequence[int]], tuple] | None = None,
    shares: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of (images float32 (B, H, W, K) in [0, 1], target int8 (B, H, W, C)).

    `epochs` times `steps(source, batch_size)` batches in a row; none holds images of two epochs.
    Each is a function of (seed, epoch, step), however many threads load and in whatever
    order, so first_epoch=e resumes a longer run exactly. Loading runs in parallel.

    Args:
        source: the samples; all of one shape (after augmentation).
        batch_size: B; the last batch of an epoch holds what is left.
        seed: of the order and of the augmentation, from 0 on.
        epochs: how many times each sample comes.
        first_epoch: the number of the first epoch, from 0 on.
        shuffle: True gives each epoch an order of its own, False the order of the source.
        augmentation: called with a sample and (seed, epoch, index), and a fourth number for an
            image that comes again in the epoch. If it `NeedsLabels`, as
            `segkit.data.augment.Augmentation` does, it is bound to those of the source first, with
            an ignore index if they have none.
        mixing: called with the images of a batch as the source has them, their target, and (seed,
            epoch, step); returns both, of the same shapes and types, as
            `segkit.data.mixing.CutMix` does; bound to the labels in the same way.
        shares: of the draws of an epoch, (N,), see `segkit.data.sampling`; needs shuffle. None:
            each image comes once.

    Raises:
        ValueError: on an empty source, numbers out of range or shares that do not fit, and if the
            samples differ in shape or type. While the batches are read, errors in loading come as
            `tf.errors.OpError` with the words of the original one.
    """
    _check_numbers(source, batch_size, seed, epochs, first_epoch)
    if shares is not None and not (shuffle and np.shape(shares) == (len(source),)):
        raise ValueError(
            f"shares needs shuffle=True, and one number an image, ({len(source)},) here. "
            f"Received: shuffle={shuffle}, shares {np.shape(shares)}. "
            "A segkit.data.sampling makes them."
        )
    labels = source.labels
    if augmentation is not None:
        labels = with_ignore_index(labels)
    augmentation, mixing = _bound(augmentation, labels), _bound(mixing, labels)
    order = _Order(len(source), seed, shuffle, shares)
    loader = _Loader(source, batch_size, seed, first_epoch, order, augmentation)
    numbers = tf.data.Dataset.range(epochs * loader.steps)
    loaded = numbers.map(loader.graph, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    mix = None if mixing is None else lambda x, y, number: mixing(x, y, loader.address(number))
    finish = functools.partial(_finish, labels=labels, mix=mix)
    finished = loaded.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return finished.prefetch(tf.data.AUTOTUNE)


def _bound(step: Any, labels: LabelSpace) -> Any:
    return step.bound(labels) if isinstance(step, NeedsLabels) else step


class _Loader:
    """Batch number -> stacked arrays of that batch."""

    def __init__(self, source, batch_size, seed, first_epoch, order, augmentation):
        self.steps = steps(source, batch_size)
        self._source, self._batch_size, self._seed = source, batch_size, seed
        self._first_epoch, self._augmentation = first_epoch, augmentation
        # An order serves all batches of its epoch; two epochs overlap while one ends.
        self._order = functools.lru_cache(maxsize=2)(order)
        self._first = self._sample(first_epoch, 0)  # the shape that all others must have

    def address(self, number: int) -> tuple[int, int, int]:
        """The (seed, epoch, step) of a batch."""
        epoch, step = divmod(int(number), self.steps)
        return self._seed, self._first_epoch + epoch, step

    def graph(self, number: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Scalar -> itself, images (B, H, W, K), masks int32 (B, H, W[, C]), annotated (B, C)."""
        first = self._first
        arrays = first.image, first.mask, first.annotated
        # Stateless: with op determinism on, tf.data runs stateful functions one by one.
        tensors = tf.numpy_function(
            self.load, [number], (first.image.dtype, tf.int32, tf.bool), stateful=False
        )
        for tensor, array in zip(tensors, arrays):
            tensor.set_shape((None, *array.shape))
        return number, *tensors

    def load(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The arrays of `graph` in NumPy."""
        _, epoch, step = self.address(number)
        chosen = self._order(epoch)[step * self._batch_size :][: self._batch_size]
        samples = [self._sample(epoch, int(index), int(repeat)) for index, repeat in chosen]
        for (index, _), sample in zip(chosen, samples):
            _require_alike(self._first, sample, index)
        return (
            np.stack([sample.image for sample in samples]),
            np.stack([sample.mask for sample in samples]).astype(np.int32),
            np.stack([sample.annotated for sample in samples]),
        )

    def _sample(self, epoch: int, index: int, repeat: int = 0) -> Sample:
        sample = self._source[index]
        if self._augmentation is None:
            return sample
        # An image that comes again in an epoch is augmented anew.
        again = (repeat,) if repeat else ()
        return self._augmentation(sample, (self._seed, epoch, index, *again))


class _Order(NamedTuple):
    """Epoch -> the images it shows, in order, and how often each was shown before: (N, 2)."""

    count: int
    seed: int
    shuffle: bool
    shares: np.ndarray | None

    def __call__(self, epoch: int) -> np.ndarray:
        images = self._images(epoch)
        by_image = np.argsort(images, kind="stable")
        first = np.searchsorted(images[by_image], images[by_image])
        repeats = np.empty_like(images)
        repeats[by_image] = np.arange(len(images)) - first
        return np.stack([images, repeats], axis=1)

    def _images(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count)
        if self.shares is not None:
            return draw(self.shares, self.seed, epoch)
        return np.random.default_rng([self.seed, epoch]).permutation(self.count)


def _finish(
    number: tf.Tensor,
    images: tf.Tensor,
    masks: tf.Tensor,
    annotated: tf.Tensor,
    labels: LabelSpace,
    mix: Callable | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    if keras.backend.backend() == "tensorflow":
        target = encode(masks, annotated, labels)
    else:
        # Under another backend, keras.ops cannot compute on the tensors of tf.data.
        target = tf.numpy_function(
            lambda m, a: encode(m, a, labels), [masks, annotated], tf.int8, stateful=False
        )
        target.set_shape((*images.shape[:3], labels.num_classes))
    if mix is not None:
        mixed = tf.numpy_function(
            mix, [images, target, number], (images.dtype, target.dtype), stateful=False
        )
        for tensor, before in zip(mixed, (images, target)):
            tensor.set_shape(before.shape)
        images, target = mixed
    return tf.cast(images, tf.float32) / 255 if images.dtype == tf.uint8 else images, target


def _require_alike(first: Sample, sample: Sample, index: int) -> None:
    expected, received = (
        (s.image.shape, s.image.dtype, s.mask.shape, s.annotated.shape) for s in (first, sample)
    )
    if expected != received:
        raise ValueError(
            "A batch needs images of one shape and type. "
            f"Received: {_described(first, 0)} and {_described(sample, index)}. "
            "Give the data set a size, for example size=128."
        )


def _described(sample: Sample, index: int) -> str:
    name = sample.name or f"sample {index}"
    return f"{name} with {sample.image.dtype} {sample.image.shape}"


def _check_numbers(source: Source, batch_size: int, seed: int, epochs: int, first: int) -> None:
    if len(source) == 0:
        raise ValueError("There is nothing to train on: the source is empty.")
    numbers = {"batch_size": (batch_size, 1), "epochs": (epochs, 1)}
    numbers |= {"seed": (seed, 0), "first_epoch": (first, 0)}
    for name, (value, least) in numbers.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}. Received: {value!r}.")

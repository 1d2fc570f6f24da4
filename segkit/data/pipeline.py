"""From a source of samples to the batches that a model trains on, through tf.data."""

from __future__ import annotations

import functools
from typing import Callable, Sequence

import numpy as np
import tensorflow as tf

from segkit.contract import Sample, Source
from segkit.data.fitting import with_ignore_index
from segkit.data.loading import Loader, bound
from segkit.data.sampling import Order
from segkit.labels import LabelSpace


def steps(source: Source, batch_size: int, images: int | None = None) -> int:
    """The number of batches in an epoch: ceil(images / batch_size), the last one may be smaller.

    `images` is how many an epoch shows; None: as many as the source has.
    """
    return -(-(len(source) if images is None else images) // batch_size)


def batches(
    source: Source,
    batch_size: int,
    *,
    seed: int = 0,
    epochs: int = 1,
    first_epoch: int = 0,
    shuffle: bool = False,
    patches: Callable[[Sample, Sequence[int]], Sample] | None = None,
    augmentation: Callable[[Sample, Sequence[int]], Sample] | None = None,
    mixing: Callable[[np.ndarray, np.ndarray, Sequence[int]], tuple] | None = None,
    shares: np.ndarray | None = None,
    images: int | None = None,
    weighted: bool = False,
    counted: bool = False,
    shards: tuple[Sequence[int], int] = ((0,), 1),
    first_step: int = 0,
) -> tf.data.Dataset:
    """Batches of (images float32 (B, H, W, K) in [0, 1], target int8 (B, H, W, C)).

    `epochs` times `steps(source, batch_size, images)` batches in a row; none holds images of two
    epochs. Each is a function of (seed, epoch, step), however many threads load and in whatever
    order, so first_epoch=e and first_step=s resume a longer run exactly. Loading runs in
    parallel, and memory holds a few batches whatever the length of the source.

    Args:
        source: the samples; all of one shape (after patches and augmentation).
        batch_size: B; the last batch of an epoch holds what is left.
        seed: of the order, the patches and the augmentation, from 0 on.
        epochs: how many there are.
        first_epoch: the number of the first epoch, from 0 on.
        shuffle: True gives each epoch an order of its own, False the order of the source.
        patches: called first, with a sample and (seed, epoch, index), and a fourth number for an
            image that comes again in the epoch; see `segkit.data.patches`. If it
            `segkit.data.loading.NeedsLabels`, it is bound to those of the source first, with an
            ignore index if they have none.
        augmentation: called next, in the same way.
        mixing: called with the images of a batch as the source has them, their target, and (seed,
            epoch, step); returns both, of the same shapes and types, as
            `segkit.data.mixing.CutMix` does; bound to the labels in the same way. An image keeps
            its weight, whatever was pasted into it; of one whose weight is 0, nothing is known.
        shares: of the draws of an epoch, (N,), see `segkit.data.sampling`; needs shuffle. None:
            all alike.
        images: how many an epoch shows; None: as many as the source has. More of them come in
            one order after another.
        weighted: True yields a third part, the weights of the images, float32 (B,), which Keras
            takes as sample_weight.
        counted: True yields a last element, int32 (2,): the number of images in all parts of the
            batch, and in this one.
        shards: (ks, n), of each batch cut into n the parts with these numbers, one after another,
            as `numpy.array_split` cuts it: all the parts in order are the whole batch.
            `batch_size` counts the images of all parts. Mixing happens inside a part, and its
            address is (seed, epoch, step, k). A part that is left without one, of a last batch of
            fewer than n images, holds the first image of the batch with weight 0 and an unknown
            target, and says that it has none: networks cannot compute on nothing.
        first_step: the first batch of the first epoch; those before it are left out.

    Raises:
        ValueError: on an empty source, numbers out of range or shares that do not fit, and if the
            samples differ in shape. While the batches are read, errors in loading come as
            `tf.errors.OpError` with the words of the original one.
    """
    count = len(source) if images is None else images
    numbers = {"batch_size": (batch_size, 1), "epochs": (epochs, 1), "images": (count, 1)}
    numbers |= {"seed": (seed, 0), "first_epoch": (first_epoch, 0)}
    _check(source, numbers, shards, batch_size)
    _check_shares(shares, source, shuffle)
    labels = source.labels
    if augmentation is not None or patches is not None:
        labels = with_ignore_index(labels)
    changes = [bound(step, labels) for step in (patches, augmentation) if step is not None]
    order = Order(len(source), seed, shuffle, count, shares)
    mixing = bound(mixing, labels)
    loader = Loader(source, labels, order, batch_size, first_epoch, changes, mixing, shards)
    extra = slice(2 if weighted else 3, 4 if counted else 3)
    graph = functools.partial(_graph, loader=loader, labels=labels, extra=extra)
    parts = len(shards[0])
    loaded = tf.data.Dataset.range(first_step * parts, epochs * loader.steps * parts).map(
        graph, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return loaded.prefetch(tf.data.AUTOTUNE)


def _graph(
    number: tf.Tensor, loader: Loader, labels: LabelSpace, extra: slice
) -> tuple[tf.Tensor, ...]:
    """Scalar -> images (B, H, W, K), target (B, H, W, C), and of weights (B,), counts (2,) some."""
    height, width, channels = loader.first.image.shape
    # Stateless: with op determinism on, tf.data runs stateful functions one by one.
    images, target, weights, counts = tf.numpy_function(
        loader, [number], (tf.float32, tf.int8, tf.float32, tf.int32), stateful=False
    )
    images.set_shape((None, height, width, channels))
    target.set_shape((None, height, width, labels.num_classes))
    weights.set_shape((None,))
    counts.set_shape((2,))
    return (images, target, *(images, target, weights, counts)[extra])


def _check(
    source: Source,
    numbers: dict[str, tuple[int, int]],
    shards: tuple[Sequence[int], int],
    batch_size: int,
) -> None:
    if len(source) == 0:
        raise ValueError("There is nothing to train on: the source is empty.")
    for name, (value, least) in numbers.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}. Received: {value!r}.")
    chosen, n = shards
    if not chosen or not all(0 <= k < n for k in chosen):
        raise ValueError(f"shards is (ks, n) with 0 <= k < n. Received: {tuple(shards)}.")
    if batch_size < n:
        raise ValueError(
            f"A batch is cut into {n} parts, so batch_size must be at least {n}. "
            f"Received: {batch_size}."
        )


def _check_shares(shares: np.ndarray | None, source: Source, shuffle: bool) -> None:
    if shares is not None and not (shuffle and np.shape(shares) == (len(source),)):
        raise ValueError(
            f"shares needs shuffle=True, and one number an image, ({len(source)},) here. "
            f"Received: shuffle={shuffle}, shares {np.shape(shares)}. "
            "A segkit.data.sampling makes them."
        )

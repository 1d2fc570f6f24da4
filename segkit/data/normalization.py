"""Mean and standard deviation of the image channels, for the first layer of a model."""

from __future__ import annotations

import functools
import math
import warnings
from typing import NamedTuple, Sequence

import numpy as np

from segkit.contract import Source, is_number
from segkit.parallel import ordered

MeanAndStd = tuple[np.ndarray, np.ndarray]

_BLOCK = 2**18  # pixels that are widened to float64 at once


class Unchanged:
    """Images go into the model as they are, in [0, 1]."""

    def of(self, source: Source) -> MeanAndStd | None:
        """None: nothing to subtract, nothing to divide by."""
        return None


class Fixed:
    """Given numbers, for example those with which a model was trained before.

    Args:
        mean: of each channel, of images in [0, 1].
        std: of each channel, above 0.

    Raises:
        ValueError: if they are not as many finite numbers.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = _numbers("mean", mean), _numbers("std", std)
        if len(mean) != len(std) or (self.std <= 0).any():
            raise ValueError(
                "normalization.std needs a number above 0 for each number in normalization.mean. "
                f"Received: mean {list(mean)}, std {list(std)}."
            )

    def of(self, source: Source) -> MeanAndStd | None:
        """Mean and standard deviation, float64 (K,) each.

        Raises:
            ValueError: if the images of the source have another number of channels.
        """
        channels = source[0].image.shape[-1]
        if channels != len(self.mean):
            raise ValueError(
                f"The images have {channels} channels, and normalization.mean and "
                f"normalization.std need one number for each. Received: {len(self.mean)}. "
                "Take normalization=statistics, or normalization=fixed with as many numbers."
            )
        return self.mean, self.std


class Statistics:
    """Mean and standard deviation of each channel over all pixels of the training split."""

    def of(self, source: Source) -> MeanAndStd | None:
        """Mean and standard deviation, float64 (K,) each; every image is read once.

        Raises:
            ValueError: if the source is empty, an image holds NaN or infinity, or the images
                differ in their channels.

        Warns:
            UserWarning: of channels that are constant; they are not divided by anything.
        """
        if not len(source):
            raise ValueError("Statistics need an image. Received: an empty source.")
        text = "mean and standard deviation of the channels"
        parts = ordered(lambda index: _moments(source, index), range(len(source)), text)
        total = next(parts)
        for part in parts:
            total = _joined(total, part)
        constant = np.flatnonzero(total.squares == 0)
        if len(constant):
            warnings.warn(
                f"The image channels {constant.tolist()} (of {len(total.mean)}) are constant over "
                "the training split: they tell a model nothing, and are not scaled. Are the "
                "channels the right ones?",
                stacklevel=2,
            )
        std = np.sqrt(total.squares / total.count)
        return total.mean, np.where(std > 0, std, 1.0)


class _Moments(NamedTuple):
    """Of each channel: number of pixels, mean, and sum of (x - mean)^2."""

    count: int
    mean: np.ndarray
    squares: np.ndarray
    name: str


def _moments(source: Source, index: int) -> _Moments:
    sample = source[index]
    image = sample.image
    name = sample.name or f"sample {index}"
    pixels = image.reshape(-1, image.shape[-1])
    if image.dtype == np.uint8:
        found = _of_bytes(pixels, name)
    else:  # in blocks, as they are widened
        starts = range(0, len(pixels), _BLOCK)
        found = functools.reduce(
            _joined, (_of_floats(pixels[start : start + _BLOCK], name) for start in starts)
        )
    if not np.isfinite(found.squares).all():
        raise ValueError(f"{name} holds NaN or infinity, so its channels have no mean.")
    return found


def _of_bytes(pixels: np.ndarray, name: str) -> _Moments:
    times = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    values = np.arange(256) / 255
    # From the first pixel on, so that a constant channel has no rounding errors.
    origin = values[pixels[0]]
    offsets = values - origin[:, None]
    mean = (times * offsets).sum(1) / len(pixels)
    squares = (times * (offsets - mean[:, None]) ** 2).sum(1)
    return _Moments(len(pixels), origin + mean, squares, name)


def _of_floats(pixels: np.ndarray, name: str) -> _Moments:
    origin = pixels[0].astype("float64")
    offsets = pixels - origin
    mean = offsets.mean(0)
    squares = ((offsets - mean) ** 2).sum(0)
    return _Moments(len(pixels), origin + mean, squares, name)


def _joined(one: _Moments, other: _Moments) -> _Moments:
    """The moments of both sets of pixels (Chan et al. 1983)."""
    if len(one.mean) != len(other.mean):
        raise ValueError(
            "All images need the same channels. "
            f"Received: {one.name} with {len(one.mean)}, {other.name} with {len(other.mean)}."
        )
    count = one.count + other.count
    delta = other.mean - one.mean
    mean = one.mean + delta * (other.count / count)
    squares = one.squares + other.squares + delta**2 * (one.count * other.count / count)
    return _Moments(count, mean, squares, one.name)


def _numbers(name: str, values: Sequence[float]) -> np.ndarray:
    fits = isinstance(values, (list, tuple, np.ndarray)) and len(values)
    if not fits or not all(is_number(v) and math.isfinite(v) for v in values):
        raise ValueError(
            f"normalization.{name} is a list of numbers, one a channel, of images in [0, 1], for "
            f"example [0.5, 0.5, 0.5]. Received: {values!r}."
        )
    return np.array(values, "float64")

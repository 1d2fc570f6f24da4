"""Mixing the images of a batch: on targets, since each image has its own list of annotations."""

from __future__ import annotations

import math
import zlib
from typing import Sequence

import numpy as np

from segkit.contract import share

_STREAM = zlib.crc32(b"cutmix")  # so that no other draw of the same seed repeats these


class Unmixed:
    """Leaves batches as they are."""

    def __call__(
        self, images: np.ndarray, target: np.ndarray, seed: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns its first two arguments."""
        return images, target


class CutMix:
    """Pastes a box of another image into an image, with all that is known about its pixels.

    Each image of the batch gets, with the given probability, a box from a partner, another image
    of the batch drawn at random:

        l ~ Beta(alpha, alpha), height = H sqrt(1 - l), width = W sqrt(1 - l)

    around a uniform point, less what lies beyond the edge: 0.32 of the area on average, if alpha
    is 1. What was not annotated differs between the two images, so a mask and one list of
    annotated classes could not describe the result: inside the box a class may be ruled out that
    is unknown outside. The three-state target can, and moves with the pixels.

    Args:
        probability: of pasting into an image, in [0, 1].
        alpha: of the Beta distribution, above 0. Large: boxes of half the area; small: of nearly
            nothing or nearly everything.

    Raises:
        ValueError: if one of them is out of range.

    Ref: Yun et al. 2019, arXiv:1905.04899; for segmentation French et al. 2020, arXiv:1906.01916.
    Differs: every image draws for itself, and nothing is averaged, as each pixel keeps its label.
    """

    def __init__(self, probability: float = 0.5, alpha: float = 1.0):
        self.probability = share("probability", probability)
        if not isinstance(alpha, (int, float)) or not 0 < alpha < math.inf:
            raise ValueError(f"alpha must be a number above 0. Received: {alpha!r}. Try 1.0.")
        self.alpha = float(alpha)

    def __call__(
        self, images: np.ndarray, target: np.ndarray, seed: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, H, W, K), (B, H, W, C) -> new arrays of the same shapes; a function of its arguments.

        `seed` is numbers from 0 on, (seed, epoch, step). A batch of one image stays as it is.
        """
        count, height, width = images.shape[:3]
        mixed, mixed_target = images.copy(), target.copy()
        rng = np.random.default_rng([_STREAM, *map(int, seed)])
        for i in range(count if count > 1 else 0):
            pasted, row, column = rng.random(3)
            edge = math.sqrt(1 - rng.beta(self.alpha, self.alpha))
            partner = (i + 1 + rng.integers(count - 1)) % count
            if pasted < self.probability:
                box = i, _span(row, edge, height), _span(column, edge, width)
                mixed[box] = images[partner, box[1], box[2]]
                mixed_target[box] = target[partner, box[1], box[2]]
        return mixed, mixed_target


def _span(middle: float, edge: float, size: int) -> slice:
    """Pixels within edge / 2 of the middle; both are shares of the size."""
    start, stop = ((middle + sign * edge / 2) * size for sign in (-1, 1))
    return slice(max(0, round(start)), min(size, round(stop)))

"""Pixels to fit a temperature on: as many of each image, of those that tell something."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from segkit.calibration.passes import Predicted
from segkit.contract import candidates, judged_pixels

PIXELS = 1_000_000  # of all images together, at most
NUMBERS = 2**25  # their probabilities, at most; so fewer pixels with many classes


class Drawn(NamedTuple):
    """What `segkit.metrics.fit_temperature` takes.

    log_probabilities: float32 (N, C).
    candidates: bool (N, C).
    weights: (N,).
    """

    log_probabilities: np.ndarray
    candidates: np.ndarray
    weights: np.ndarray


def draw(item: Predicted, images: int, seed: int) -> Drawn:
    """Pixels of one image, always the same, of which something is ruled out.

    As in the losses, an image counts with its mean over judged pixels, where those of which
    nothing is ruled out cost nothing.

    Args:
        item: the image.
        images: how many there are.
        seed: whole number from 0 on.
    """
    classes = item.target.shape[-1]
    possible = candidates(item.target).reshape(-1, classes)
    told = np.flatnonzero(~possible.all(-1))
    quota = max(min(PIXELS, NUMBERS // classes) // images, 1)
    chosen = told
    if len(told) > quota:
        random = np.random.default_rng((seed, item.index))
        chosen = random.choice(told, quota, replace=False, shuffle=False)
    share = len(told) / max(int(judged_pixels(item.target).sum()), 1)
    found = item.probabilities.reshape(-1, classes)[chosen]
    return Drawn(
        np.log(np.maximum(found, np.finfo("float32").tiny)),
        possible[chosen],
        np.full(len(chosen), share / max(len(chosen), 1)),
    )


def together(parts: Sequence[Drawn]) -> Drawn:
    """The pixels of several images.

    Raises:
        ValueError: if there is none.
    """
    drawn = Drawn(*(np.concatenate(arrays) for arrays in zip(*parts)))
    if not len(drawn.weights):
        raise ValueError(
            "Nothing can be tuned where nothing is known. Received: "
            f"{len(parts)} images without a pixel of which anything is known. Take images that "
            "were annotated: another split with split=NAME, or other data."
        )
    return drawn

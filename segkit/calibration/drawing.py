"""Pixels to fit a temperature on: as many of each image, of those that tell something."""

from __future__ import annotations

from typing import NamedTuple, Sequence

import numpy as np

from segkit.calibration.passes import Predicted
from segkit.contract import LABELLED, candidates, judged_pixels
from segkit.metrics.cells import judged_cells

PIXELS = 1_000_000  # of all images together, at most
NUMBERS = 2**25  # their probabilities, at most; so fewer pixels with many classes


class Drawn(NamedTuple):
    """What `segkit.metrics.fit_temperature` takes.

    log_probabilities: float32 (N, C); independent classes: (N, 2), there and not there.
    candidates: bool, the same shape.
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


def draw_cells(item: Predicted, images: int, seed: int) -> Drawn:
    """Known cells, each a pixel and an independent class, of one image; always the same.

    As in the losses, an image counts with the sum over its known cells, divided by its judged
    pixels and by the number of classes.

    Args:
        item, images, seed: see `draw`.
    """
    looked = judged_cells(item.target[None], exclusive=False)[0]
    told = np.flatnonzero(looked)
    quota, chosen = max(min(PIXELS, NUMBERS // 2) // images, 1), told
    if len(told) > quota:
        random = np.random.default_rng((seed, item.index))
        chosen = random.choice(told, quota, replace=False, shuffle=False)
    judged = max(int(judged_pixels(item.target).sum()), 1) * looked.shape[-1]
    p = item.probabilities.reshape(-1)[chosen]
    p = np.clip(p, np.finfo("float32").tiny, 1 - np.finfo("float32").epsneg)
    there = item.target.reshape(-1)[chosen] == LABELLED
    return Drawn(
        np.stack([np.log(p), np.log1p(-p)], -1),
        np.stack([there, ~there], -1),
        np.full(len(chosen), len(told) / judged / max(len(chosen), 1)),
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

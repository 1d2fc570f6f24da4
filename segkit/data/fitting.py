"""Images and masks of any size -> one size."""

from __future__ import annotations

import dataclasses
from typing import Sequence

import numpy as np
from PIL import Image

from segkit.labels import LabelSpace
from segkit.targets import known_ids

FITS = ("resize", "crop")
_USUAL_IGNORE_INDEX = 255


def height_and_width(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """(height, width) in pixels from one number for both, a pair, or None (sizes as they are).

    Raises:
        ValueError: if it is none of these, or not positive.
    """
    if size is None:
        return None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(type(edge) is int and edge > 0 for edge in pair):
        raise ValueError(
            "size must be a positive number of pixels, a pair (height, width), or None. "
            f"Received: {size!r}."
        )
    return pair


def fit_image(image: np.ndarray, size: tuple[int, int], fit: str) -> np.ndarray:
    """uint8 (H, W, 3) -> (height, width, 3).

    "resize": bilinear, over the whole area of the source when it shrinks. "crop": the middle;
    where the image is too small, its edge is repeated.
    """
    if image.shape[:2] == size:
        return image
    if fit == "resize":
        scaled = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
        return np.array(scaled)
    middle, missing = _middle(image, size)
    return np.pad(middle, (*missing, (0, 0)), mode="edge")


def fit_mask(mask: np.ndarray, size: tuple[int, int], fit: str, fill: int | None) -> np.ndarray:
    """Ids (H, W) -> (height, width), in step with `fit_image`; never an id between two others.

    "resize": the nearest pixel. "crop": the middle; where the mask is too small, `fill`.
    """
    if mask.shape == size:
        return mask
    if fit == "resize":
        # The source pixel under the middle of each new one: floor((i + 1/2) old / new).
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, mask.shape)
        )
        return mask[rows[:, None], columns]
    middle, missing = _middle(mask, size)
    return np.pad(middle, missing, mode="constant", constant_values=fill)


def with_ignore_index(labels: LabelSpace) -> LabelSpace:
    """`labels`, given an ignore index if it has none: 255, or the first free id above all others.

    Pixels that padding or a rotation adds must be ignored: nobody judged them.
    """
    if labels.ignore_index is not None:
        return labels
    taken = known_ids(labels)
    free = max(taken) + 1 if _USUAL_IGNORE_INDEX in taken else _USUAL_IGNORE_INDEX
    return dataclasses.replace(labels, ignore_index=free)


def _middle(
    array: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    window, missing = [], []
    for wanted, edge in zip(size, array.shape):
        start = max(0, (edge - wanted) // 2)
        window.append(slice(start, start + wanted))
        lack = max(0, wanted - edge)
        missing.append((lack // 2, lack - lack // 2))
    return array[tuple(window)], tuple(missing)

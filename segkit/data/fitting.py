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
    """uint8, or float32 in [0, 1], (H, W, K) -> (height, width, K).

    "resize": bilinear, over the whole area of the source when it shrinks. "crop": the middle;
    where the image is too small, its edge is repeated.
    """
    if image.shape[:2] == size:
        return image
    if fit == "resize":
        return _resized(image, size)
    middle, missing = _middle(image, size)
    return np.pad(middle, (*missing, (0, 0)), mode="edge")


def fit_rows(image: np.ndarray, rows: slice, shape: tuple[int, int]) -> np.ndarray:
    """Some rows of `fit_image(image, shape, "resize")`, float32 (h, width, K).

    Args:
        image: float32 (h', w', K).
        rows: of the result.
        shape: (height, width) of the whole result.
    """
    if image.shape[:2] == shape:
        return image[rows]
    scale = image.shape[0] / shape[0]
    box = (0, rows.start * scale, image.shape[1], rows.stop * scale)
    size = (shape[1], rows.stop - rows.start)
    found = np.empty((size[1], size[0], image.shape[-1]), "float32")
    for band in range(image.shape[-1]):
        one = Image.fromarray(np.ascontiguousarray(image[..., band]))
        found[..., band] = one.resize(size, Image.Resampling.BILINEAR, box=box)
    return found


def fit_mask(mask: np.ndarray, size: tuple[int, int], fit: str, fill: int | None) -> np.ndarray:
    """Ids (H, W), or planes (H, W, C), of another size, in step with `fit_image`.

    No id arises between two others.

    "resize": the nearest pixel. "crop": the middle; where the mask is too small, `fill`.
    """
    if mask.shape[:2] == size:
        return mask
    if fit == "resize":
        # The source pixel under the middle of each new one: floor((i + 1/2) old / new).
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, mask.shape)
        )
        return mask[rows].take(columns, axis=1)
    middle, missing = _middle(mask, size)
    rest = ((0, 0),) * (mask.ndim - 2)
    return np.pad(middle, (*missing, *rest), mode="constant", constant_values=fill)


def with_ignore_index(labels: LabelSpace) -> LabelSpace:
    """`labels`, given an ignore index if it has none: 255, or the first free id above all others.

    Pixels that padding or a rotation adds must be ignored: nobody judged them.
    """
    if labels.ignore_index is not None:
        return labels
    taken = known_ids(labels)
    free = max(taken) + 1 if _USUAL_IGNORE_INDEX in taken else _USUAL_IGNORE_INDEX
    return dataclasses.replace(labels, ignore_index=free)


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.dtype == np.uint8 and image.shape[-1] == 3:
        return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    # Band by band: Pillow would take a fourth for transparency, and has no image of five.
    resized = np.empty((*size, image.shape[-1]), image.dtype)
    for band in range(image.shape[-1]):
        one = Image.fromarray(np.ascontiguousarray(image[..., band]))
        resized[..., band] = one.resize(size[::-1], Image.Resampling.BILINEAR)
    return resized


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

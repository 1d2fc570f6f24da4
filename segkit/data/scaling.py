"""Values of image files -> what models see: bytes as they are, or float32 in [0, 1]."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from segkit.contract import is_number
from segkit.data.places import Place

_UINT16_MAX = 65_535
_LARGEST = 1e38  # float32 holds three times as much
_TOLERANCE = 1e-6  # of values that were computed to lie in [0, 1]


def to_unit(image: np.ndarray, value_range: Sequence | None, path: Place | str) -> np.ndarray:
    """Scales an image so that 0 and 1 (or the bytes 0 and 255) are its darkest and brightest.

    Args:
        image: (H, W, K) of uint8, uint16 or float32, as `read_image` gives it.
        value_range: (low, high), the values that become 0 and 1, in the numbers of the file;
            what lies outside is clipped. Or one such pair a channel. None: bytes stay bytes,
            uint16 is divided by 65535, and float32 must already lie in [0, 1].
        path: named in errors.

    Returns:
        uint8 or float32 in [0, 1], (H, W, K).

    Raises:
        ValueError: if `value_range` is no such pair, or floats lie outside [0, 1] without one.
    """
    if value_range is not None:
        low, high = _bounds(value_range, image.shape[-1], path)
        scaled = (image.astype("float32") - low) / (high - low)
        return np.clip(scaled, 0, 1, out=scaled)
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return np.divide(image, np.float32(_UINT16_MAX), dtype=np.float32)
    low, high = float(image.min()), float(image.max())
    if not -_TOLERANCE <= low <= high <= 1 + _TOLERANCE:
        raise ValueError(
            f"{path} must hold values in [0, 1], as floats do here. Received: {low:g} to {high:g}. "
            "Say which values are to become 0 and 1: data.value_range=[low, high]."
        )
    return image if 0 <= low and high <= 1 else np.clip(image, 0, 1)


def _bounds(
    value_range: Sequence, channels: int, path: Place | str
) -> tuple[np.ndarray, np.ndarray]:
    """float32 (K,) or (1,): the values that become 0, and those that become 1."""
    try:
        pairs = [value_range] if is_number(value_range[0]) else list(value_range)
        right = all(len(pair) == 2 and all(_fits(v) for v in pair) for pair in pairs)
        right = right and all(np.float32(low) < np.float32(high) for low, high in pairs)
    except (TypeError, IndexError, KeyError):
        pairs, right = [], False
    if not right:
        raise ValueError(
            "value_range must be a pair [low, high] of finite numbers with low < high, or one "
            f"such pair a channel, or null. Received: {value_range!r}."
        )
    if len(pairs) not in (1, channels):
        raise ValueError(
            f"value_range must list one pair [low, high] for each of the {channels} channels of "
            f"{path}, or one for all. Received: {len(pairs)} pairs."
        )
    low, high = np.array(pairs, "float32").T
    return low, high


def _fits(value: object) -> bool:
    return is_number(value) and abs(value) < _LARGEST

"""How far what a file gives is from what Keras gives."""

from __future__ import annotations

from typing import Callable, Sequence

import numpy as np

SIZE = 256  # pixels, the longest edge that is compared
BATCHES = (1, 2)

Run = Callable[[np.ndarray], np.ndarray]


def batches(
    images: Sequence[np.ndarray],
    size: tuple[int, int] | None = None,
    batch: int | None = None,
) -> list[np.ndarray]:
    """Batches to compare on: two sizes, one of them odd, by two numbers of images.

    Args:
        images: at least one, uint8 or float32 in [0, 1], (H, W, K); too large ones are cut, too
            small ones continue from their other edge.
        size: (height, width), if the file takes no other.
        batch: number of images, if the file takes no other.

    Returns:
        arrays (B, H, W, K), float32 in [0, 1].
    """
    height, width = (min(edge, SIZE) for edge in images[0].shape[:2])
    sizes = [size] if size else [(height, width), ((3 * height // 4) | 1, (3 * width // 4) | 1)]
    counts = [batch] if batch else BATCHES
    return [
        np.stack([_cut(images[i % len(images)], shape) for i in range(count)])
        for shape in sizes
        for count in counts
    ]


def noise(channels: int, count: int = 2) -> list[np.ndarray]:
    """Random images, float32 (SIZE, SIZE, channels), for those who have no others."""
    random = np.random.default_rng(0)
    return [random.random((SIZE, SIZE, channels), "float32") for _ in range(count)]


def largest_difference(expected: Run, found: Run, images: Sequence[np.ndarray]) -> float:
    """The largest absolute difference of two functions over batches of images.

    Raises:
        ValueError: if shapes or types differ, or the second gives what is no number.
    """
    largest = 0.0
    for batch in images:
        one, other = expected(batch), found(batch)
        if one.shape != other.shape or other.dtype != np.float32:
            raise ValueError(
                f"For images {batch.shape} it should give float32 {one.shape}. Received: "
                f"{other.dtype} {other.shape}."
            )
        difference = float(np.abs(one - other).max())
        if not np.isfinite(difference):
            raise ValueError(f"For images {batch.shape} it gives values that are no numbers.")
        largest = max(largest, difference)
    return largest


def _cut(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.arange(new) % old for new, old in zip(size, image.shape))
    cut = image[rows][:, columns]
    return np.float32(cut) / np.float32(255) if cut.dtype == np.uint8 else np.float32(cut)

"""Randomness with an address: every draw belongs to (seed, purpose, index) and to nothing else."""

from __future__ import annotations

import operator
import zlib
from typing import Any, Callable, Mapping, TypeVar

import numpy as np

Made = TypeVar("Made")


def generator(seed: int, *address: int | str) -> np.random.Generator:
    """The random generator of one address, the same in every process and in any order of access.

    Args:
        seed: whole number from 0 on.
        address: names and indices that tell this stream from all others of the same seed.
    """
    # Names come first and are never 0: SeedSequence takes [1, 2] and [1, 2, 0] for the same.
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in address]
    words = [seed, *words]
    # The same stream either way; an array saves SeedSequence the walk through a list.
    return np.random.default_rng(np.array(words, np.uint32) if max(words) < 2**32 else words)


def position(index: int, count: int, what: str) -> int:
    """`index` counted from the start, as lists do it: -1 is the last one.

    Raises:
        IndexError: if it lies outside; this also ends a `for` loop over a source.
    """
    try:
        return range(count)[operator.index(index)]
    except IndexError:
        raise IndexError(f"{what} has {count} images. Received: index {index}.") from None


def each_split(
    make: Callable[..., Made], sizes: Mapping[str, int], **options: Any
) -> dict[str, Made]:
    """What `make(count, split=name, **options)` returns, by the name of each split.

    Raises:
        ValueError: if `sizes` is no mapping.
    """
    if not isinstance(sizes, Mapping):
        raise ValueError(
            f"sizes maps the name of a split to its number of scenes. Received: {sizes!r}. "
            'For example {"train": 1000, "val": 200}.'
        )
    return {name: make(count, split=name, **options) for name, count in sizes.items()}

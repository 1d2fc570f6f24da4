"""Drawing images for splits, group by group: evenly, or by chance."""

from __future__ import annotations

import hashlib
from typing import Mapping, Sequence

import numpy as np

from segkit.data.places import composed
from segkit.data.splitting import stratification


def units_of(
    pool: Sequence[int], groups: Sequence[str], keys: Sequence[str]
) -> dict[str, list[int]]:
    """What is drawn as one: groups, and several of them where a shared file ties them together.

    Args:
        pool: indices of the images that are drawn from.
        groups: the group of each image.
        keys: hash of the content of each image file; "" if unknown.

    Returns:
        {name of the first group: its images, and those of groups that are tied to it}.
    """
    above: dict[str, str] = {}  # the group by way of which a group is tied to others

    def top(group: str) -> str:
        while above[group] != group:
            above[group] = group = above[above[group]]
        return group

    holder: dict[str, str] = {}
    for i in pool:
        above.setdefault(groups[i], groups[i])
        if keys[i]:
            one, other = top(groups[i]), top(holder.setdefault(keys[i], groups[i]))
            above[max(one, other)] = min(one, other)
    units: dict[str, list[int]] = {}
    for i in pool:
        units.setdefault(top(groups[i]), []).append(i)
    return units


def stratified(
    units: Mapping[str, Sequence[int]],
    present: np.ndarray,
    annotated: np.ndarray,
    drawn: Mapping[str, float],
    seed: int,
) -> dict[str, list[int]]:
    """Draws splits so that each class gets its share in each of them; see `stratification`.

    Args:
        units: {name: indices of the images} of what is not divided; more than there are splits.
        present: bool (N, C), the classes that are annotated and that the mask shows.
        annotated: bool (N, C), the classes that somebody looked for.
        drawn: {split: share of the images}; train has the rest.
        seed: of the draw.

    Returns:
        Indices of the images of each split but train.
    """
    ordered = [units[name] for name in sorted(units, key=lambda n: digest(f"split:{seed}", n))]
    sizes = np.array([len(unit) for unit in ordered])
    # Sums over runs of rows: the images of a unit lie one behind the other.
    rows, starts = np.concatenate(ordered), np.cumsum(sizes) - sizes
    tables = (np.add.reduceat(t[rows].astype(int), starts) for t in (present, annotated))
    shares = np.array([1 - sum(drawn.values()), *drawn.values()])
    homes = stratification.stratified(sizes, *tables, shares)
    return {
        split: [i for unit, home in zip(ordered, homes) if home == k for i in unit]
        for k, split in enumerate(drawn, start=1)
    }


def by_hash(
    units: Mapping[str, Sequence[int]], drawn: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Draws splits by chance: units in the order of their hashes, up to the share of each split.

    Args:
        units, drawn, seed: see `stratified`.

    Returns:
        Indices of the images of each split but train.
    """
    images, rest = sum(map(len, units.values())), dict(units)
    found: dict[str, list[int]] = {}
    for position, (split, share) in enumerate(drawn.items(), start=1):
        found[split] = []
        target, spare = round(share * images), len(drawn) - position + 1  # for later and train
        for name in sorted(rest, key=lambda n: digest(f"{split}:{seed}", n)):
            near = len(found[split]) + len(rest[name]) / 2 <= target
            if len(rest) <= spare or (found[split] and not near):
                break
            found[split] += rest.pop(name)
    return found


def digest(salt: str, name: str) -> bytes:
    """A number that hangs on both texts alone, to order names by."""
    # Names of files need not be UTF-8 on Linux.
    return hashlib.sha256(f"{salt}:{composed(name)}".encode("utf-8", "surrogateescape")).digest()

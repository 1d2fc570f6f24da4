"""Sharing units out among splits so that each class gets its share in each of them."""

from __future__ import annotations

import numpy as np

_MOST_MOVED = 512  # units that are tried in another split; with more, a share is met anyway
_MOST_SWAPPED = 64  # units that are tried in each other's place
_MOST_STEPS = 300
_EVEN = 0.02  # of unevenness, about 7 % off each share: good enough, so that seeds differ
_DIGITS = 9  # of unevenness: what differs less is a matter of rounding


def stratified(
    sizes: np.ndarray, present: np.ndarray, annotated: np.ndarray, shares: np.ndarray
) -> np.ndarray:
    """Assigns units (images, or groups of them) to splits.

    Iterative stratification (Sechidis et al. 2011) over "class c is annotated and present" and
    "class c is annotated", by numbers of images. It leaves few, large units uneven, so units are
    then moved and swapped, one step at a time, until no step helps or all is well: no split is
    empty; none is further from its share than the largest unit is large; each class is in the
    first split, then in the others; and last, the shares of images and labels are even.

    Args:
        sizes: int (U,), images of each unit, from 1 on. The order breaks ties.
        present: int (U, C), images of each unit in which the class is annotated and present.
        annotated: int (U, C), images of each unit in which the class is annotated.
        shares: float (K,), of the images, for each split; the sum is 1. K <= U.

    Returns:
        int (U,), the split of each unit.
    """
    used = present.any(0), annotated.any(0)
    labels = np.concatenate([present[:, used[0]], annotated[:, used[1]]], 1)
    homes = _iterative(sizes, labels, shares)
    return _Balance(sizes, labels, int(used[0].sum()), shares).improved(homes)


def _iterative(sizes: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    wanted_labels = np.outer(shares, labels.sum(0))  # how many images each split still wants
    wanted = (shares * sizes.sum()).tolist()
    homes = np.full(len(sizes), -1)
    left = labels.astype("int64").sum(0)
    # Units without any label come last, led by the sizes alone.
    while (homes < 0).any():
        label = int(np.where(left > 0, left, left.max() + 1).argmin()) if left.any() else None
        counts = sizes if label is None else labels[:, label]
        units = np.flatnonzero((homes < 0) & (counts > 0))
        for unit in units.tolist():
            key = wanted if label is None else wanted_labels[:, label].tolist()
            # A split that is full takes nothing more: it overflows by less than one unit.
            open_ = [k for k, images in enumerate(wanted) if images > 0] or range(len(wanted))
            home = max(open_, key=lambda k: (round(key[k], _DIGITS), round(wanted[k], _DIGITS)))
            homes[unit] = home
            wanted[home] -= int(sizes[unit])
            wanted_labels[home] -= labels[unit]
            left = left - labels[unit]
    return homes


class _Balance:
    """What is wrong with a way of sharing out, and how to better it unit by unit."""

    def __init__(self, sizes: np.ndarray, labels: np.ndarray, classes: int, shares: np.ndarray):
        ones = np.ones_like(sizes)
        self._counts = np.column_stack([ones, sizes, labels]).astype("int64")  # (U, 2 + L)
        self._classes, self._shares = classes, shares
        self._totals = self._counts.sum(0)
        self._largest = sizes.max()
        rarity = np.where(labels > 0, labels.sum(0), self._totals[1] + 1)
        rarest = rarity.min(1) if labels.shape[1] else sizes
        self._moved = np.argsort(rarest, kind="stable")[:_MOST_MOVED]

    def improved(self, homes: np.ndarray) -> np.ndarray:
        """`homes` after the best moves and swaps."""
        splits = np.arange(len(self._shares))
        sums = np.array([self._counts[homes == k].sum(0) for k in splits])
        units, targets = (a.ravel() for a in np.meshgrid(self._moved, splits, indexing="ij"))
        ones, others = np.triu_indices(min(len(homes), _MOST_SWAPPED), 1)
        if len(homes) > _MOST_SWAPPED:
            ones = others = ones[:0]
        for _ in range(_MOST_STEPS):
            *faults, uneven = self._faults(sums[None])[0]
            if not any(faults) and uneven <= _EVEN:
                break
            moves = self._after(sums, self._counts[units], homes[units], targets)
            exchanged = self._counts[ones] - self._counts[others]
            swaps = self._after(sums, exchanged, homes[ones], homes[others])
            tried = np.concatenate([sums[None], moves, swaps])
            best = int(np.lexsort(self._faults(tried).T[::-1])[0])  # the first of equals
            if best == 0:
                break
            if best <= len(units):
                homes[units[best - 1]] = targets[best - 1]
            else:
                pair = [ones[best - 1 - len(units)], others[best - 1 - len(units)]]
                homes[pair] = homes[pair[::-1]]
            sums = tried[best]
        return homes

    def _after(
        self, sums: np.ndarray, moved: np.ndarray, sources: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """The sums (T, K, 2 + L) of each trial: `moved` (T, 2 + L) goes from source to target."""
        splits = np.arange(len(sums))
        sign = (targets[:, None] == splits).astype(int) - (sources[:, None] == splits)
        return sums + sign[..., None] * moved[:, None]

    def _faults(self, sums: np.ndarray) -> np.ndarray:
        """(T, ...), the worst first: to be compared from left to right."""
        empty = (sums[..., 0] == 0).sum(1)
        off = np.abs(sums[..., 1] - self._shares * self._totals[1])
        excess = np.maximum(off - self._largest, 0).sum(1).round(_DIGITS)
        missing = sums[..., 2:] == 0
        parts = missing[..., : self._classes].sum(-1), missing[..., self._classes :].sum(-1)
        deviation = ((sums / self._totals - self._shares[:, None]) ** 2).sum(1)  # (T, 2 + L)
        uneven = deviation[:, 1]
        if deviation.shape[1] > 2:
            uneven = uneven + deviation[:, 2:].mean(1)
        return np.column_stack([empty, excess, *parts, uneven.round(_DIGITS)])

"""Statistics over repeated runs: intervals of means, tests of paired differences, corrected p."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy import special  # not scipy.stats, which takes a second to import

MOST_FLIPPED = 20  # pairs; their 2^n signs are all tried, and beyond it the t test does


@dataclass(frozen=True)
class Interval:
    """A mean over n runs with its interval; `low` and `high` are None where n < 2."""

    mean: float | None
    low: float | None
    high: float | None
    n: int

    @property
    def half(self) -> float | None:
        """Half the width: what stands behind the plus-minus."""
        return None if self.low is None else (self.high - self.low) / 2


@dataclass(frozen=True)
class Paired:
    """What n paired differences tell.

    difference: their mean and its interval.
    p: two-sided, of the paired t test; None with fewer than 2 pairs, or where all differences are
        the same number, which leaves nothing to estimate the noise from.
    exact: two-sided, of the sign-flip permutation test; None without pairs or with too many.
    """

    difference: Interval
    p: float | None
    exact: float | None


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """The mean of a few runs and Student's interval for it.

        mean +- t(n - 1, (1 + level) / 2) * s / sqrt(n),  s^2 = sum((x - mean)^2) / (n - 1)

    It covers the mean of the runs that one could make with other seeds, if those scatter about
    normally; it knows nothing of other data.

    Args:
        values: one a run, (n,), finite.
        level: of confidence, above 0 and below 1.
    """
    x = np.asarray(values, "float64")
    if not len(x):
        return Interval(None, None, None, 0)
    mean = float(x.mean())
    if len(x) < 2:
        return Interval(mean, None, None, len(x))
    quantile = float(special.stdtrit(len(x) - 1, (1 + level) / 2))
    half = quantile * float(x.std(ddof=1)) / math.sqrt(len(x))
    return Interval(mean, mean - half, mean + half, len(x))


def paired(differences: Sequence[float], level: float = 0.95) -> Paired:
    """Tests whether the mean of paired differences is 0.

        t = mean / (s / sqrt(n)), p = 2 P(T(n - 1) > |t|)

    Args:
        differences: score of one run less that of its partner, (n,), finite.
        level: of the interval, above 0 and below 1.
    """
    x = np.asarray(differences, "float64")
    found = interval(x, level)
    exact = sign_flips(x) if 0 < len(x) <= MOST_FLIPPED else None
    spread = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    if spread <= 1e-12 * np.abs(x).max(initial=0):
        return Paired(found, None, exact)
    t = found.mean / (spread / math.sqrt(len(x)))
    return Paired(found, float(2 * special.stdtr(len(x) - 1, -abs(t))), exact)


def sign_flips(differences: Sequence[float]) -> float:
    """The exact p of the paired permutation test: the share of all 2^n ways to give the
    differences signs in which the sum is at least as far from 0 as it was found to be.

    It needs no normal scatter, and with n pairs never falls below 2 / 2^n.

    Args:
        differences: (n,), with 1 <= n <= 20.

    Raises:
        ValueError: if there are fewer or more.

    Ref: Fisher 1935, The Design of Experiments, section 21.
    """
    x = np.asarray(differences, "float64")
    if not 1 <= len(x) <= MOST_FLIPPED:
        raise ValueError(f"All signs are tried for 1 to {MOST_FLIPPED} pairs. Received: {len(x)}.")
    sums = np.zeros(1)
    for value in x:
        sums = np.concatenate([sums - value, sums + value])
    # Sums of the same numbers in another order may differ in the last digit.
    least = abs(x.sum()) - 1e-9 * np.abs(x).sum()
    return float(np.mean(np.abs(sums) >= least))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for how many there are, in the order given; None stays, and counts not.

        sorted p_(1) <= ... <= p_(m): corrected p_(i) = max over j <= i of min(1, (m - j + 1) p_(j))

    Ref: Holm 1979, Scandinavian Journal of Statistics 6, 65.
    """
    there = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, at) in enumerate(there):
        largest = max(largest, min(1.0, (len(there) - rank) * p))
        corrected[at] = largest
    return corrected

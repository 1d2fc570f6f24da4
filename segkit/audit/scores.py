"""From what was found in each cell to the probability that its annotation is missing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from segkit.audit.evidence import Cell
from segkit.audit.regions import Found

_EDGE = 1e-4  # strengths are kept so far from 0 and 1
_ROUNDS = 20  # of slope and probabilities by turns
_PRIOR = 5.0  # cells that the share of all groups counts for, beside those of a group
_MOST = 20_000  # cells that a slope is found on
_ALONE = 30  # drawn cells, and mixed ones, from which on a class has its own slope
_QUANTILES = (0.25, 0.5)  # of the positives, beyond which hardly anything else lies


@dataclass(frozen=True)
class Reference:
    """What is known of a class from the images in which it is drawn.

    images: how many these are.
    area: pixels of its largest region, the median: what counts as a whole object.
    strengths: of what would be found had it not been drawn, see `strength`.
    """

    images: int
    area: float
    strengths: np.ndarray

    @property
    def found(self) -> float:
        """The median strength: near 0, the model hardly finds the class, and can tell little."""
        return float(np.median(self.strengths))


def strength(found: Found, area: float) -> float:
    """How much like an object of the class it looks, from 0 to 1.

        s = max over x of (G * p)(x),  the width of G an eighth of the radius of a whole object

    with G a Gaussian: the probability at its most probable place, averaged over a part of an
    object that thin ones have, too. Certain pixels here and there count as little as a large faint
    cloud.

    Args:
        found: with the peaks of p at some widths, of which the nearest is taken.
        area: of a whole object, in pixels.
    """
    width = math.sqrt(max(area, 1.0) / math.pi) / 8
    nearest = round(math.log2(max(width, 1.0)))
    return min(1.0, found.peaks[min(nearest, len(found.peaks) - 1)])


def references(cells: Sequence[Cell], classes: int) -> list[Reference | None]:
    """Of each class, (C,); None where it is drawn nowhere, and nothing can be said of it."""
    drawn: list[list[Cell]] = [[] for _ in range(classes)]
    for cell in cells:
        if cell.as_if is not None:
            drawn[cell.id].append(cell)
    found: list[Reference | None] = []
    for mine in drawn:
        if not mine:
            found.append(None)
            continue
        area = float(np.median([cell.area for cell in mine]))
        strengths = np.array([strength(cell.as_if, area) for cell in mine])
        found.append(Reference(len(mine), area, strengths))
    return found


def probabilities(
    strengths: np.ndarray,
    groups: np.ndarray,
    classes: np.ndarray,
    references: Sequence[Reference | None],
) -> np.ndarray:
    """The probability that what was found is an object that nobody outlined, (N,).

    Cells in which a class is drawn show what would have been found had it not been: those are the
    positives. The others are a mixture of cells in which it is absent and ones in which it was
    missed. With z = logit(s) less the median of the positives of the class,

        P(missed | z) = sigmoid(a + b z), with mean P = the share of the missed in the group

    The slope b >= 0 is that of a logistic regression between the positives and the rest of the
    mixture, and found with P by turns; classes with few cells share one. The share is what the
    mixture holds beyond quantiles of the positives, over what these hold there. In a group, the
    order is that of s.

    Args:
        strengths: of the mixed cells, (N,).
        groups: whole numbers from 0 on, (N,): cells with one share of missed ones.
        classes: ids of their classes, (N,).
        references: of each class, (C,). Where there is none, the result is NaN.

    Ref: Elkan and Noto 2008, Learning classifiers from only positive and unlabeled data. Differs:
    each group has its share of positives, which is read off the upper end of the strengths.
    """
    result = np.full(len(strengths), np.nan)
    zs = [None if r is None else _z(r.strengths) for r in references]
    centres = np.array([0.0 if z is None else np.median(z) for z in zs])
    counts = np.bincount(classes, minlength=len(references))
    known = [c for c, z in enumerate(zs) if z is not None and counts[c]]
    alone = [c for c in known if min(len(zs[c]), counts[c]) >= _ALONE]
    others = [c for c in known if c not in alone]
    for together in [[c] for c in alone] + [others] * bool(others):
        # Where classes have few cells, all that are known lend them their slope.
        lent = known if together is others else together
        positive = np.concatenate([zs[c] - centres[c] for c in lent])
        here = np.isin(classes, lent)
        mixed = _z(strengths[here]) - centres[classes[here]]
        _, group = np.unique(groups[here], return_inverse=True)
        wanted = np.isin(classes[here], together)
        result[np.flatnonzero(here)[wanted]] = _expected(positive, mixed, group)[wanted]
    return result


def _expected(positive: np.ndarray, mixed: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The probability that each of the mixed is one of the positives."""
    overall = _share(positive, mixed, 0.0)
    shares = np.array([_share(positive, mixed[group == g], overall) for g in range(max(group) + 1)])
    scale = max(float(np.std(np.concatenate([positive, mixed]))), 1e-6)
    few, some = _some(len(positive)), _some(len(mixed))  # that the slope is found on
    x = np.concatenate([positive[few], mixed[some], mixed[some]])[:, None] / scale
    y = np.repeat([1, 1, 0], [len(few), len(some), len(some)])
    weight = len(some) / len(few)  # the positives count as much as the mixed
    missed = np.where(mixed >= np.quantile(positive, _QUANTILES[0]), 0.9, 0.05)
    for _ in range(_ROUNDS):
        weights = np.concatenate([np.full(len(few), weight), missed[some], 1 - missed[some]])
        slope = LogisticRegression(C=1.0).fit(x, y, weights + 1e-9).coef_[0, 0] / scale
        odds = max(float(slope), 0.0) * mixed
        before = missed
        missed = np.empty_like(before)
        for g, share in enumerate(shares):
            missed[group == g] = _with_mean(odds[group == g], share)
        if np.abs(missed - before).max() < 1e-4:
            break
    return missed


def _some(count: int) -> np.ndarray:
    """Indices of at most `_MOST` of so many, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, _MOST)).astype(int))


def _share(positive: np.ndarray, mixed: np.ndarray, overall: float) -> float:
    """The share of positives among the mixed, drawn towards `overall` where these are few.

    Hardly anything else is as strong as the stronger ones of the positives. So it is at most the
    part of the mixed beyond a quantile of the positives over the part of the positives there.
    """
    bounds = []
    for level in _QUANTILES:
        edge = np.quantile(positive, level)
        bounds.append((mixed >= edge).mean() / (positive >= edge).mean())
    count = len(mixed) + _PRIOR * (overall > 0)
    share = (min(bounds) * len(mixed) + _PRIOR * overall) / count
    return float(np.clip(share, 0.25 / count, 0.98))


def _with_mean(odds: np.ndarray, mean: float) -> np.ndarray:
    """sigmoid(odds + a), with the a that gives it this mean."""
    low, high = -odds.max() - 40, -odds.min() + 40
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(odds + middle).mean() < mean else (low, middle)
    return expit(odds + (low + high) / 2)


def _z(strengths: np.ndarray) -> np.ndarray:
    return logit(np.clip(strengths, _EDGE, 1 - _EDGE))

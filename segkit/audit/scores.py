"""From what was found in each cell to the probability that its annotation is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from segkit.audit.evidence import Cell
from segkit.audit.regions import Found

_EDGE = 1e-4  # strengths are kept so far from 0 and 1
_ROUNDS = 30  # of expectation and maximisation
_PRIOR = 5.0  # cells that the share of all groups counts for, beside those of a group


@dataclass(frozen=True)
class Reference:
    """What is known of a class from the images in which it is drawn.

    images: how many these are.
    area: pixels of its largest region, half the median: what counts as a whole object.
    strengths: of what would be found had it not been drawn, see `strength`.
    """

    images: int
    area: float
    strengths: np.ndarray


def strength(found: Found, area: float) -> float:
    """How much like an object of the class it looks, from 0 to 1.

        s = mean p in the region x min(1, sum of p in the region / area)

    The region is that with the largest sum; `area` is that of a whole object.
    """
    return found.confidence * min(1.0, found.mass / max(area, 1.0))


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
        area = float(np.median([cell.area for cell in mine])) / 2
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

        P(missed | z) = sigmoid(a + b z + logit(share of the missed in the group)),  b >= 0

    where a + b z, the logarithm of how much likelier z is where there is an object, and the
    shares follow from expectation and maximisation. In a group, the order is that of s.

    Args:
        strengths: of the mixed cells, (N,).
        groups: whole numbers from 0 on, (N,): cells with one share of missed ones.
        classes: ids of their classes, (N,).
        references: of each class, (C,). Where there is none, the result is NaN.

    Ref: Elkan and Noto 2008, Learning classifiers from only positive and unlabeled data. Differs:
    the share of positives is not one for all, and is estimated with the classifier.
    """
    usable = np.array([references[c] is not None for c in classes], bool)
    result = np.full(len(strengths), np.nan)
    if not usable.any():
        return result
    centres = [0.0 if r is None else float(np.median(_z(r.strengths))) for r in references]
    positive = np.concatenate(
        [_z(r.strengths) - m for r, m in zip(references, centres) if r is not None]
    )
    mixed = _z(strengths[usable]) - np.array(centres)[classes[usable]]
    _, group = np.unique(groups[usable], return_inverse=True)
    result[usable] = _expected(positive, mixed, group)
    return result


def _expected(positive: np.ndarray, mixed: np.ndarray, group: np.ndarray) -> np.ndarray:
    """The probability that each of the mixed is one of the positives."""
    # As many as lie above the median of the positives, twice, are likely to be some.
    missed = (mixed >= np.median(positive)).astype(float)
    share = float(np.clip(2 * missed.mean(), 0.02, 0.9))
    missed = np.where(missed > 0, 0.9, np.clip(share / 2, 0.01, 0.5))
    sizes = np.bincount(group)
    weight = len(mixed) / len(positive)  # the positives count as much as the mixed
    x = np.concatenate([positive, mixed, mixed])[:, None]
    y = np.repeat([1, 1, 0], [len(positive), len(mixed), len(mixed)])
    for _ in range(_ROUNDS):
        weights = np.concatenate([np.full(len(positive), weight), missed, 1 - missed])
        fitted = LogisticRegression(C=1.0).fit(x, y, weights + 1e-9)
        slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
        prior = np.log(weights[y == 1].sum()) - np.log(weights[y == 0].sum() + 1e-9)
        odds = np.maximum(slope, 0) * mixed + (offset - prior if slope > 0 else 0)
        overall = missed.mean()
        shares = (np.bincount(group, missed) + _PRIOR * overall) / (sizes + _PRIOR)
        before = missed
        missed = expit(odds + logit(np.clip(shares[group], 1e-4, 1 - 1e-4)))
        if np.abs(missed - before).max() < 1e-4:
            break
    return missed


def _z(strengths: np.ndarray) -> np.ndarray:
    return logit(np.clip(strengths, _EDGE, 1 - _EDGE))

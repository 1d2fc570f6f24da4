"""How far scores would move had other images of the same kind been annotated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterator, Sequence

import numpy as np

from segkit.contract import is_number, shape_text, whole_number
from segkit.metrics.counts import number_or_none, ratio

_AT_ONCE = 1 << 23  # numbers drawn at a time, 64 MiB
_LEAST = 2  # images or groups; of a single one, every sample is the same


@dataclass(frozen=True)
class Intervals:
    """Intervals [low, high] of scores over known cells; NaN where there is too little evidence.

    iou, dice: float64 (2, C).
    mean_iou, mean_dice: float64 (2,), of the means over the classes that have a score.
    units: images (or groups) that say anything about each class, int64 (C,).
    level: how much of the samples lies inside.
    """

    iou: np.ndarray
    dice: np.ndarray
    mean_iou: np.ndarray
    mean_dice: np.ndarray
    units: np.ndarray
    level: float

    def to_dict(self) -> dict[str, Any]:
        """`mean_iou_interval`, `mean_dice_interval`, and in the order of the classes
        `iou_intervals` and `dice_intervals`; each [low, high], None where there is none."""
        pairs = {
            "iou_intervals": [_pair(column) for column in self.iou.T],
            "dice_intervals": [_pair(column) for column in self.dice.T],
        }
        means = {"mean_iou_interval": self.mean_iou, "mean_dice_interval": self.mean_dice}
        return {"level": self.level, **{k: _pair(v) for k, v in means.items()}, **pairs}


def bootstrap(
    true_positives: np.ndarray,
    false_positives: np.ndarray,
    false_negatives: np.ndarray,
    known: np.ndarray,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[Any] | None = None,
) -> Intervals:
    """Percentile bootstrap intervals of IoU and Dice, drawing whole images.

    Each of n samples draws N of the N images with replacement, and pixels are summed over the
    drawn images before the division, as in `Counts`. An interval runs from the (1 - level) / 2 to
    the (1 + level) / 2 quantile of the samples in which the class has a score.

    Args:
        true_positives, false_positives, false_negatives, known: per image, (N, C), of
            `cell_counts`. Cells that are not known do not count.
        n: samples, from 1 on.
        seed: whole number from 0 on.
        level: inside (0, 1).
        groups: what each image belongs to, (N,), say the patient; whole groups are then drawn,
            since images of one group are alike.

    Raises:
        ValueError: if the shapes do not fit, there is no image, or n, seed or level is no such
            number.

    Ref: Efron, Tibshirani 1993, An Introduction to the Bootstrap, chapter 13. Images are the units
    and not pixels, which are far from independent. With few units the intervals are too narrow.
    """
    parts = [np.asarray(part) for part in (true_positives, false_positives, false_negatives)]
    known = np.asarray(known, bool)
    _check(parts, known, groups)
    n, seed = whole_number("n", n, 1), whole_number("seed", seed)
    if not is_number(level) or not 0 < level < 1:
        raise ValueError(f"level must be a number between 0 and 1. Received: {level!r}.")
    owner = np.arange(len(known))
    if groups is not None:
        owner = np.unique([str(group) for group in groups], return_inverse=True)[1]
    count = int(owner.max()) + 1
    # (3, G, C): summed over the images of a group, exact in float64 up to 2^53 pixels.
    sums = np.zeros((3, count, known.shape[1]))
    for total, part in zip(sums, parts):
        np.add.at(total, owner, np.where(known, part, 0))
    units = (sums.sum(0) > 0).sum(0)
    iou, dice = _samples(sums, n, np.random.default_rng(seed))
    enough = np.where(units >= _LEAST, 1.0, np.nan)
    any_enough = np.where((sums.sum((0, 2)) > 0).sum() >= _LEAST, 1.0, np.nan)
    limits = np.array([(1 - level) / 2, (1 + level) / 2])
    return Intervals(
        _quantiles(iou, limits) * enough,
        _quantiles(dice, limits) * enough,
        *(_quantiles(_means(s)[:, None], limits)[:, 0] * any_enough for s in (iou, dice)),
        units,
        float(level),
    )


def drawn_sums(
    images: np.ndarray, n: int, seed: int, groups: Sequence[Any] | None = None
) -> np.ndarray:
    """Sums over n samples of images, or of whole groups: (N, K) of each image -> (n, K).

    The samples are those of `bootstrap`. NaN with fewer than two images or groups that are not 0
    throughout: what is drawn would be the same each time.
    """
    owner = np.arange(len(images))
    if groups is not None:
        owner = np.unique([str(group) for group in groups], return_inverse=True)[1]
    count = int(owner.max(initial=-1)) + 1
    sums = np.zeros((count, images.shape[1]))
    np.add.at(sums, owner, images)
    if np.nan_to_num(sums).any(axis=1).sum() < _LEAST:
        return np.full((n, images.shape[1]), np.nan)
    random = np.random.default_rng(seed)
    return np.concatenate([times @ sums for times in _times(count, n, random)])


def quantile_pairs(values: np.ndarray, level: float) -> list[list[float | None]]:
    """[low, high] of each column of (n, K), among its numbers; None of a column without any."""
    limits = np.array([(1 - level) / 2, (1 + level) / 2])
    return [_pair(column) for column in _quantiles(values, limits).T]


def _times(count: int, n: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each of `count` units is in each of n samples, float64 (rows, count) at a time."""
    step = max(_AT_ONCE // count, 1)
    for start in range(0, n, step):
        rows = min(step, n - start)
        drawn = random.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        yield times.astype("float64")


def _samples(sums: np.ndarray, n: int, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """IoU and Dice of each class in n samples, (n, C) each."""
    scores = []
    for times in _times(sums.shape[1], n, random):
        right, wrong, missed = times @ sums
        union = right + wrong + missed
        scores.append((ratio(right, union), ratio(2 * right, union + right)))
    iou, dice = (np.concatenate(parts) for parts in zip(*scores))
    return iou, dice


def _means(scores: np.ndarray) -> np.ndarray:
    """The mean over the classes that have a score in any sample, (n,).

    NaN for a sample that lost one of them: a mean over other classes would be another quantity.
    """
    has = ~np.isnan(scores)
    whole = has[:, has.any(0)].all(1) & has.any(1)
    return np.where(whole, ratio(np.where(has, scores, 0).sum(1), has.sum(1)), np.nan)


def _quantiles(values: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """The quantiles of each column among its numbers, (2, C); NaN of a column without any."""
    columns = [column[~np.isnan(column)] for column in values.T]
    pairs = [np.quantile(c, limits) if len(c) else np.full(2, np.nan) for c in columns]
    return np.array(pairs).reshape(-1, 2).T


def _check(parts: list[np.ndarray], known: np.ndarray, groups: Sequence[Any] | None) -> None:
    if known.ndim != 2 or any(part.shape != known.shape for part in parts):
        shapes = ", ".join(shape_text(part) for part in (*parts, known))
        raise ValueError(
            "metrics.bootstrap needs counts of one shape (N, C), one row an image. "
            f"Received: {shapes}."
        )
    if not len(known):
        raise ValueError("metrics.bootstrap draws from images. Received: none.")
    if groups is not None and len(groups) != len(known):
        raise ValueError(
            f"groups needs one entry an image, {len(known)} here. Received: {len(groups)}."
        )


def _pair(values: np.ndarray) -> list[float | None]:
    return [number_or_none(value) for value in values]

"""How far off predictions of ordered classes are: absolute error, quadratic weighted kappa."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any, Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN
from segkit.labels import LabelSpace
from segkit.metrics.counts import number_or_none, ratio
from segkit.metrics.intervals import drawn_sums, quantile_pairs
from segkit.ordered import decode

SCORES = ("mean_absolute_error", "quadratic_weighted_kappa", "mean_absolute_error_of_mean")


@dataclass(frozen=True)
class OrderedSums:
    """Sums over the pixels whose label is beyond doubt; all that the scores need.

    With v the value of the label and u that of the predicted class (both less the mean of all
    values, which changes no score): the number of pixels and the sums of v, v^2, u, u^2,
    (u - v)^2, |u - v|; and of |m - v|, with m the mean of the values under the predicted
    probabilities, NaN if these were not given. float64, each a number, or each (N,).
    """

    pixels: Any
    label: Any
    label_squared: Any
    predicted: Any
    predicted_squared: Any
    squared_error: Any
    absolute_error: Any
    absolute_error_of_mean: Any

    def __add__(self, other: OrderedSums) -> OrderedSums:
        return OrderedSums(*(a + b for a, b in zip(astuple(self), astuple(other))))

    @property
    def mean_absolute_error(self) -> Any:
        """sum |u - v| / pixels, in the unit of the values; NaN without pixels."""
        return ratio(self.absolute_error, self.pixels)

    @property
    def mean_absolute_error_of_mean(self) -> Any:
        """sum |m - v| / pixels, in the unit of the values; NaN without pixels."""
        return ratio(self.absolute_error_of_mean, self.pixels)

    @property
    def quadratic_weighted_kappa(self) -> Any:
        """1 - (observed squared difference) / (that expected by chance), at most 1.

            1 - sum_ij w_ij O_ij / sum_ij w_ij E_ij,  w_ij = (v_i - v_j)^2,  E_ij = r_i c_j / n

        with O the confusion, r and c the sums of its rows and columns, and n the pixels. NaN where
        label and prediction are one class throughout.

        Ref: Cohen 1968, doi:10.1037/h0026256. Differs: the weights are squared differences of the
        values, not of the ranks; for values at equal steps it is the same number.
        """
        products = self.label * self.predicted
        chance = self.label_squared + self.predicted_squared - 2 * ratio(products, self.pixels)
        # Of one class throughout, rounding may leave a little where nothing is.
        scale = np.where(self.pixels > 0, self.label_squared + self.predicted_squared, 0)
        there = chance > 1e-12 * scale
        return np.where(there, 1 - self.squared_error / np.where(there, chance, 1), np.nan)

    def to_dict(self) -> dict[str, Any]:
        """The scores by name and `pixels`; None where there is no evidence."""
        found = {key: number_or_none(getattr(self, key)) for key in SCORES}
        return {**found, "pixels": int(self.pixels)}


def sums_of_confusion(confusion: np.ndarray, values: Sequence[float]) -> OrderedSums:
    """Sums from the confusion alone, (C, C): rows = label, columns = prediction."""
    v = _centred(values)
    rows, columns, apart = confusion.sum(1), confusion.sum(0), v[:, None] - v
    return OrderedSums(
        float(rows.sum()),
        rows @ v,
        rows @ v**2,
        columns @ v,
        columns @ v**2,
        (confusion * apart**2).sum(),
        (confusion * abs(apart)).sum(),
        np.nan,
    )


def count_ordered(
    target: np.ndarray,
    confusion: np.ndarray,
    probabilities: np.ndarray,
    values: Sequence[float],
) -> OrderedSums:
    """Sums of a batch, with those of the mean of the values.

    Args:
        target: int8 (B, H, W, C) of the three states.
        confusion: of `count`, of the same batch.
        probabilities: (B, H, W, C).
        values: one a class, (C,).
    """
    sure = (target == LABELLED).any(-1) & (target != UNKNOWN).all(-1)
    means, _ = decode(probabilities[sure].astype("float64"), values)
    labels = np.asarray(values, "float64")[target[sure].argmax(-1)]
    found = astuple(sums_of_confusion(confusion, values))
    return OrderedSums(*found[:-1], np.abs(means - labels).sum())


def ordered_block(confusion: np.ndarray, labels: LabelSpace) -> dict[str, Any]:
    """What metrics.json says of ordered classes: the scores, and how far off each class is.

    "per_class": of the pixels of each class the mean of |u - v|, and that of u - v as `bias`.
    """
    v = np.asarray(labels.values, "float64")
    apart, pixels = v - v[:, None], confusion.sum(1)
    errors = {"mean_absolute_error": abs(apart), "bias": apart}
    means = {key: ratio((confusion * table).sum(1), pixels) for key, table in errors.items()}
    rows = [
        {"name": name, "value": value, **{k: number_or_none(m[c]) for k, m in means.items()}}
        for c, (name, value) in enumerate(zip(labels.names, labels.values))
    ]
    scores = sums_of_confusion(confusion, labels.values).to_dict()
    return {"unit": labels.unit, **scores, "per_class": rows}


def ordered_intervals(
    images: Sequence[OrderedSums],
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
    groups: Sequence[Any] | None = None,
) -> dict[str, list[float | None]]:
    """Percentile bootstrap intervals of the scores, `NAME_interval`, drawing whole images.

    Args:
        images: the sums of each image.
        n, seed, level, groups: see `segkit.metrics.bootstrap`.
    """
    table = np.array([astuple(one) for one in images], "float64")
    drawn = OrderedSums(*drawn_sums(table, n, seed, groups).T)
    scores = np.stack([getattr(drawn, key) for key in SCORES], axis=1)
    return {f"{k}_interval": pair for k, pair in zip(SCORES, quantile_pairs(scores, level))}


def _centred(values: Sequence[float]) -> np.ndarray:
    v = np.asarray(values, "float64")
    return v - v.mean()

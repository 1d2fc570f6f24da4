"""What a prediction got right and wrong, counted where the annotation can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN, backend_of, require_target
from segkit.metrics.cells import judged_cells, known_cells


@dataclass(frozen=True)
class Counts:
    """Pixels and images counted over known cells; int64 (C,), and (C, C) for the confusion.

    true_positives, false_positives, false_negatives: pixels of known cells.
    images: images in which the cell is known.
    confusion: rows = label, columns = prediction, at pixels where the label is beyond doubt.
        Independent classes: pixels labelled as the one and predicted as the other, known cells of
        both; classes that overlap rightly stand off the diagonal, too.
    true_negatives: the other judged pixels of known cells.
    """

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    images: np.ndarray
    confusion: np.ndarray
    true_negatives: np.ndarray

    def __add__(self, other: Counts) -> Counts:
        pairs = zip(vars(self).values(), vars(other).values())
        return Counts(*(mine + others for mine, others in pairs))

    @property
    def iou(self) -> np.ndarray:
        """TP / (TP + FP + FN), float64 (C,) in [0, 1]; NaN without evidence."""
        union = self.true_positives + self.false_positives + self.false_negatives
        return ratio(self.true_positives, union)

    @property
    def dice(self) -> np.ndarray:
        """2 TP / (2 TP + FP + FN), float64 (C,) in [0, 1]; NaN without evidence."""
        twice = 2 * self.true_positives
        return ratio(twice, twice + self.false_positives + self.false_negatives)

    @property
    def precision(self) -> np.ndarray:
        """TP / (TP + FP), float64 (C,) in [0, 1]; NaN where nothing was predicted."""
        return ratio(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> np.ndarray:
        """TP / (TP + FN), float64 (C,) in [0, 1]; NaN where nothing was labelled."""
        return ratio(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> np.ndarray:
        """TN / (TN + FP), float64 (C,) in [0, 1]; NaN where the class is everywhere or unknown."""
        return ratio(self.true_negatives, self.true_negatives + self.false_positives)

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """The block of `metrics.json`; None where there is no evidence, left out of the means.

        `images` and `pixels` are the evidence: known cells, and labelled pixels in them.
        """
        scores = {key: getattr(self, key) for key in ("iou", "dice", "precision", "recall")}
        labelled = self.true_positives + self.false_negatives
        per_class = [
            {
                "name": name,
                **{key: number_or_none(values[c]) for key, values in scores.items()},
                "images": int(self.images[c]),
                "pixels": int(labelled[c]),
            }
            for c, name in enumerate(names)
        ]
        return {
            "mean_iou": mean_or_none(scores["iou"]),
            "mean_dice": mean_or_none(scores["dice"]),
            "per_class": per_class,
            "confusion": self.confusion.tolist(),
        }


def cell_counts(target: Any, predicted: Any, exclusive: bool = True) -> tuple[Any, Any, Any, Any]:
    """True positives, false positives, false negatives and known cells, each (B, C).

    Args:
        target: (B, H, W, C) of the three states.
        predicted: (B, H, W, C), 1 or True for the predicted class, or classes.
        exclusive: False for independent classes.

    NumPy or tensors. Pixel counts are int64 in NumPy, int32 in tensors.
    """
    xp = backend_of(target)
    looked = judged_cells(target, exclusive)
    labelled = xp.logical_and(xp.equal(target, LABELLED), looked)
    predicted = xp.logical_and(predicted, looked)
    right = _sum(xp, xp.logical_and(labelled, predicted))
    wrong, missed = _sum(xp, predicted) - right, _sum(xp, labelled) - right
    return right, wrong, missed, known_cells(target, exclusive)


def count(target: np.ndarray, prediction: np.ndarray) -> Counts:
    """Counts of a batch.

    Args:
        target: int8 (B, H, W, C) of the three states.
        prediction: the predicted ids, integers (B, H, W); independent classes: planes, bool or
            0 and 1, (B, H, W, C).

    Raises:
        ValueError: if the shapes do not fit, a value is none of these, or the target is unsigned.
    """
    predicted, exclusive = decided(prediction, target, "metrics.count")
    right, wrong, missed, known = cell_counts(target, predicted, exclusive)
    judged = judged_cells(target, exclusive).sum((1, 2))
    return Counts(
        right.sum(0),
        wrong.sum(0),
        missed.sum(0),
        known.sum(0, dtype="int64"),
        _confusion(target, np.asarray(prediction), exclusive),
        (judged - right - wrong - missed).sum(0),
    )


def decided(prediction: np.ndarray, target: np.ndarray, who: str) -> tuple[np.ndarray, bool]:
    """A prediction as bool (B, H, W, C), and whether its classes exclude each other.

    Args:
        prediction: ids, integers (B, H, W), of classes that exclude each other, or planes,
            bool or 0 and 1, (B, H, W, C), of independent ones.
        target: of the three states, (B, H, W, C).
        who: asks.

    Raises:
        ValueError: naming `who` if the shapes do not fit, an id is no class, planes hold something
            else, or the target is unsigned.
    """
    prediction, classes = np.asarray(prediction), target.shape[-1]
    if prediction.ndim < 4:
        return one_hot(prediction, target, who), True
    require_target(target, prediction, who)
    if prediction.dtype != bool and not np.isin(prediction, (0, 1)).all():
        raise ValueError(
            f"{who} needs planes of 0 and 1, (B, H, W, {classes}), for independent classes. "
            f"Received: {prediction.dtype} from {prediction.min():.3g} to {prediction.max():.3g}. "
            "Compare probabilities with thresholds first: probabilities >= 0.5."
        )
    return prediction.astype(bool), False


def one_hot(prediction: np.ndarray, target: np.ndarray, who: str) -> np.ndarray:
    """Predicted ids (B, H, W) as bool (B, H, W, C), the shape of the target.

    Raises:
        ValueError: naming `who` if the shapes do not fit, an id is no class, or the target is
            unsigned.
    """
    prediction, classes = np.asarray(prediction), target.shape[-1]
    if prediction.size and not 0 <= prediction.min() <= prediction.max() < classes:
        raise ValueError(
            f"{who} needs predicted ids from 0 to {classes - 1}. "
            f"Received: {prediction.min()} to {prediction.max()}."
        )
    predicted = prediction[..., None] == np.arange(classes)
    require_target(target, predicted, who)
    return predicted


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where there is nothing to divide by."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def number_or_none(value: float) -> float | None:
    """The value, None for NaN: no evidence, as JSON can say it."""
    return None if np.isnan(value) else float(value)


def mean_or_none(values: np.ndarray) -> float | None:
    """The mean of the values that are numbers, None without any."""
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _confusion(target: np.ndarray, prediction: np.ndarray, exclusive: bool) -> np.ndarray:
    classes = target.shape[-1]
    if exclusive:
        sure = (target == LABELLED).any(-1) & (target != UNKNOWN).all(-1)
        pairs = target.argmax(-1)[sure] * classes + prediction[sure]
        found = np.bincount(pairs.astype("int64"), minlength=classes**2)
        return found.reshape(classes, classes)
    looked = judged_cells(target, exclusive=False)
    total = np.zeros((classes, classes), "int64")
    for states, planes, counted in zip(target, prediction.astype(bool), looked):
        # Products of matrices are many times faster in floats; single ones count to 2^24.
        kind = "float32" if counted[..., 0].size < 2**24 else "float64"
        rows, columns = (
            (there & counted).reshape(-1, classes).astype(kind)
            for there in (states == LABELLED, planes)
        )
        total += (rows.T @ columns).astype("int64")
    return total


def _sum(xp: Any, cells: Any) -> Any:
    return xp.sum(cells, (1, 2), dtype="int64") if xp is np else _tensor_sum(xp, cells)


def _tensor_sum(xp: Any, cells: Any) -> Any:
    return xp.sum(xp.cast(cells, "int32"), axis=(1, 2))

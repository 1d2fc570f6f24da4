"""Losses that are a mean over cells: each class at each pixel on its own, through a sigmoid."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import share
from segkit.losses.base import SegmentationLoss, judged_count, judged_of, labels_of, unknown_of


class CellwiseLoss(SegmentationLoss):
    """Base class of losses that are a mean over the cells of an image, each on its own.

        loss[b] = 1/(N C) sum_hw v sum_c k_c cost(t'_c, z_c)

    with z the logits, t = [target = 1], k = [target not UNKNOWN], N the judged pixels of the image,
    v the weight of the pixel: that of its label (mean over its labels, if classes overlap), 1
    without one, and t' = t, with smoothing t (1 - l) + l/2. Unknown cells have no say. Dividing by
    N C, not by the number of known cells, keeps the pull of one known cell the same whatever else
    is known. Subclasses define `costs(goals, logits) -> (B, H, W, C)`.

    Args:
        class_weights: weights of the pixels by their class; None = 1 each.
        label_smoothing: l, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.
    """

    head = "sigmoid"

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        self.label_smoothing = share("label_smoothing", label_smoothing)

    def costs(self, goals: Any, logits: Any) -> Any:
        """(B, H, W, C): what each cell costs before weighting; goals are t'."""
        raise NotImplementedError(f"{type(self).__name__} must define costs(goals, logits).")

    def shares(self, target: Any, logits: Any) -> Any:
        labels = labels_of(target, logits.dtype)
        costs = self._known(target, labels) * self.costs(self._goals(labels), logits)
        judged = judged_of(target, logits.dtype)
        return ops.sum(costs, axis=(1, 2)) / judged_count(judged) / target.shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

    def _goals(self, labels: Any) -> Any:
        return squeezed(labels, self.label_smoothing)

    def _known(self, target: Any, labels: Any) -> Any:
        """v k: (B, H, W, C)."""
        count = ops.sum(labels, axis=-1, keepdims=True)
        weight = ops.sum(labels * self._weights(target, labels.dtype), axis=-1, keepdims=True)
        weight = ops.where(count > 0, weight / ops.maximum(count, 1), 1)
        return (1 - unknown_of(target, labels.dtype)) * weight


def squeezed(labels: Any, smoothing: float) -> Any:
    """Labels 0 and 1, smoothed: e/2 and 1 - e/2."""
    return labels * (1 - smoothing) + smoothing / 2


@keras.saving.register_keras_serializable("segkit")
class BinaryCrossEntropy(CellwiseLoss):
    """Cross-entropy of each class on its own, through a sigmoid.

        loss[b] = - 1/(N C) sum_hw v sum_c k_c (t'_c log s_c + (1 - t'_c) log(1 - s_c))

    with s the sigmoid of the logits, N the judged pixels of the image, k = [target not UNKNOWN], v
    the weight of the pixel: that of its label (mean over its labels, if classes overlap), 1 without
    one, and t' = [target = 1], with smoothing t (1 - l) + l/2: l = 0.4 squeezes the targets to 0.2
    and 0.8. Unknown cells have no say; where classes exclude each other, the loss is naive about
    the background, which is labelled wherever nobody outlined anything. Many classes, few of
    them on: a model that says "nothing" everywhere is nearly right in the mean over cells, so add
    a loss that such a model cannot please, as `BCEDice` does, or `CosineSimilarity`. Range: from
    0 up. Reductions: see `SegmentationLoss`.

    Args:
        class_weights: weights of the pixels by their class; None = 1 each.
        label_smoothing: l, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.

    Differs from `keras.losses.BinaryCrossentropy`: unknown cells are left out, weights are per
    class, and the value is per image.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str = "binary_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)

    def costs(self, goals: Any, logits: Any) -> Any:
        return ops.softplus(logits) - goals * logits


@keras.saving.register_keras_serializable("segkit")
class MeanSquaredError(CellwiseLoss):
    """Squared difference of the probability of each class, through a sigmoid, and its target.

        loss[b] = 1/(N C) sum_hw v sum_c k_c (s_c - t'_c)^2

    with s the sigmoid of the logits, N the judged pixels of the image, k = [target not UNKNOWN], v
    the weight of the pixel: that of its label (mean over its labels, if classes overlap), 1 without
    one, and t' = [target = 1], with smoothing t (1 - l) + l/2. Unknown cells have no say; where
    classes exclude each other, the loss is naive about the background.

    It is bounded: a label that is wrong costs at most v/C. The price is that cells which are wrong
    and sure hardly move, since the gradient 2 (s - t') s (1 - s) is 0 at both ends;
    `BinaryCrossEntropy` moves them most. Range: [0, 1], times v. Reductions: see
    `SegmentationLoss`.

    Args:
        class_weights: weights of the pixels by their class; None = 1 each.
        label_smoothing: l, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.

    Differs from `keras.losses.MeanSquaredError`: reads logits, leaves unknown cells out, weights
    are per class, and the value is per image.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str = "mean_squared_error",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)

    def costs(self, goals: Any, logits: Any) -> Any:
        return ops.square(ops.sigmoid(logits) - goals)

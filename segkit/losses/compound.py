"""Losses made of several terms."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.losses.base import (
    SegmentationLoss,
    judged_count,
    judged_of,
    labels_of,
    unknown_of,
)
from segkit.losses.overlap import check_smooth


@keras.saving.register_keras_serializable("segkit")
class BCEDice(SegmentationLoss):
    """Binary cross-entropy plus (1 - Dice), each class on its own through a sigmoid.

        loss[b] = sum_c { 1/(N C) sum_hw v k_c bce(t_c, s_c)
                          + 1/C [1 - (2 sum_hw v k_c t_c s_c + e)
                                     / (sum_hw v k_c (t_c + s_c) + e)] }

    with s the sigmoid of the logits, t = [target = 1], k = [target not UNKNOWN], N the judged
    pixels of the image, and v the weight of the pixel: that of its label (mean over its labels, if
    classes overlap), 1 without one. Unknown cells have no say, and an unknown class of an image
    costs 0; but the background is labelled wherever nobody outlined anything, so where classes
    exclude each other this loss is naive about the background. Dividing by N C, not by the
    number of known cells, keeps the pull of one known cell the same whatever else is known.
    Range: from 0 up.

    Args:
        class_weights: weights of the pixels by their class; None = 1 each.
        smooth: e, in (weighted) pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        name: str = "bce_dice",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        self.smooth = check_smooth(smooth, "BCEDice")

    def shares(self, target: Any, logits: Any) -> Any:
        judged = judged_of(target, logits.dtype)
        t, count = labels_of(target, logits.dtype), target.shape[-1]
        known = (1 - unknown_of(target, logits.dtype)) * self._pixel_weights(t)
        bce = ops.sum(known * (ops.softplus(logits) - t * logits), axis=(1, 2))
        s = ops.sigmoid(logits)
        overlap = ops.sum(known * t * s, axis=(1, 2))
        total = ops.sum(known * (t + s), axis=(1, 2))
        dice = (2 * overlap + self.smooth) / (total + self.smooth)
        return (bce / judged_count(judged) + 1 - dice) / count

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}

    def _pixel_weights(self, t: Any) -> Any:
        count = ops.sum(t, axis=-1, keepdims=True)
        weight = ops.sum(t * self._weights(t, t.dtype), axis=-1, keepdims=True)
        return ops.where(count > 0, weight / ops.maximum(count, 1), 1)


@keras.saving.register_keras_serializable("segkit")
class WeightedSum(SegmentationLoss):
    """A weighted sum of other losses.

        loss[b] = sum_k weights[k] losses[k][b]

    Args:
        losses: the terms, each a `SegmentationLoss` (or its serialised config).
        weights: one factor a term; None = 1 each.
        class_weights: for the terms that have none of their own.
        name, reduction, dtype: see `keras.losses.Loss`. The terms' own reductions are not used.

    Raises:
        ValueError: without terms, with something that is not such a loss, or if the number of
            weights differs.
    """

    def __init__(
        self,
        losses: Sequence[SegmentationLoss],
        weights: Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        name: str = "weighted_sum",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        terms = [keras.losses.deserialize(k) if isinstance(k, dict) else k for k in losses]
        if not terms or not all(isinstance(term, SegmentationLoss) for term in terms):
            raise ValueError(f"WeightedSum adds losses of segkit. Received: {terms!r}.")
        self.losses = [self._weighted(term) for term in terms]
        self.weights = [1.0] * len(self.losses) if weights is None else list(map(float, weights))
        finite = all(map(math.isfinite, self.weights))
        if len(self.weights) != len(self.losses) or not finite:
            raise ValueError(
                f"WeightedSum needs one finite weight a loss, {len(self.losses)} here. "
                f"Received: {self.weights}."
            )

    def shares(self, target: Any, logits: Any) -> Any:
        terms = zip(self.weights, self.losses)
        return sum(weight * loss.shares(target, logits) for weight, loss in terms)

    def get_config(self) -> dict[str, Any]:
        terms = [keras.losses.serialize(loss) for loss in self.losses]
        return {**super().get_config(), "losses": terms, "weights": self.weights}

    def _weighted(self, term: SegmentationLoss) -> SegmentationLoss:
        if self.class_weights is None or term.class_weights is not None:
            return term
        return type(term).from_config({**term.get_config(), "class_weights": self.class_weights})

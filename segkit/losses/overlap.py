"""Losses that compare regions instead of pixels; these two are naive about what is missing."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import is_number
from segkit.losses.base import SegmentationLoss, judged_of, labels_of


class RegionLoss(SegmentationLoss):
    """Base class of losses that are a weighted mean over classes of one cost a class and image.

        loss[b] = sum_c w_c cost_c / sum_c w_c

    Subclasses define `costs(target, logits) -> (B, C)`. The sums never cross images.

    Args:
        class_weights: w, one a class; None = 1 each.
        smooth: what a ratio of areas is smoothed with, in pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or if all weights are 0.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        who = type(self).__name__
        if self.class_weights is not None and not any(self.class_weights):
            raise ValueError(f"{who} needs a class weight above 0. Received: all are 0.")
        self.smooth = check_smooth(smooth, who)

    def costs(self, target: Any, logits: Any) -> Any:
        """(B, C): what each class costs before weighting."""
        raise NotImplementedError(f"{type(self).__name__} must define costs(target, logits).")

    def shares(self, target: Any, logits: Any) -> Any:
        weights = self._weights(target, logits.dtype)
        return weights / ops.sum(weights) * self.costs(target, logits)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}


def check_smooth(smooth: float, who: str) -> float:
    """Returns `smooth` if it is a positive number of pixels; a ValueError if it is not."""
    if not (is_number(smooth) and 0 < smooth < math.inf):
        raise ValueError(f"{who} needs smooth > 0 pixels. Received: {smooth!r}.")
    return smooth


@keras.saving.register_keras_serializable("segkit")
class SoftDice(RegionLoss):
    """One minus the soft Dice overlap, per image and class; naive about missing annotations.

        loss[b] = sum_c w_c [1 - (2 sum_hw t p + s) / (sum_hw t + sum_hw p + s)] / sum_c w_c

    with p the softmax of the logits, t = [target = 1], and sums over the judged pixels of the
    image. Range: [0, 1]. A class in neither t nor p costs 0. The sums never cross images.

    Args:
        class_weights: w, one a class; None = 1 each.
        smooth: s, in pixels. Larger values pull the loss of small regions towards 0.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or if all weights are 0.

    Ref: Milletari et al. 2016, arXiv:1606.04797. Differs: their denominator sums squares.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        name: str = "soft_dice",
        **kwargs: Any,
    ):
        super().__init__(class_weights, smooth, name=name, **kwargs)

    def costs(self, target: Any, logits: Any) -> Any:
        both, labelled, predicted = _areas(target, logits)
        return 1 - (2 * both + self.smooth) / (labelled + predicted + self.smooth)


@keras.saving.register_keras_serializable("segkit")
class Tversky(RegionLoss):
    """Soft Dice that can prefer misses to false alarms, or the reverse; naive about missing ones.

        loss[b] = sum_c w_c [1 - (2 TP + s) / (2 TP + 2 alpha FP + 2 beta FN + s)] / sum_c w_c
        TP = sum_hw t p,  FP = sum_hw (1 - t) p,  FN = sum_hw t (1 - p)

    with p the softmax of the logits, t = [target = 1], and sums over the judged pixels of the
    image. alpha weighs false positives, beta false negatives: small objects that are missed too
    often call for beta > alpha. alpha = beta = 0.5: equals `SoftDice`. Range: [0, 1].

    Args:
        class_weights: w, one a class; None = 1 each.
        alpha: from 0 up.
        beta: from 0 up; not both 0.
        smooth: s, in pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `alpha` or `beta` is negative, if both are 0, if `smooth` is not positive, or
            if all weights are 0.

    Ref: Salehi et al. 2017, arXiv:1706.05721. Differs: smoothed. In `keras.losses.Tversky` of
    Keras 3.15, alpha weighs the false negatives.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        alpha: float = 0.5,
        beta: float = 0.5,
        smooth: float = 1.0,
        name: str = "tversky",
        **kwargs: Any,
    ):
        super().__init__(class_weights, smooth, name=name, **kwargs)
        given = is_number(alpha) and is_number(beta)
        if not (given and alpha >= 0 and beta >= 0 and 0 < alpha + beta < math.inf):
            raise ValueError(
                "Tversky needs alpha >= 0 (false positives) and beta >= 0 (false negatives), not "
                f"both 0. Received: alpha={alpha!r}, beta={beta!r}."
            )
        self.alpha, self.beta = alpha, beta

    def costs(self, target: Any, logits: Any) -> Any:
        both, labelled, predicted = _areas(target, logits)
        wrong = self.alpha * (predicted - both) + self.beta * (labelled - both)
        return 1 - (2 * both + self.smooth) / (2 * both + 2 * wrong + self.smooth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}


def _areas(target: Any, logits: Any) -> tuple[Any, Any, Any]:
    """Pixels a class, each (B, C): labelled and predicted, labelled, predicted."""
    t = labels_of(target, logits.dtype)
    p = judged_of(target, logits.dtype)[..., None] * ops.softmax(logits, axis=-1)
    return ops.sum(t * p, axis=(1, 2)), ops.sum(t, axis=(1, 2)), ops.sum(p, axis=(1, 2))

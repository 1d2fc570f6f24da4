"""Losses that compare regions instead of pixels."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.losses.base import SegmentationLoss, judged_of, labels_of


def check_smooth(smooth: float, who: str) -> float:
    """Returns `smooth` if it is a positive number of pixels; a ValueError if it is not."""
    if not (smooth > 0 and math.isfinite(smooth)):
        raise ValueError(f"{who} needs smooth > 0 pixels. Received: {smooth!r}.")
    return smooth


@keras.saving.register_keras_serializable("segkit")
class SoftDice(SegmentationLoss):
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
        super().__init__(class_weights, name=name, **kwargs)
        if self.class_weights is not None and not any(self.class_weights):
            raise ValueError("SoftDice needs a class weight above 0. Received: all are 0.")
        self.smooth = check_smooth(smooth, "SoftDice")

    def shares(self, target: Any, logits: Any) -> Any:
        judged = judged_of(target, logits.dtype)[..., None]
        t, p = labels_of(target, logits.dtype), judged * ops.softmax(logits, axis=-1)
        overlap = ops.sum(t * p, axis=(1, 2))
        total = ops.sum(t, axis=(1, 2)) + ops.sum(p, axis=(1, 2))
        weights = self._weights(target, logits.dtype)
        dice = (2 * overlap + self.smooth) / (total + self.smooth)
        return weights / ops.sum(weights) * (1 - dice)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}

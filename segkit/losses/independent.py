"""Losses that compare regions for classes that may overlap: each channel on its own."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import RULED_OUT, UNKNOWN, whole_number
from segkit.losses.base import labels_of
from segkit.losses.cellwise import BinaryCrossEntropy
from segkit.losses.overlap import RegionLoss, check_smooth


@keras.saving.register_keras_serializable("segkit")
class BCEDice(BinaryCrossEntropy):
    """`BinaryCrossEntropy` plus (1 - Dice), each class on its own through a sigmoid.

        loss[b] = sum_c { 1/(N C) sum_hw v k_c bce(t'_c, s_c)
                          + 1/C [1 - (2 sum_hw v k_c t_c s_c + e)
                                     / (sum_hw v k_c (t_c + s_c) + e)] }

    with s the sigmoid of the logits, t = [target = 1], k = [target not UNKNOWN], N the judged
    pixels of the image, v the weight of the pixel: that of its label (mean over its labels, if
    classes overlap), 1 without one, and t' = t, with smoothing t (1 - l) + l/2. Unknown cells have
    no say, and an unknown class of an image costs 0; but the background is labelled wherever
    nobody outlined anything, so where classes exclude each other this loss is naive about the
    background. Dividing by N C, not by the number of known cells, keeps the pull of one known cell
    the same whatever else is known. Range: from 0 up.

    Args:
        class_weights: weights of the pixels by their class; None = 1 each.
        smooth: e, in (weighted) pixels.
        label_smoothing: l, from 0 to 1. The overlap is that with the labels as they are.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or `label_smoothing` not from 0 to 1.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        label_smoothing: float = 0.0,
        name: str = "bce_dice",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)
        self.smooth = check_smooth(smooth, "BCEDice")

    def shares(self, target: Any, logits: Any) -> Any:
        t, s = labels_of(target, logits.dtype), ops.sigmoid(logits)
        known = self._known(target, t)
        overlap = ops.sum(known * t * s, axis=(1, 2))
        total = ops.sum(known * (t + s), axis=(1, 2))
        dice = (2 * overlap + self.smooth) / (total + self.smooth)
        return super().shares(target, logits) + (1 - dice) / target.shape[-1]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smooth": self.smooth}


@keras.saving.register_keras_serializable("segkit")
class Exclusion(RegionLoss):
    """The overlap of each class with the pixels where it cannot be, through a sigmoid.

        loss[b] = sum_c w_c (2 sum_hw x s) / (sum_hw x + sum_hw (x + t) s + e) / sum_c w_c,
                  c over all classes but the background

    with s the sigmoid of the logits, t = [target = 1], and x = 1 where the class cannot be: its
    target is RULED_OUT, or it is UNKNOWN and another class than the background is labelled there.
    Sums over the judged pixels of the image. Cells about which that says nothing have no say.
    Range: [0, 1].

    For sigmoid heads, beside `BCEDice`: there an unannotated class gets no gradient, and that
    classes exclude each other is what is known about it; do not use it if they may overlap. With a
    softmax it carries no information: a pixel labelled c pushes every other class down already.

    Args:
        class_weights: w, one a class; None = 1 each. That of the background is not used.
        smooth: e, in pixels.
        background: id of the class that stands for whatever nobody outlined, and so excludes
            nothing; None where there is none. As in the `LabelSpace`.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, if all weights but the background's are 0, or if
            `background` is no class or the only one.

    Ref: Shi et al. 2021, doi:10.1016/j.media.2021.101979. Differs: theirs is on softmax
    probabilities; their denominator sums them over all pixels, so that raising a class where
    nobody looked for it makes the loss smaller.
    """

    head = "sigmoid"

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        background: int | None = 0,
        name: str = "exclusion",
        **kwargs: Any,
    ):
        super().__init__(class_weights, smooth, name=name, **kwargs)
        self.background = None if background is None else whole_number("background", background)
        if not any(w for c, w in enumerate(self.class_weights or [1, 1]) if c != self.background):
            raise ValueError(
                "Exclusion needs a class weight above 0 beside that of the background. "
                f"Received: {self.class_weights}, background {self.background}."
            )

    def costs(self, target: Any, logits: Any) -> Any:
        labels, s = labels_of(target, logits.dtype), ops.sigmoid(logits)
        taken = ops.sum(labels * self._foreground(target, logits.dtype), axis=-1, keepdims=True) > 0
        hidden = ops.logical_and(ops.equal(target, UNKNOWN), taken)
        excluded = ops.cast(ops.logical_or(ops.equal(target, RULED_OUT), hidden), logits.dtype)
        wrong = ops.sum(excluded * s, axis=(1, 2))
        total = ops.sum(excluded, axis=(1, 2)) + wrong + ops.sum(labels * s, axis=(1, 2))
        return 2 * wrong / (total + self.smooth)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "background": self.background}

    def _weights(self, target: Any, dtype: Any) -> Any:
        return super()._weights(target, dtype) * self._foreground(target, dtype)

    def _foreground(self, target: Any, dtype: Any) -> Any:
        """(C,): 1 for every class but the background."""
        count = target.shape[-1]
        if self.background is not None and not self.background < count > 1:
            raise ValueError(
                "Exclusion needs the id of the background, or None, and another class beside it. "
                f"Received: background {self.background}, {count} classes."
            )
        return ops.convert_to_tensor([float(c != self.background) for c in range(count)], dtype)

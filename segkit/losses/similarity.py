"""A loss for many classes of which few are on: the angle between what is and what is predicted."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import share
from segkit.losses.base import SegmentationLoss, labels_of, unknown_of
from segkit.losses.cellwise import squeezed
from segkit.losses.overlap import check_smooth
from segkit.losses.pixelwise import TINY


@keras.saving.register_keras_serializable("segkit")
class CosineSimilarity(SegmentationLoss):
    """One minus the cosine between the known cells of an image and their probabilities.

        loss[b] = 1 - (sum t' s + e) / sqrt((sum t'^2 + e) (sum s^2 + e)),  sum = sum_hwc k w_c

    with s the sigmoid of the logits, t' = [target = 1], with smoothing t (1 - l) + l/2, k = [target
    not UNKNOWN] and w the class weights. Unknown cells are in neither vector. Range: [0, 1].

    One vector an image, over all its pixels and classes: cells that are off and predicted off add
    nothing to any of the sums, however many there are. So a model that predicts nothing is not
    nearly right, as in a mean over cells, but wrong by 1 - sqrt(e / (n + e)) in an image with n
    cells that are on. One vector a pixel would leave most pixels without a cosine, as nothing is on
    there.

    e is one more cell, that is on and predicted on. Without it the cosine does not exist in an
    image in which nothing is on; with it, false alarms there cost 1 - sqrt(e / (sum s^2 + e)). It
    also tells how large probabilities should be: without it, all of them times 0.01 would be as
    good.

    Args:
        class_weights: w, one a class; None = 1 each. Of the cells of the class, in all three sums.
        smooth: e, in (weighted) cells.
        label_smoothing: l, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or `label_smoothing` not from 0 to 1.

    Differs from `keras.losses.CosineSimilarity`: reads logits; one vector an image; 0 is best, not
    -1; smoothed, where a vector without a cell that is on gets a constant and no gradient there.
    """

    head = "sigmoid"

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        label_smoothing: float = 0.0,
        name: str = "cosine_similarity",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        self.smooth = check_smooth(smooth, "CosineSimilarity")
        self.label_smoothing = share("label_smoothing", label_smoothing)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B, H, W, C) targets, (B, H, W, C) logits -> (B,)."""
        cells, rest = self._squares(*self._cleaned(y_true, y_pred))
        return ops.sum(cells, axis=-1) + rest

    def shares(self, target: Any, logits: Any) -> Any:
        # What the one more cell costs belongs to the classes as what their own cells cost does.
        cells, rest = self._squares(target, logits)
        total = ops.sum(cells, axis=-1, keepdims=True)
        return cells * (1 + rest[:, None] / ops.maximum(total, TINY))

    def get_config(self) -> dict[str, Any]:
        own = {"smooth": self.smooth, "label_smoothing": self.label_smoothing}
        return {**super().get_config(), **own}

    def _squares(self, target: Any, logits: Any) -> tuple[Any, Any]:
        """Half the squared distance of the vectors at length 1, which is one minus their cosine:
        the part of each class, (B, C), and that of the one more cell, (B,)."""
        weights = self._weights(target, logits.dtype)
        known = (1 - unknown_of(target, logits.dtype)) * weights
        t, s = squeezed(labels_of(target, logits.dtype), self.label_smoothing), ops.sigmoid(logits)
        t_length, s_length = (self._length(known, cells) for cells in (t, s))
        apart = ops.square(t / t_length - s / s_length)
        rest = ops.square(1 / t_length - 1 / s_length)[:, 0, 0, 0] * self.smooth
        return ops.sum(known * apart, axis=(1, 2)) / 2, rest / 2

    def _length(self, known: Any, cells: Any) -> Any:
        """(B, 1, 1, 1)."""
        total = ops.sum(known * ops.square(cells), axis=(1, 2, 3), keepdims=True)
        return ops.sqrt(total + self.smooth)

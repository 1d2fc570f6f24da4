"""Cross-entropy over exclusive classes, naive about what is missing."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.losses.base import labels_of
from segkit.losses.pixelwise import LabelLoss, log_p_label, smoothed


@keras.saving.register_keras_serializable("segkit")
class CrossEntropy(LabelLoss):
    """Weighted cross-entropy with the label of each pixel; naive about missing annotations.

        loss[b] = - 1/N[b] sum_hw sum_c w_c [target = 1] ((1 - e) log p_c + e/C sum_k log p_k)

    with p the softmax of the logits, N the judged pixels of the image, w the class weights and e
    the label smoothing. An object that nobody outlined is stored as background, and here it counts
    as background. Pixels without a label, under a coarse one, cost 0; more than one label, which
    classes that overlap may give, means nothing here.
    Range: from 0 up. Reductions: see `SegmentationLoss`.

    Args:
        class_weights: w, one a class; None = 1 each.
        weight_by: "label", or "prediction" to take the weight of the most probable class
            instead. The latter rewards moving predictions to cheap classes; it is here to show
            that, not to be used.
        label_smoothing: e, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `weight_by` is something else, or `label_smoothing` not from 0 to 1.

    Differs from `keras.losses.CategoricalCrossentropy`: ignored pixels leave the mean, weights
    are per class, and the value is per image.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        weight_by: str = "label",
        label_smoothing: float = 0.0,
        name: str = "cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)
        if weight_by not in ("label", "prediction"):
            raise ValueError(f"weight_by must be 'label' or 'prediction'. Received: {weight_by!r}.")
        self.weight_by = weight_by

    def terms(self, target: Any, logits: Any) -> Any:
        labels = labels_of(target, logits.dtype)
        labelled = ops.sum(labels, axis=-1) > 0
        terms = -log_p_label(labels, logits, labelled)
        return smoothed(terms, labels, logits, labelled, self.label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_by": self.weight_by}

    def _label_weights(self, target: Any, logits: Any) -> Any:
        weights = super()._label_weights(target, logits)
        if self.weight_by == "label":
            return weights
        return ops.take(weights, ops.argmax(logits, axis=-1), axis=0)[..., None]

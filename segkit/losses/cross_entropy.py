"""Cross-entropies over exclusive classes, from naive to aware of what is missing."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import candidates
from segkit.losses.base import (
    SegmentationLoss,
    judged_count,
    judged_of,
    labels_of,
    unknown_of,
)

# Stands for log 0. Finite, so that 0 * NEVER is 0 and no gradient is NaN; exp(NEVER) is 0.
NEVER = -1e9


@keras.saving.register_keras_serializable("segkit")
class CrossEntropy(SegmentationLoss):
    """Weighted cross-entropy with the label of each pixel; naive about missing annotations.

        loss[b] = - 1/N[b] sum_hw sum_c w_c [target = 1] log p_c

    with p the softmax of the logits, N the judged pixels of the image, w the class weights.
    An object that nobody outlined is stored as background, and here it counts as background.
    Range: from 0 up. Reductions: see `SegmentationLoss`.

    Args:
        class_weights: w, one a class; None = 1 each.
        weight_by: "label", or "prediction" to take the weight of the most probable class
            instead. The latter rewards moving predictions to cheap classes; it is here to show
            that, not to be used.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if weight_by is something else.

    Differs from `keras.losses.CategoricalCrossentropy`: ignored pixels leave the mean, weights
    are per class, and the value is per image.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        weight_by: str = "label",
        name: str = "cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        if weight_by not in ("label", "prediction"):
            raise ValueError(f"weight_by must be 'label' or 'prediction'. Received: {weight_by!r}.")
        self.weight_by = weight_by

    def shares(self, target: Any, logits: Any) -> Any:
        labels = labels_of(target, logits.dtype)
        weights = self._weights(target, logits.dtype)
        if self.weight_by == "prediction":
            weights = ops.take(weights, ops.argmax(logits, axis=-1), axis=0)[..., None]
        terms = labels * weights * ops.log_softmax(logits, axis=-1)
        return -ops.sum(terms, axis=(1, 2)) / judged_count(judged_of(target, logits.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weight_by": self.weight_by}


@keras.saving.register_keras_serializable("segkit")
class GatedCrossEntropy(SegmentationLoss):
    """Cross-entropy that forgives the background where the model sees an unannotated class.

        loss[b] = - 1/N[b] sum_hw g sum_c w_c [target = 1] log p_c
        g = 0 where the target of the most probable class is UNKNOWN, else 1

    with p the softmax of the logits and N the judged pixels of the image, gated ones included.
    Nothing missing: equals `CrossEntropy` bit for bit. Range: from 0 up.

    The gate opens only after the model prefers the class, which it is sure to learn only if
    a w_c > (1 - a) w_0, with a the share of the images with class c in which c was annotated.
    Below that the loss may end where the naive one does; class weights move the bound.

    Args:
        class_weights: w, one a class; None = 1 each.
        name, reduction, dtype: see `keras.losses.Loss`.

    Ref: the missing-annotation loss of a 2018 post on custom losses for segmentation in Keras.
    Differs: computed per pixel for all classes at once, and ignored pixels leave the mean.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        name: str = "gated_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)

    def shares(self, target: Any, logits: Any) -> Any:
        labels, unknown = labels_of(target, logits.dtype), unknown_of(target, logits.dtype)
        predicted = ops.one_hot(ops.argmax(logits, axis=-1), target.shape[-1], dtype=logits.dtype)
        gate = 1 - ops.sum(predicted * unknown, axis=-1, keepdims=True)
        terms = labels * self._weights(target, logits.dtype) * ops.log_softmax(logits, axis=-1)
        return -ops.sum(gate * terms, axis=(1, 2)) / judged_count(judged_of(target, logits.dtype))


@keras.saving.register_keras_serializable("segkit")
class MarginalCrossEntropy(SegmentationLoss):
    """Cross-entropy with the set of classes that a pixel may belong to.

        loss[b] = - 1/N[b] sum_hw w log sum_{c candidate} p_c

    with p the softmax of the logits, candidates the channels that are not ruled out, N the judged
    pixels of the image, and w the weight of the label (without one, under a coarse label: the
    mean weight of the candidates). Probabilities are summed, never logits. Background of an image
    in which class m was not annotated thus says "background or m". Nothing missing: equals
    `CrossEntropy`. Range: from 0 up.

    Args:
        class_weights: w, one a class; None = 1 each.
        name, reduction, dtype: see `keras.losses.Loss`.

    Ref: Shi et al. 2021, doi:10.1016/j.media.2021.101979; Fidon et al. 2021, arXiv:2107.03846.
    Differs from the code published with the former, which sums logits before the softmax.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        name: str = "marginal_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)

    def shares(self, target: Any, logits: Any) -> Any:
        judged = judged_of(target, logits.dtype)
        possible = candidates(target)
        log_p = ops.where(possible, ops.log_softmax(logits, axis=-1), NEVER)
        log_q = ops.logsumexp(log_p, axis=-1)
        owners = _owners(target, ops.cast(possible, logits.dtype))
        terms = owners * self._weights(target, logits.dtype) * (judged * log_q)[..., None]
        return -ops.sum(terms, axis=(1, 2)) / judged_count(judged)


def _owners(target: Any, possible: Any) -> Any:
    """To which classes a pixel's term belongs: its label, or else its candidates in equal parts."""
    labels = labels_of(target, possible.dtype)
    owners = ops.where(ops.sum(labels, axis=-1, keepdims=True) > 0, labels, possible)
    return owners / ops.maximum(ops.sum(owners, axis=-1, keepdims=True), 1)

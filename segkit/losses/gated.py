"""Cross-entropy with a gate on pixels that may carry a class nobody looked for."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import UNKNOWN, candidates
from segkit.losses.base import labels_of
from segkit.losses.pixelwise import NEVER, LabelLoss, log_p_label, smoothed


@keras.saving.register_keras_serializable("segkit")
class GatedCrossEntropy(LabelLoss):
    """Cross-entropy that forgives the background where it may hide an unannotated class.

        loss[b] = - 1/N[b] sum_hw g sum_c w_c [target = 1] log p_c

        gate          g, never differentiated
        "predicted"   0 where the most probable class is UNKNOWN, else 1
        "everywhere"  0 where any class is UNKNOWN, else 1
        "soft"        p_label / (p_label + sum_{c UNKNOWN} p_c)

    with p the softmax of the logits and N the judged pixels of the image, gated ones included; with
    label smoothing log p_c becomes that of `CrossEntropy`. Nothing missing: equals `CrossEntropy`
    bit for bit. Range: from 0 up.

    "predicted" opens only after the model prefers the class, which it is sure to learn only if
    a w_c > (1 - a) w_0, with a the share of the images with class c in which c was annotated.
    Below that the loss may end where the naive one does; class weights move the bound.
    "everywhere" teaches no background in incomplete images: objects grow beyond their edges.
    "soft" is the model's own belief that the pixel is what its label says, given that it is that
    or one of the unknown classes. `MarginalCrossEntropy` has the same pull towards the label, plus,
    for each unknown class, the pull towards that class times the belief in it: its gradient is the
    mean, by belief, of the cross-entropies with all candidates, and "soft" keeps the label's part.

    Args:
        class_weights: w, one a class; None = 1 each.
        gate: "predicted", "everywhere" or "soft".
        label_smoothing: from 0 to 1; see `CrossEntropy`.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `gate` is something else, or `label_smoothing` not from 0 to 1.

    Ref: "predicted" is the missing-annotation loss of a 2018 post on custom losses for
    segmentation in Keras. Differs: computed per pixel for all classes at once, ignored pixels leave
    the mean, and a tie goes to the classes that are not UNKNOWN.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gate: str = "predicted",
        label_smoothing: float = 0.0,
        name: str = "gated_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)
        if gate not in _GATES:
            raise ValueError(f"gate must be one of {', '.join(_GATES)}. Received: {gate!r}.")
        self.gate = gate

    def terms(self, target: Any, logits: Any) -> Any:
        labels = labels_of(target, logits.dtype)
        labelled = ops.sum(labels, axis=-1) > 0
        terms = -log_p_label(labels, logits, labelled)
        terms = smoothed(terms, labels, logits, labelled, self.label_smoothing)
        return _GATES[self.gate](target, ops.stop_gradient(logits), labels, labelled) * terms

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gate": self.gate}


def _predicted(target: Any, logits: Any, labels: Any, labelled: Any) -> Any:
    rest = ops.where(ops.equal(target, UNKNOWN), NEVER, logits)
    return ops.cast(ops.max(rest, axis=-1) >= ops.max(logits, axis=-1), logits.dtype)


def _everywhere(target: Any, logits: Any, labels: Any, labelled: Any) -> Any:
    return ops.cast(ops.min(target, axis=-1) > UNKNOWN, logits.dtype)


def _soft(target: Any, logits: Any, labels: Any, labelled: Any) -> Any:
    belief = ops.softmax(ops.where(candidates(target), logits, NEVER), axis=-1)
    return ops.where(labelled, ops.sum(labels * belief, axis=-1), 0)


_GATES = {"predicted": _predicted, "everywhere": _everywhere, "soft": _soft}

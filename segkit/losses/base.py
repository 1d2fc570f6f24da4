"""The shape of every loss: what comes in, what goes out, and in which order it is reduced."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import RULED_OUT, UNKNOWN, judged_pixels, require_target


class SegmentationLoss(keras.losses.Loss):
    """Base class: subclasses say what each class of each image contributes.

    Reductions, always in this order: over the pixels of one image, divided by the number of its
    judged pixels; over classes; then, as Keras does it (`reduction`, `sample_weight`), over the
    batch. So the value does not depend on how a batch is split, and an image of which nothing is
    known costs 0 with zero gradient.

    Args:
        class_weights: one factor a class, in the order of the ids, or None for 1 each. They are
            used as given; `segkit.class_weights.normalise` scales them so that the expected
            weight of a labelled pixel is 1.
        name, reduction, dtype: see `keras.losses.Loss`. Half-precision logits are computed with
            in float32: a sum over 65,536 pixels does not fit bfloat16.

    Raises:
        ValueError: if a weight is negative or not finite, or if their number is not C.
    """

    # The activation under which the logits become probabilities: "softmax" or "sigmoid".
    head = "softmax"
    # Whether the order of the classes means something: then they must be ordered.
    ordered = False

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.class_weights = _checked_weights(class_weights, type(self).__name__)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The reduced loss of a target and logits, both (B, H, W, C)."""
        # Before Keras casts the target to float and hides what it was.
        if hasattr(y_true, "dtype") and hasattr(y_pred, "shape"):
            require_target(y_true, y_pred, type(self).__name__)
        _check_sample_weight(sample_weight, type(self).__name__)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B, H, W, C) targets, (B, H, W, C) logits -> (B,)."""
        return ops.sum(self.per_class(y_true, y_pred), axis=-1)

    def per_class(self, target: Any, logits: Any) -> Any:
        """(B, H, W, C) targets, (B, H, W, C) logits -> (B, C): the share of each class.

        The shares of an image add up to its loss, so a log of them shows where it comes from.
        """
        return self.shares(*self._cleaned(target, logits))

    def shares(self, target: Any, logits: Any) -> Any:
        """What `per_class` returns; logits are float32 or float64 here."""
        raise NotImplementedError(f"{type(self).__name__} must define shares(target, logits).")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "class_weights": self.class_weights}

    def _checked(self, target: Any, logits: Any) -> tuple[Any, Any]:
        """Both as tensors of one shape, the logits in at least single precision."""
        target, logits = ops.convert_to_tensor(target), ops.convert_to_tensor(logits)
        require_target(target, logits, type(self).__name__)
        if keras.backend.standardize_dtype(logits.dtype) != "float64":
            logits = ops.cast(logits, "float32")
        return target, logits

    def _cleaned(self, target: Any, logits: Any) -> tuple[Any, Any]:
        """The same, with logits of 0 at ignored pixels."""
        target, logits = self._checked(target, logits)
        # Where nothing is known, not even a NaN of the model may reach the sums.
        return target, ops.where(judged_pixels(target)[..., None], logits, 0)

    def _weights(self, target: Any, dtype: Any) -> Any:
        """(C,) weights, ones if there are none."""
        count = target.shape[-1]
        if self.class_weights is None:
            return ops.ones((count,), dtype=dtype)
        if len(self.class_weights) != count:
            raise ValueError(
                f"{type(self).__name__} got {len(self.class_weights)} class_weights for {count} "
                "classes. Give one weight a class, in the order of the ids, background included."
            )
        return ops.convert_to_tensor(self.class_weights, dtype=dtype)


def _check_sample_weight(weight: Any, who: str) -> None:
    shape = tuple(getattr(weight, "shape", ()))
    if len(shape) > 1 and any(size != 1 for size in shape[1:]):
        raise ValueError(
            f"{who} takes one sample_weight an image, (B,). Received: shape {shape}. To leave "
            "pixels out, give them the ignore_index in the mask (UNKNOWN in the target)."
        )


def labels_of(target: Any, dtype: Any) -> Any:
    """1 where a class is labelled, else 0: (B, H, W, C)."""
    return ops.cast(ops.maximum(target, RULED_OUT), dtype)


def candidates_of(target: Any, dtype: Any) -> Any:
    """1 where a class is not ruled out, else 0: (B, H, W, C)."""
    return ops.cast(ops.absolute(target), dtype)


def unknown_of(target: Any, dtype: Any) -> Any:
    """1 where nobody looked for a class, else 0: (B, H, W, C)."""
    return ops.cast(ops.equal(target, UNKNOWN), dtype)


def judged_of(target: Any, dtype: Any) -> Any:
    """1 at judged pixels, else 0: (B, H, W)."""
    return ops.cast(judged_pixels(target), dtype)


def judged_count(judged: Any) -> Any:
    """(B, H, W) -> (B, 1): judged pixels an image, at least 1, to divide by."""
    return ops.maximum(ops.sum(judged, axis=(1, 2)), 1)[:, None]


def _checked_weights(weights: Sequence[float] | None, who: str) -> list[float] | None:
    if weights is None:
        return None
    checked = [float(weight) for weight in weights]
    if not checked or any(not math.isfinite(w) or w < 0 for w in checked):
        raise ValueError(
            f"{who} needs class_weights that are finite and not negative. Received: {checked}."
        )
    return checked

"""The same scores while training, as Keras metrics that log one number a class."""

from __future__ import annotations

from typing import Any, Protocol, Sequence

import keras
from keras import ops

from segkit.contract import LABELLED, UNKNOWN
from segkit.metrics.counts import cell_counts
from segkit.ordered import decode


@keras.saving.register_keras_serializable("segkit")
class MeanIoU(keras.metrics.Metric):
    """Intersection over union on known cells: the mean over classes, and each class.

        iou_c = TP_c / (TP_c + FP_c + FN_c),  mean_iou = mean over classes with evidence

    Pixels are summed over all images before the division; the predicted class is the argmax of
    the logits. Independent classes are predicted each where its probability is at least 0.5, that
    is, its logit 0. `result` is a dict with `mean_iou` and `iou_<class>`, NaN without evidence.

    Args:
        names: class names, for the keys.
        exclusive: False for independent classes.
        name, dtype: see `keras.metrics.Metric`.
    """

    def __init__(
        self,
        names: Sequence[str],
        exclusive: bool = True,
        name: str = "mean_iou",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        self.names, self.exclusive = tuple(names), exclusive
        shape = (len(self.names),)
        # int64, since float32 stops counting pixels at 16.8 million. JAX has no int64 by default.
        dtype = "int64" if keras.backend.backend() == "tensorflow" else "float32"
        self.right, self.wrong, self.missed = (
            self.add_variable(shape, initializer="zeros", dtype=dtype, name=part)
            for part in ("true_positives", "false_positives", "false_negatives")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """(B, H, W, C) target and logits; example weights do not count here."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        right, wrong, missed, _ = cell_counts(y_true, self._predicted(y_pred), self.exclusive)
        for state, part in ((self.right, right), (self.wrong, wrong), (self.missed, missed)):
            state.assign_add(ops.cast(ops.sum(part, axis=0), state.dtype))

    def result(self) -> dict[str, Any]:
        right, union = (ops.cast(part, "float32") for part in (self.right, self._union()))
        seen = union > 0
        iou = ops.where(seen, right / ops.maximum(union, 1), float("nan"))
        count = ops.sum(ops.cast(seen, "float32"))
        total = ops.sum(ops.where(seen, iou, 0))
        mean = ops.where(count > 0, total / ops.maximum(count, 1), float("nan"))
        return {"mean_iou": mean, **{f"iou_{n}": iou[c] for c, n in enumerate(self.names)}}

    def get_config(self) -> dict[str, Any]:
        known = {"names": list(self.names), "exclusive": self.exclusive}
        return {**super().get_config(), **known}

    def _predicted(self, logits: Any) -> Any:
        if not self.exclusive:
            return ops.greater_equal(logits, 0)
        classes = ops.arange(len(self.names), dtype="int32")
        best = ops.cast(ops.argmax(logits, axis=-1), "int32")
        return ops.equal(best[..., None], classes)

    def _union(self) -> Any:
        return ops.add(ops.add(self.right, self.wrong), self.missed)


@keras.saving.register_keras_serializable("segkit")
class OrderedErrors(keras.metrics.Metric):
    """Of ordered classes: absolute errors in the unit of the values, quadratic weighted kappa.

    `result` is a dict with `mean_absolute_error` (of the class with the largest logit),
    `mean_absolute_error_of_mean` (of the mean of the values under the softmax) and
    `quadratic_weighted_kappa`, over the pixels whose label is beyond doubt; NaN without any. See
    `segkit.metrics.ordered.OrderedSums` for the formulas.

    Args:
        values: one a class, ascending.
        name, dtype: see `keras.metrics.Metric`.
    """

    def __init__(self, values: Sequence[float], name: str = "ordered_errors", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.values = tuple(map(float, values))
        middle = sum(self.values) / len(self.values)
        self._centred = [value - middle for value in self.values]
        # Sums over pixels outgrow float32; JAX has no float64 by default.
        dtype = "float64" if keras.backend.backend() == "tensorflow" else "float32"
        self.sums = self.add_variable((8,), initializer="zeros", dtype=dtype, name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """(B, H, W, C) target and logits; example weights do not count here."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        y_pred = ops.cast(y_pred, "float32")
        values = ops.convert_to_tensor(self._centred, dtype="float32")
        settled = ops.all(ops.not_equal(y_true, UNKNOWN), axis=-1)
        sure = ops.logical_and(settled, ops.any(ops.equal(y_true, LABELLED), axis=-1))
        label = ops.take(values, ops.argmax(y_true, axis=-1))
        predicted = ops.take(values, ops.argmax(y_pred, axis=-1))
        mean, _ = decode(ops.softmax(y_pred, axis=-1), self._centred)
        apart = predicted - label
        terms = [ops.ones_like(label), label, label**2, predicted, predicted**2, apart**2]
        terms += [ops.absolute(apart), ops.absolute(mean - label)]
        counted = [ops.where(sure, term, 0) for term in terms]
        sums = [ops.sum(ops.cast(term, self.sums.dtype)) for term in counted]
        self.sums.assign_add(ops.stack(sums))

    def result(self) -> dict[str, Any]:
        pixels, v, vv, u, uu, squared, absolute, of_mean = (self.sums[k] for k in range(8))
        some = ops.maximum(pixels, 1)
        chance = vv + uu - 2 * v * u / some
        there = chance > 1e-6 * (vv + uu)
        nan, seen = float("nan"), pixels > 0
        kappa = ops.where(there, 1 - squared / ops.where(there, chance, 1), nan)
        return {
            "mean_absolute_error": ops.where(seen, absolute / some, nan),
            "mean_absolute_error_of_mean": ops.where(seen, of_mean / some, nan),
            "quadratic_weighted_kappa": kappa,
        }

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "values": list(self.values)}


class _PerClass(Protocol):
    def per_class(self, target: Any, logits: Any) -> Any: ...


@keras.saving.register_keras_serializable("segkit")
class ClassLosses(keras.metrics.Metric):
    """The share of each class in the loss: mean over images of `loss.per_class`, as a dict.

    The numbers `loss_<class>` add up to the loss, so a log shows which class it comes from.

    Args:
        loss: a loss with `per_class(target, logits) -> (B, C)`, or its serialised config.
        names: class names, for the keys.
        name, dtype: see `keras.metrics.Metric`.
    """

    def __init__(
        self, loss: _PerClass, names: Sequence[str], name: str = "class_losses", **kwargs: Any
    ):
        super().__init__(name=name, **kwargs)
        self.loss = keras.losses.deserialize(loss) if isinstance(loss, dict) else loss
        self.names = tuple(names)
        self.total = self.add_variable((len(self.names),), initializer="zeros", name="total")
        self.images = self.add_variable((), initializer="zeros", name="images")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """(B, H, W, C) target and logits; the weights of images, (B,), count as in the loss."""
        shares = ops.cast(self.loss.per_class(y_true, y_pred), self.dtype)
        if sample_weight is not None:
            shares = shares * ops.cast(sample_weight, self.dtype)[:, None]
        self.total.assign_add(ops.sum(shares, axis=0))
        self.images.assign_add(ops.cast(ops.shape(shares)[0], self.dtype))

    def result(self) -> dict[str, Any]:
        means = self.total / ops.maximum(self.images, 1)
        return {f"loss_{name}": means[c] for c, name in enumerate(self.names)}

    def get_config(self) -> dict[str, Any]:
        loss = keras.losses.serialize(self.loss)
        return {**super().get_config(), "loss": loss, "names": list(self.names)}

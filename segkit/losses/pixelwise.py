"""What the cross-entropies share: a mean over pixels, the log-probability of a set of classes."""

from __future__ import annotations

from typing import Any, Callable, Sequence

import keras
from keras import ops

from segkit.contract import share
from segkit.losses.base import SegmentationLoss, candidates_of, judged_count, judged_of, labels_of

# Stands for log 0. Finite, so that 0 * NEVER is 0 and no gradient is NaN; exp(NEVER) is 0.
NEVER = -1e9

# Too small to change a weight, and more than 0.
TINY = 1e-30


class PixelwiseLoss(SegmentationLoss):
    """Base class of losses that are a mean over the judged pixels of an image.

        loss[b] = 1/N[b] sum_hw w term

    with N the judged pixels, and w the weight of the label (without one, under a coarse label: the
    mean weight of the candidates). Subclasses define `terms(target, logits) -> (B, H, W)`, 0 and
    without gradient where nothing is known, whatever the logits are there.

    Args:
        class_weights: w, one a class; None = 1 each.
        name, reduction, dtype: see `keras.losses.Loss`.
    """

    def terms(self, target: Any, logits: Any) -> Any:
        """(B, H, W): what each pixel costs before weighting; logits are float32 or float64."""
        raise NotImplementedError(f"{type(self).__name__} must define terms(target, logits).")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B, H, W, C) targets, (B, H, W, C) logits -> (B,)."""
        # The sum of the shares, without the (B, H, W, C) passes that telling classes apart takes.
        target, logits = self._checked(y_true, y_pred)
        terms = self._pixel_weights(target, logits) * self.terms(target, logits)
        judged = judged_of(target, logits.dtype)
        return ops.sum(terms, axis=(1, 2)) / judged_count(judged)[:, 0]

    def shares(self, target: Any, logits: Any) -> Any:
        owners = self._owners(target, logits.dtype) * self._label_weights(target, logits)
        terms = owners * self.terms(target, logits)[..., None]
        return ops.sum(terms, axis=(1, 2)) / judged_count(judged_of(target, logits.dtype))

    def _owners(self, target: Any, dtype: Any) -> Any:
        """Which part of a term belongs to which class, (B, H, W, C): all to the label, or else
        equal parts to the candidates."""
        labels, possible = labels_of(target, dtype), candidates_of(target, dtype)
        unlabelled = ops.sum(labels, axis=-1, keepdims=True) == 0
        count = ops.sum(possible, axis=-1, keepdims=True)
        return labels + ops.where(unlabelled, 1 / ops.maximum(count, 1), 0) * possible

    def _label_weights(self, target: Any, logits: Any) -> Any:
        """The weight of a pixel that belongs to class c: (C,), or with dimensions in front."""
        return self._weights(target, logits.dtype)

    def _pixel_weights(self, target: Any, logits: Any) -> Any:
        """Sum over c of the owners times their weights: (B, H, W), or 1 without weights."""
        if self.class_weights is None or set(self.class_weights) == {1.0}:
            return 1.0
        # In fewer passes: the target is 1 at the label and -1 at unknown classes, so the largest
        # product is that of the label, and above 0 even if its weight is 0.
        state = ops.cast(target, logits.dtype)
        weighted = state * (self._weights(target, logits.dtype) + TINY)
        label = ops.max(weighted, axis=-1)
        mean = ops.sum(weighted, axis=-1) / ops.minimum(ops.sum(state, axis=-1), -1)
        return ops.where(label > 0, label, mean)


class SmoothedLoss(PixelwiseLoss):
    """Base class of losses over pixels whose labels may be smoothed.

    Args:
        class_weights: see `PixelwiseLoss`.
        label_smoothing: share of a label that is spread over all classes, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        self.label_smoothing = share("label_smoothing", label_smoothing)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


class LabelLoss(SmoothedLoss):
    """Base class of losses over pixels that have a term only where there is a label."""

    def _owners(self, target: Any, dtype: Any) -> Any:
        return labels_of(target, dtype)

    def _pixel_weights(self, target: Any, logits: Any) -> Any:
        if self.class_weights is None or set(self.class_weights) == {1.0}:
            return 1.0
        weights = self._label_weights(target, logits)
        return ops.sum(labels_of(target, logits.dtype) * weights, axis=-1)


def set_terms(
    members: Any,
    logits: Any,
    counted: Any,
    smoothing: float = 0.0,
    cost: Callable[[Any], Any] = ops.negative,
) -> Any:
    """What pixels cost that are one of a set S of classes, and no more is known: (B, H, W).

        (1 - e + e |S|/C) cost(log q) + e/C sum_{c not in S} cost(log p_c),  q = sum_{c in S} p_c

    with e the smoothing. The members of S count as one class: it has their part of the smoothing,
    and how that is spread among them is not asked. Arguments: see `log_probability`.
    """
    # Independent classes may all be ruled out, and then there is no set to speak of.
    counted = ops.logical_and(counted, ops.any(members, axis=-1))
    log_q = log_probability(members, logits, counted)
    return smoothed(cost(log_q), members, logits, counted, smoothing, cost)


def smoothed(
    terms: Any,
    members: Any,
    logits: Any,
    counted: Any,
    smoothing: float,
    cost: Callable[[Any], Any] = ops.negative,
) -> Any:
    """`terms` that are the costs of a set of classes, with smoothed labels: see `set_terms`."""
    if not smoothing:
        return terms
    members = ops.cast(members, logits.dtype)
    log_p = ops.log_softmax(ops.where(counted[..., None], logits, 0), axis=-1)
    others = ops.sum((1 - members) * cost(log_p), axis=-1)
    part = smoothing / members.shape[-1]
    own = (1 - smoothing + part * ops.sum(members, axis=-1)) * terms
    return ops.where(counted, own + part * others, 0)


def log_probability(members: Any, logits: Any, counted: Any) -> Any:
    """The log of the probability that a pixel is one of a set of classes: (B, H, W), at most 0.

        log sum_c v_c p_c

    Args:
        members: v, bool (B, H, W, C), or from 0 (not in the set) to 1 (in it); at least one above 0
            where `counted`. Gets no gradient.
        logits: (B, H, W, C).
        counted: bool (B, H, W); elsewhere the value is 0 and so is the gradient, whatever the
            logits are.
    """
    if keras.backend.standardize_dtype(members.dtype) == "bool":
        return _log_share(lambda z: _top(ops.where(members, z, NEVER)), logits, counted)
    inside = members > 0
    log_v = ops.stop_gradient(ops.log(ops.where(inside, members, 1)))
    return _log_share(lambda z: _top(ops.where(inside, z + log_v, NEVER)), logits, counted)


def log_p_label(labels: Any, logits: Any, labelled: Any) -> Any:
    """The same of a set of one, the label, in half the time; `labels` are 1 there, 0 elsewhere."""
    return _log_share(lambda z: (ops.sum(labels * z, axis=-1), 0, labels), logits, labelled)


def _log_share(inside: Callable[[Any], Any], logits: Any, counted: Any) -> Any:
    """log sum_{inside} exp z - log sum exp z, where `inside` gives what `_top` gives for all.

    The gradient is written out as the difference of the two softmaxes: differentiating takes twice
    the time, and comes out NaN where a sum underflows.
    """

    @ops.custom_gradient
    def value(logits: Any) -> tuple[Any, Callable[..., Any]]:
        logits = ops.where(counted[..., None], logits, 0)
        part_top, part_log, part = inside(logits)
        all_top, all_log, p = _top(logits)

        def gradient(*args: Any, upstream: Any = None) -> Any:
            pull = ops.where(counted, args[0] if upstream is None else upstream, 0)
            return pull[..., None] * (part - p)

        # In this order, since what is large cancels in the first difference, without rounding.
        log_q = (part_top - all_top) - (part_log - all_log)
        return ops.where(counted, ops.minimum(log_q, 0), 0), gradient

    return value(logits)


def _top(z: Any) -> tuple[Any, Any, Any]:
    """The largest logit, the log of its share in the softmax, and the softmax.

    The first less the second is log sum exp z, exact however far apart the logits are.
    """
    p = ops.softmax(z, axis=-1)
    return ops.max(z, axis=-1), ops.log(ops.max(p, axis=-1)), p

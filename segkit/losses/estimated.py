"""Losses for annotations that are missing without anybody having said so."""

from __future__ import annotations

from typing import Any, Iterator, Sequence

import keras
import numpy as np
from keras import ops

from segkit.contract import LABELLED, UNKNOWN, judged_pixels, share
from segkit.losses.compound import terms_of
from segkit.losses.label_sets import MarginalDice
from segkit.losses.pixelwise import SmoothedLoss, set_terms

STEPS = 100  # of expectation and maximisation; it settles within a few


class EstimatedLoss:
    """What the two losses share: the shares that are estimated, and the weights they give.

    Args:
        annotated_share: a, one a class or one for all.
        class_weights: tell the number of classes, if they are given.
    """

    def __init__(self, annotated_share: float | Sequence[float], *arguments: Any, **kwargs: Any):
        super().__init__(*arguments, **kwargs)
        for value in np.ravel(np.asarray(annotated_share, "object")).tolist():
            share(f"annotated_share of {type(self).__name__}", value)
        values = np.asarray(annotated_share, "float64")
        if self.class_weights is not None:
            values = _one_a_class(values, len(self.class_weights), type(self).__name__)
        self.annotated_share = keras.Variable(
            values.astype("float32"), dtype="float32", trainable=False, name="annotated_share"
        )

    def get_config(self) -> dict[str, Any]:
        shares = np.asarray(self.annotated_share, "float64").tolist()
        return {**super().get_config(), "annotated_share": shares}

    def _membership(self, target: Any, logits: Any) -> Any:
        """v: 1 at labels and at members of coarse labels, u at doubts, 0 where ruled out."""
        doubts = doubtful(target, logits.dtype)
        a = ops.cast(ops.convert_to_tensor(self.annotated_share), logits.dtype)
        seen = evidence(doubts, ops.stop_gradient(logits))
        skipped = (1 - a) / ops.maximum(1 - a * seen, 1e-7)
        possible = ops.cast(ops.absolute(target), logits.dtype)
        return possible - doubts * (1 - skipped)[:, None, None, :]


@keras.saving.register_keras_serializable("segkit")
class EstimatedCrossEntropy(EstimatedLoss, SmoothedLoss):
    """Marginal cross-entropy whose unknown state weighs as much as an annotation is likely missing.

        loss[b] = - 1/N[b] sum_hw w log sum_c v_c p_c
        v_c = 1 at the label, 0 where ruled out, u[b, c] where UNKNOWN
        u = (1 - a) / (1 - a s),  s = sum_hw p^2 / (sum_hw p + 1e-3)

    with p the softmax of the logits, N the judged pixels of the image, w the weight of the label,
    and a[c] the share of the images holding class c in which it was outlined. s in [0, 1] is how
    sure the model is of the class where it sees it at all, over the pixels where the class is in
    doubt. u is the probability that class c, were it at a pixel, was skipped in this image. By
    Bayes, the class is in an image that does not show it with probability
    s' = (1 - a) s / (1 - a s). If it is, it was skipped for certain; if not, a new object would be
    with probability 1 - a; so u = s' + (1 - s') (1 - a). No gradient flows through u.

    a = 0: `MarginalCrossEntropy`. a = 1: `CrossEntropy`, but for pixels under a coarse label, which
    cost there what they cost in the marginal one. Range: from 0 up.

    For masks without a manifest (data.annotated=present): a class that a mask does not show is
    absent, or was skipped. `segkit.estimation.AnnotatedShare` estimates a from the model's own
    predictions after each epoch, starting from 0. Where a manifest says what nobody looked for,
    that is certain, and `MarginalCrossEntropy` is the right loss.

    Args:
        class_weights: w, one a class; None = 1 each.
        annotated_share: a, one a class, or one for all; estimating needs class_weights or one a
            class.
        label_smoothing: see `MarginalCrossEntropy`.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if a share is not from 0 to 1, or their number is not C.

    Ref: the forward correction of Patrini et al. 2017, arXiv:1609.03683, for labels skipped with
    probability 1 - a; a as in Elkan, Noto 2008, doi:10.1145/1401890.1401920. Differs: skipping is
    one event an image and class, not one a pixel, hence s.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        annotated_share: float | Sequence[float] = 0.0,
        label_smoothing: float = 0.0,
        name: str = "estimated_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(annotated_share, class_weights, label_smoothing, name=name, **kwargs)

    def terms(self, target: Any, logits: Any) -> Any:
        counted = judged_pixels(target)
        members = self._membership(target, ops.where(counted[..., None], logits, 0))
        return set_terms(members, logits, counted, self.label_smoothing)


@keras.saving.register_keras_serializable("segkit")
class EstimatedDice(EstimatedLoss, MarginalDice):
    """Marginal Dice whose unknown state weighs as much as an annotation is likely missing.

        loss[b] = sum_c w_c [1 - (2 R + s) / (sum_hw o + R + sum_hw (1 - v) p + s)] / sum_c w_c
        R = sum_hw o q,  q = sum_c v_c p_c

    with v as in `EstimatedCrossEntropy`, p, o and s as in `MarginalDice`. a = 0: `MarginalDice`.
    a = 1: `SoftDice`. Range: [0, 1].

    Args:
        class_weights: w, one a class; None = 1 each.
        annotated_share: see `EstimatedCrossEntropy`.
        smooth: s, in pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if a share is not from 0 to 1, `smooth` is not positive, or all weights are 0.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        annotated_share: float | Sequence[float] = 0.0,
        smooth: float = 1.0,
        name: str = "estimated_dice",
        **kwargs: Any,
    ):
        super().__init__(annotated_share, class_weights, smooth, name=name, **kwargs)


def estimated_terms(loss: Any) -> Iterator[EstimatedLoss]:
    """The estimated losses in a loss or, at any depth, in a sum of losses."""
    return (term for term in terms_of(loss) if isinstance(term, EstimatedLoss))


def doubtful(target: Any, dtype: Any) -> Any:
    """1 where a class is UNKNOWN at a pixel that has a label, else 0: (B, H, W, C)."""
    labelled = ops.any(ops.equal(target, LABELLED), axis=-1, keepdims=True)
    return ops.cast(ops.logical_and(labelled, ops.equal(target, UNKNOWN)), dtype)


def evidence(where: Any, logits: Any) -> Any:
    """How sure a model is of each class where it sees it at all: (B, C), in [0, 1].

        s = sum_hw p^2 / (sum_hw p + 1e-3)

    with p the softmax of the logits, over the pixels `where` is 1, (B, H, W, C).
    """
    p = where * ops.softmax(logits, axis=-1)
    return ops.sum(ops.square(p), axis=(1, 2)) / (ops.sum(p, axis=(1, 2)) + 1e-3)


def estimate_share(labelled: np.ndarray, silent: np.ndarray, least: float = 0.5) -> float:
    """The share of the images holding a class in which it was outlined, from a model's evidence.

        a = n / (n + sum_i s'_i),  s' = (1 - a) s / (1 - a s),  s = min(1, silent / mean labelled)

    solved for a by iteration, with n the images in which the class is labelled: expectation and
    maximisation, with evidence scaled to what the model shows where the class is certain.

    Args:
        labelled: evidence, see `evidence`, in the images in which the class is labelled.
        silent: evidence in the images in which it is in doubt.
        least: mean evidence that `labelled` must reach. A model that does not know the class
            where it is labelled would not see it where it was skipped either.

    Returns:
        a in [0, 1]; 0, which takes nothing for absent, if there is too little to tell.

    Ref: Elkan, Noto 2008, doi:10.1145/1401890.1401920.
    """
    if not len(labelled) or np.mean(labelled) < least:
        return 0.0
    seen = np.clip(np.asarray(silent, "float64") / np.mean(labelled), 0, 1)
    found = 0.5
    for _ in range(STEPS):
        there = (1 - found) * seen / np.maximum(1 - found * seen, 1e-12)
        found = len(labelled) / (len(labelled) + there.sum())
    return float(found)


def _one_a_class(values: np.ndarray, count: int, who: str) -> np.ndarray:
    if values.shape not in ((), (count,)):
        raise ValueError(
            f"{who} needs one annotated_share for all classes, or one a class, {count} here. "
            f"Received: {values.tolist()}."
        )
    return np.broadcast_to(values, count)

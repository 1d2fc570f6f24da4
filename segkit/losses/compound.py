"""Losses made of several terms."""

from __future__ import annotations

import math
import warnings
from typing import Any, Iterable, Iterator, Sequence

import keras

from segkit.contract import is_number
from segkit.losses.base import SegmentationLoss
from segkit.losses.independent import Exclusion


@keras.saving.register_keras_serializable("segkit")
class WeightedSum(SegmentationLoss):
    """A weighted sum of other losses.

        loss[b] = sum_k weights[k] losses[k][b]

    Args:
        losses: the terms, each a `SegmentationLoss` (or its serialised config).
        weights: one factor a term; None = 1 each.
        class_weights: for the terms that have none of their own.
        name, reduction, dtype: see `keras.losses.Loss`. The terms' own reductions are not used.

    Raises:
        ValueError: without terms, with something that is not such a loss, or if the number of
            weights differs.

    Warns:
        UserWarning: if `Exclusion` is added to a loss over a softmax.
    """

    def __init__(
        self,
        losses: Sequence[SegmentationLoss],
        weights: Sequence[float] | None = None,
        class_weights: Sequence[float] | None = None,
        name: str = "weighted_sum",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)
        terms = [keras.losses.deserialize(k) if isinstance(k, dict) else k for k in losses]
        if not terms or not all(isinstance(term, SegmentationLoss) for term in terms):
            raise ValueError(f"WeightedSum adds losses of segkit. Received: {terms!r}.")
        _warn_of_exclusion([leaf for term in terms for leaf in terms_of(term)])
        self.losses = [self._weighted(term) for term in terms]
        self.weights = _finite(weights, len(self.losses))
        self.head = "softmax" if "softmax" in heads_of(self) else "sigmoid"
        self.ordered = is_ordered(self)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """(B, H, W, C) targets, (B, H, W, C) logits -> (B,)."""
        terms = zip(self.weights, self.losses)
        return sum(weight * loss.call(y_true, y_pred) for weight, loss in terms)

    def shares(self, target: Any, logits: Any) -> Any:
        terms = zip(self.weights, self.losses)
        return sum(weight * loss.shares(target, logits) for weight, loss in terms)

    def get_config(self) -> dict[str, Any]:
        terms = [keras.losses.serialize(loss) for loss in self.losses]
        return {**super().get_config(), "losses": terms, "weights": self.weights}

    def _weighted(self, term: SegmentationLoss) -> SegmentationLoss:
        if self.class_weights is None or term.class_weights is not None:
            return term
        return type(term).from_config({**term.get_config(), "class_weights": self.class_weights})


def _finite(weights: Sequence[float] | None, terms: int) -> list[float]:
    given = [1.0] * terms if weights is None else weights
    given = list(given) if isinstance(given, Iterable) else [given]
    right = all(is_number(weight) and math.isfinite(weight) for weight in given)
    if not right or len(given) != terms:
        raise ValueError(
            f"WeightedSum needs one finite weight a loss, {terms} here. Received: {given!r}."
        )
    return list(map(float, given))


def described(loss: Any) -> str:
    """The name of a loss; of a sum, the names of its terms."""
    return " + ".join(term.name for term in terms_of(loss))


def terms_of(loss: Any) -> Iterator[Any]:
    """The losses that a loss is made of: those in a sum, at any depth, or else itself."""
    if not isinstance(loss, WeightedSum):
        yield loss
        return
    for term in loss.losses:
        yield from terms_of(term)


def heads_of(loss: Any) -> set[str]:
    """The activations through which a loss reads the logits, all those of the terms of a sum.

    {"sigmoid"} suits independent classes; with a "softmax" among them, classes must be exclusive.
    """
    return {term.head for term in terms_of(loss)}


def is_ordered(loss: Any) -> bool:
    """Whether a loss, or a term of a sum, asks for classes in an order that means something."""
    return any(term.ordered for term in terms_of(loss))


def _warn_of_exclusion(terms: Sequence[SegmentationLoss]) -> None:
    softmax = sorted({term.name for term in terms if term.head == "softmax"})
    if softmax and any(isinstance(term, Exclusion) for term in terms):
        warnings.warn(
            "Exclusion reads the logits through a sigmoid and is meant to go with bce_dice. "
            f"Received: a sum with {', '.join(softmax)}, over a softmax, which pushes the other "
            "classes down at every labelled pixel already. Leave exclusion out.",
            stacklevel=3,
        )

"""Overlap losses over sets of classes: they ask no more of a pixel than its annotation says."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.losses.base import candidates_of, judged_of, labels_of
from segkit.losses.overlap import RegionLoss


@keras.saving.register_keras_serializable("segkit")
class MarginalDice(RegionLoss):
    """Soft Dice in which a pixel is right if its probability lies anywhere among its candidates.

        loss[b] = sum_c w_c [1 - (2 R + s) / (sum_hw o + R + sum_hw r p + s)] / sum_c w_c
        R = sum_hw o q,  q = sum_{c candidate} p_c

    with p the softmax of the logits, r = [target = 0], o = 1 where the class owns the pixel: it is
    the label (or, under a coarse label, one of its members), and sums over the judged pixels of the
    image. So the background of an image in which class m was not annotated counts as "background
    or m". m itself has no term there; it only has false positives, at pixels labelled otherwise.
    A class verified absent costs FP / (FP + s), which keeps its false positives punished; without
    s it would have no gradient. Moving probability among the candidates of a pixel changes
    nothing. Nothing missing: equals `SoftDice`. Range: [0, 1].

    Args:
        class_weights: w, one a class; None = 1 each.
        smooth: s, in pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or if all weights are 0.

    Ref: Shi et al. 2021, doi:10.1016/j.media.2021.101979; Fidon et al. 2021, arXiv:2107.03846.
    Differs: the former leaves the background out and merges per image, here per pixel, so that
    coarse labels and partly outlined classes work too; the latter gives every candidate an equal
    part of the pixel and sums squares.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        name: str = "marginal_dice",
        **kwargs: Any,
    ):
        super().__init__(class_weights, smooth, name=name, **kwargs)

    def costs(self, target: Any, logits: Any) -> Any:
        p, members = ops.softmax(logits, axis=-1), self._membership(target, logits)
        owned = _owned(target, candidates_of(target, logits.dtype))
        q = ops.sum(members * p, axis=-1, keepdims=True)
        right = ops.sum(owned * q, axis=(1, 2))
        wrong = ops.sum((1 - members) * p, axis=(1, 2))
        total = ops.sum(owned, axis=(1, 2)) + right + wrong
        return 1 - (2 * right + self.smooth) / (total + self.smooth)

    def _membership(self, target: Any, logits: Any) -> Any:
        """How far a pixel may belong to each class, from 0 to 1: (B, H, W, C)."""
        return candidates_of(target, logits.dtype)


@keras.saving.register_keras_serializable("segkit")
class LeafDice(RegionLoss):
    """Dice with squares, of the classes that are labelled beyond doubt; says nothing of the others.

        loss[b] = sum_c w_c [A > 0] [1 - (2 sum_hw l p + s) / (A + P + s)] / sum_c w_c
        A = sum_hw l,  P = sum_hw (l + r) p^2

    with p the softmax of the logits, l = 1 where the class is the label and the only candidate,
    r = [target = 0], and sums over the judged pixels of the image. A class that is nowhere in the
    image beyond doubt costs 0 and has no gradient, be it unknown or verified absent: pair this with
    `MarginalCrossEntropy`, which tells the two apart. Moving probability among the candidates
    of a pixel changes nothing. Nothing missing: Dice with squares, mean over all classes, those
    that are absent at 0. Range: [0, 1].

    Args:
        class_weights: w, one a class; None = 1 each.
        smooth: s, in pixels.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `smooth` is not positive, or if all weights are 0.

    Ref: Fidon et al. 2021, arXiv:2107.03846. Differs: a class without a pixel costs 0, theirs a
    constant 1, with the same gradient; p^2 is not summed over cells where the class is a candidate
    among others; s is in the numerator too.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        smooth: float = 1.0,
        name: str = "leaf_dice",
        **kwargs: Any,
    ):
        super().__init__(class_weights, smooth, name=name, **kwargs)

    def costs(self, target: Any, logits: Any) -> Any:
        p, possible = ops.softmax(logits, axis=-1), candidates_of(target, logits.dtype)
        certain = ops.sum(possible, axis=-1, keepdims=True) == 1
        leaf = ops.where(certain, labels_of(target, p.dtype), 0)
        area, right = ops.sum(leaf, axis=(1, 2)), ops.sum(leaf * p, axis=(1, 2))
        total = area + ops.sum((leaf + 1 - possible) * ops.square(p), axis=(1, 2))
        dice = (2 * right + self.smooth) / (total + self.smooth)
        return ops.where(area > 0, 1 - dice, 0)


def _owned(target: Any, candidates: Any) -> Any:
    """1 where a pixel counts for a class: its label, or, without one, each candidate."""
    labels = labels_of(target, candidates.dtype)
    owned = ops.where(ops.sum(labels, axis=-1, keepdims=True) > 0, labels, candidates)
    return owned * judged_of(target, candidates.dtype)[..., None]

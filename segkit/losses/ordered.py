"""A loss for classes in an order, such as grades: far misses cost more than near ones."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import candidates, judged_pixels
from segkit.losses.pixelwise import NEVER, TINY, PixelwiseLoss


@keras.saving.register_keras_serializable("segkit")
class EarthMovers(PixelwiseLoss):
    """Distance of cumulative distributions over classes in the order of their ids.

        loss[b] = 1/N[b] sum_hw w sqrt(1/C sum_k (F_k - G_k)^2),  F_k = sum_{c <= k} p_c

    with p the softmax of the logits, N the judged pixels of the image, and w the weight of the
    label (without one: the mean weight of the candidates). G is the cumulative distribution of
    the label: 0 before it, 1 from it on. Where a pixel may be one of several classes, G is that of
    the distribution over these candidates that is nearest to F:

        G_k = 0                          before the first candidate,
              1                          from the last one on,
              mean of F over s <= k < e  between a candidate s and the next one, e

    No gradient flows through G. So "grade 2 or 3" asks for no more than it says: probability may
    move among the candidates at no cost, what lies beside them costs by how far it is from the
    nearest one, and what lies between two that are not neighbours costs as well. A pixel of which
    nothing is known costs 0. Range: [0, sqrt((C - 1)/C)], times w. Reductions: see
    `SegmentationLoss`.

    There is no label smoothing: one that is even takes the farthest grade for as likely as the
    next one.

    Args:
        class_weights: w, one a class; None = 1 each.
        name, reduction, dtype: see `keras.losses.Loss`.

    Ref: Hou et al. 2016, arXiv:1611.05916. Differs: theirs is the square, summed over classes; this
    is its root, of the mean over classes, as in Talebi, Milanfar 2018, arXiv:1709.05424, and takes
    sets of classes.
    """

    ordered = True

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        name: str = "earth_movers",
        **kwargs: Any,
    ):
        super().__init__(class_weights, name=name, **kwargs)

    def terms(self, target: Any, logits: Any) -> Any:
        possible = candidates(target)
        # Independent classes may all be ruled out, and then there is no set to speak of.
        counted = ops.logical_and(ops.any(possible, axis=-1), judged_pixels(target))
        p = ops.softmax(ops.where(counted[..., None], logits, 0), axis=-1)
        squared = ops.mean(ops.square(_differences(p, possible)), axis=-1)
        # The root has no gradient at 0.
        there = ops.logical_and(counted, squared > TINY)
        return ops.where(there, ops.sqrt(ops.where(there, squared, 1)), 0)


def _differences(p: Any, possible: Any) -> Any:
    """F - G, (B, H, W, C), of probabilities and the candidates."""
    # All of it is in what lies beside the candidates. Summing nothing else, rounding stays small
    # beside the loss, however small that is; the gradient is divided by it.
    beside = ops.where(possible, 0, p)
    below = ops.cumsum(beside, axis=-1)
    above = ops.flip(ops.cumsum(ops.flip(beside, axis=-1), axis=-1), axis=-1) - beside
    passed = ops.cumsum(ops.cast(possible, "int32"), axis=-1)
    before, after = passed == 0, ops.equal(passed, passed[..., -1:])
    mean = ops.stop_gradient(_mean_to_next(below, possible))
    return ops.where(before, below, ops.where(after, -above, below - mean))


def _mean_to_next(values: Any, possible: Any) -> Any:
    """The mean of `values` from the last candidate up to the next one; between candidates only."""
    count = possible.shape[-1]
    sums, places = ops.cumsum(values, axis=-1), ops.arange(count, dtype=values.dtype)
    starts, ends = possible, ops.concatenate([possible[..., 1:], possible[..., -1:]], axis=-1)
    # Both grow with the class, so that of the last candidate is the largest so far.
    first = _largest_so_far(ops.where(starts, places, NEVER))
    before = _largest_so_far(ops.where(starts, sums - values, NEVER))
    after = -_largest_so_far(ops.flip(ops.where(ends, -sums, NEVER), axis=-1))
    end = -_largest_so_far(ops.flip(ops.where(ends, -places - 1, NEVER), axis=-1))
    after, end = ops.flip(after, axis=-1), ops.flip(end, axis=-1)
    return (after - before) / ops.maximum(end - first, 1)


def _largest_so_far(values: Any) -> Any:
    """The running maximum over the last axis, in as many passes as C has binary digits."""
    shift, rank = 1, len(values.shape)
    while shift < values.shape[-1]:
        pad = [[0, 0]] * (rank - 1) + [[shift, 0]]
        moved = ops.pad(values[..., :-shift], pad, constant_values=NEVER)
        values, shift = ops.maximum(values, moved), 2 * shift
    return values

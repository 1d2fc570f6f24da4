"""How good and how bad a prediction may be, whatever nobody looked at turns out to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, judged_pixels
from segkit.metrics.cells import unsettled
from segkit.metrics.counts import decided, mean_or_none, number_or_none, ratio


@dataclass(frozen=True)
class Bounds:
    """Settled and open pixels of each class over all images; int64 (C,).

    A pixel is *open* for a class if the annotation does not settle whether it belongs to the
    class; a *completion* settles every open pixel in some way. Ignored pixels stay ignored.

    true_positives, false_positives, false_negatives: settled pixels, in known cells or not.
    open_predicted: open pixels that were predicted as the class.
    open_rest: the other open pixels.
    """

    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray
    open_predicted: np.ndarray
    open_rest: np.ndarray

    def __add__(self, other: Bounds) -> Bounds:
        pairs = zip(vars(self).values(), vars(other).values())
        return Bounds(*(mine + others for mine, others in pairs))

    @property
    def iou(self) -> np.ndarray:
        """The least and the greatest IoU of each class over all completions, float64 (2, C).

            least    = TP / (TP + FP + FN + P + R)
            greatest = (TP + P) / (TP + FP + FN + P)

        with P the open pixels predicted as the class and R the other open ones. Pessimistic: what
        is open is the opposite of the prediction, P false positives and R false negatives.
        Optimistic: it is what was predicted. Nothing open: both are the IoU. In [0, 1].

        NaN if no completion gives the class a score. A class that was neither labelled nor
        predicted anywhere has none, or 0 if it is in the open pixels after all: then 0 and 0.
        """
        settled = self.true_positives + self.false_positives + self.false_negatives
        hoped = settled + self.open_predicted
        least = ratio(self.true_positives, hoped + self.open_rest)
        greatest = ratio(self.true_positives + self.open_predicted, hoped)
        return np.stack([least, np.where(hoped > 0, greatest, least)])

    @property
    def dice(self) -> np.ndarray:
        """The least and the greatest Dice of each class, float64 (2, C): 2 IoU / (1 + IoU)."""
        return 2 * self.iou / (1 + self.iou)

    @property
    def mean_iou(self) -> tuple[float | None, float | None]:
        """Bounds of the mean IoU over the classes that have a score; None without any.

        Outer bounds, which no completion need reach: where classes exclude each other, a pixel
        that is good for one class is bad for another. A class that may have no score counts only
        in the lower mean, which its 0 makes smaller.
        """
        least, greatest = self.iou
        always = self.true_positives + self.false_positives + self.false_negatives
        always = always + self.open_predicted > 0
        return mean_or_none(least), mean_or_none(greatest[always] if always.any() else greatest)

    def to_dict(self) -> dict[str, Any]:
        """`mean_iou_bounds` and, in the order of the classes, `iou_bounds`: each [low, high]."""
        pairs = [[number_or_none(bound) for bound in pair] for pair in self.iou.T]
        return {"mean_iou_bounds": list(self.mean_iou), "iou_bounds": pairs}


def bounds(target: np.ndarray, prediction: np.ndarray) -> Bounds:
    """Settled and open pixels of a batch.

    A score on known cells stands for the rest if the rest is like them; the bounds hold whatever
    it is like. They contain the score of each class against the full truth, over the same images
    and their judged pixels. Of independent classes that nobody looked for in an image, pixels that
    are ignored cannot be told from others, and are open like them.

    Args:
        target: int8 (B, H, W, C) of the three states.
        prediction: the predicted ids, integers (B, H, W); independent classes: planes, bool or
            0 and 1, (B, H, W, C).

    Raises:
        ValueError: if the shapes do not fit, or the target is unsigned.
    """
    predicted, exclusive = decided(prediction, target, "metrics.bounds")
    open_ = unsettled(target, exclusive)
    judged = judged_pixels(target)[..., None] if exclusive else target != UNKNOWN
    settled = judged & ~open_
    labelled, ruled_out = target == LABELLED, target == RULED_OUT
    cells = (
        settled & labelled & predicted,
        settled & ruled_out & predicted,
        settled & labelled & ~predicted,
        open_ & predicted,
        open_ & ~predicted,
    )
    return Bounds(*(cell.sum((0, 1, 2), dtype="int64") for cell in cells))

"""Forgetting annotations at random while training."""

from __future__ import annotations

import zlib
from typing import Sequence

import numpy as np

from segkit.contract import Sample, share
from segkit.erasing import erase
from segkit.labels import LabelSpace

_STREAM = zlib.crc32(b"label dropout")  # so that no other draw of the same seed repeats these


class LabelDropout:
    """Treats annotated classes as if nobody had looked for them: (sample, seed) -> sample.

    Where every image of a source lacks the same classes, a model can read the source off the
    image and learn "there, this class is never labelled", instead of what the class looks like.
    When any image may lack any class, knowing the source tells it nothing.

    Each annotated class but the background is dropped with the same probability, on its own, be
    it in the image or verified absent; its pixels become the background, of which it is then
    unknown whether the class is there. One annotated class always stays, the last one that a
    higher rate would drop: an image without any says nothing. So an image with a single annotated
    class never changes. The truth stays as it is. A coarse label goes when all its members do at
    once; else it stays, and is true of its pixels.

    Args:
        rate: probability of dropping a class, in [0, 1].
        labels: `segkit.data.pipeline.batches` binds the labels of its source.

    Raises:
        ValueError: if the rate is out of range.

    Ref: Islam et al. 2024, arXiv:2403.07818. Differs: one class stays.
    """

    def __init__(self, rate: float = 0.2, labels: LabelSpace | None = None):
        self.rate = share("rate of label dropout", rate)
        self._labels = labels

    def bound(self, labels: LabelSpace) -> LabelDropout:
        """The same rate, for samples in this label space."""
        return LabelDropout(self.rate, labels)

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """Returns the sample with what is left; `seed` is numbers from 0 on, (seed, epoch, index).

        Raises:
            ValueError: without labels, or if there is no id that dropped pixels could take.
        """
        if self._labels is None:
            raise ValueError("LabelDropout needs the labels. Received: none. Use bound(labels).")
        known = np.array(sample.annotated, bool)
        if self._labels.background is not None:
            known[self._labels.background] = False
        draws = np.random.default_rng([_STREAM, *seed]).random(len(known))
        dropped = known & (draws < self.rate)
        if known.any() and (dropped == known).all():
            dropped[np.where(known, draws, -1).argmax()] = False
        return sample._replace(
            mask=erase(sample.mask[None], dropped[None], self._labels)[0],
            annotated=sample.annotated & ~dropped,
        )

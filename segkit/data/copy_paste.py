"""Pasting labelled objects of other images: on targets, since a label is known wherever it goes."""

from __future__ import annotations

import zlib
from typing import Sequence

import numpy as np

from segkit.contract import LABELLED, share, whole_number
from segkit.labels import LabelSpace

_STREAM = zlib.crc32(b"copy-paste")  # so that no other draw of the same seed repeats these


class CopyPaste:
    """Copies the labelled objects of other images into an image, with what is known about them.

    Each image of the batch gets, from `partners` other images of it in turn, the pixels labelled
    as one of the foreground classes, each class of each partner with the given probability. The
    partner is mirrored first, and turned by a quarter if the images are square. What is pasted
    replaces the pixel and its target:

        x[i] <- m x[j] + (1 - m) x[i],  t[i] <- m t[j] + (1 - m) t[i]

    with m = 1 where t[j] is labelled as a class drawn, as long as no more than the share `most` of
    the image is pasted over; a class that would not fit is left out. An object that somebody
    outlined is known completely, be it in an image of which nothing else is known. So where few
    annotations are left, each batch is full of labelled objects all the same, on ever new
    backgrounds.

    Args:
        probability: of pasting a class of a partner, in [0, 1].
        partners: images to paste from, in a batch that has as many others.
        most: of the pixels of an image, the share that may be pasted over, in [0, 1]. Where objects
            are large, more would leave no background to learn.
        labels: `segkit.data.pipeline.batches` binds the labels of its source. Without a
            background every class counts as foreground, and a lower probability is needed.

    Raises:
        ValueError: if a number is out of range.

    Ref: Ghiasi et al. 2021, arXiv:2012.07177; Olsson et al. 2021, arXiv:2007.07936 (ClassMix).
    Differs: partial targets move with the pixels; objects keep their size and, but for mirroring
    and turning, their place; classes are drawn, not instances.
    """

    def __init__(
        self,
        probability: float = 1.0,
        partners: int = 2,
        most: float = 0.4,
        labels: LabelSpace | None = None,
    ):
        self.probability = share("probability", probability)
        self.partners = whole_number("partners", partners, least=1)
        self.most = share("most", most)
        self._labels = labels

    def bound(self, labels: LabelSpace) -> CopyPaste:
        """The same numbers, for targets in this label space."""
        return CopyPaste(self.probability, self.partners, self.most, labels)

    def __call__(
        self, images: np.ndarray, target: np.ndarray, seed: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(B, H, W, K), (B, H, W, C) -> new arrays of the same shapes; a function of its arguments.

        `seed` is numbers from 0 on, (seed, epoch, step). A batch of one image stays as it is.
        """
        count, classes = len(images), target.shape[-1]
        mixed, mixed_target = images.copy(), target.copy()
        rng = np.random.default_rng([_STREAM, *map(int, seed)])
        draws = rng.random((count, self.partners, classes)) < self.probability
        views = rng.integers(8, size=(count, self.partners))
        orders = rng.permuted(np.tile(np.arange(classes), (count, self.partners, 1)), axis=-1)
        for i in range(count):
            room = self.most * images[i, ..., 0].size
            others = rng.permutation(count - 1)[: self.partners]
            for k, other in enumerate((i + 1 + others) % count):
                chosen = draws[i, k] & self._foreground(classes)
                there = _fitting(target[other], orders[i, k][chosen[orders[i, k]]], room)
                room -= there.sum()
                there, image, states = (
                    _seen(array, views[i, k]) for array in (there, images[other], target[other])
                )
                mixed[i][there] = image[there]
                mixed_target[i][there] = states[there]
        return mixed, mixed_target

    def _foreground(self, classes: int) -> np.ndarray:
        chosen = np.ones(classes, bool)
        if self._labels is not None and self._labels.background is not None:
            chosen[self._labels.background] = False
        return chosen


def _fitting(target: np.ndarray, classes: np.ndarray, room: float) -> np.ndarray:
    """bool (H, W): where `target` is labelled as one of the classes, those that fit, in turn."""
    there = np.zeros(target.shape[:2], bool)
    for c in classes:
        labelled = target[..., c] == LABELLED
        if (area := labelled.sum()) <= room:
            there |= labelled
            room -= area
    return there


def _seen(array: np.ndarray, view: int) -> np.ndarray:
    """One of the eight views (H, W, ...) of a square; of anything else, one of four mirrored."""
    mirrored = array[:: -1 if view & 1 else 1, :: -1 if view & 2 else 1]
    turned = view & 4 and array.shape[0] == array.shape[1]
    return mirrored.swapaxes(0, 1) if turned else mirrored

"""Augmentation by albumentations, with randomness that hangs on a seed alone."""

from __future__ import annotations

import copy
import os
import random
import threading
from typing import Any, Iterator, Sequence

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network on import otherwise

import albumentations  # noqa: E402
import cv2  # noqa: E402

from segkit.contract import Sample  # noqa: E402
from segkit.data.fitting import with_ignore_index  # noqa: E402
from segkit.data.label_dropout import LabelDropout  # noqa: E402
from segkit.labels import LabelSpace  # noqa: E402


class Augmentation:
    """Applies transforms to image, mask and truth together: (sample, seed) -> sample.

    The result is a function of the sample and the seed: neither earlier calls nor other threads
    change it. Masks are interpolated by the nearest pixel. Where a transform uncovers area (a
    rotation, a shift, padding), the mask becomes `ignore_index` there, whatever `fill_mask` says;
    only `fill_mask=None`, with which the dropout transforms leave the mask alone, stays.

    Args:
        transforms: from albumentations, applied in order.
        labels: gives the ignore index (255 if there is none). `segkit.data.pipeline.batches` binds
            the labels of its source, so a configuration leaves them out.
        label_dropout: probability of forgetting an annotated class after the transforms, see
            `segkit.data.label_dropout.LabelDropout`.

    Raises:
        TypeError: if one of the transforms is something else.
        ValueError: if a transform was given an argument that it does not know.
    """

    def __init__(
        self,
        transforms: Sequence[albumentations.BasicTransform | albumentations.BaseCompose],
        labels: LabelSpace | None = None,
        label_dropout: float = 0.0,
    ):
        self._label_dropout = LabelDropout(label_dropout, labels)
        self._transforms = copy.deepcopy(list(transforms))
        self._labels = labels
        self._fill = 255 if labels is None else with_ignore_index(labels).ignore_index
        for transform in _leaves(self._transforms):
            if getattr(transform, "fill_mask", None) is not None:
                transform.fill_mask = self._fill
        self._of_thread = threading.local()

    def bound(self, labels: LabelSpace) -> Augmentation:
        """The same transforms, filling uncovered area with the ignore index of `labels`."""
        return Augmentation(self._transforms, labels, self._label_dropout.rate)

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """Returns the transformed sample; `seed` is numbers from 0 on, (seed, epoch, index).

        Raises:
            ValueError: if the transforms change the type of the image.
        """
        compose = self._compose()
        # Not compose.set_random_seed: it seeds every transform alike, so that two flips with
        # p = 0.5 happen always together or not at all. Here they draw from one generator in turn.
        generator, source = np.random.SeedSequence(list(seed)).spawn(2)
        compose.set_random_state(
            np.random.default_rng(generator), random.Random(source.generate_state(4).tobytes())
        )
        arrays = {"image": sample.image, "mask": self._for_opencv(sample.mask)}
        if sample.truth is not None:
            arrays["truth"] = self._for_opencv(sample.truth)
        changed = compose(**arrays)
        image = changed["image"]
        if image.dtype != sample.image.dtype:
            raise ValueError(
                f"Augmentation must keep images {sample.image.dtype}. Received: {image.dtype}. "
                "Leave out transforms such as Normalize and ToFloat: scaling to [0, 1] comes later."
            )
        sample = sample._replace(
            image=image if image.ndim == 3 else image[..., None],
            mask=_as_before(changed["mask"], sample.mask),
            truth=None if sample.truth is None else _as_before(changed["truth"], sample.truth),
        )
        return self._label_dropout(sample, seed) if self._label_dropout.rate else sample

    def __reduce__(self):
        # The threads' copies stay behind.
        return Augmentation, (self._transforms, self._labels, self._label_dropout.rate)

    def _for_opencv(self, ids: np.ndarray) -> np.ndarray:
        # OpenCV does not warp 32-bit integers.
        fits = max(ids.max(), self._fill) < 256
        return ids.astype(np.uint8 if fits else np.uint16, copy=False)

    def _compose(self) -> albumentations.Compose:
        # Transforms hold their generator, so each thread needs its own.
        if not hasattr(self._of_thread, "compose"):
            self._of_thread.compose = albumentations.Compose(
                copy.deepcopy(self._transforms),
                additional_targets={"truth": "mask"},
                mask_interpolation=cv2.INTER_NEAREST,
            )
        return self._of_thread.compose


def _leaves(transforms: Sequence[Any]) -> Iterator[albumentations.BasicTransform]:
    for transform in transforms:
        if isinstance(transform, albumentations.BaseCompose):
            yield from _leaves(transform.transforms)
        elif not isinstance(transform, albumentations.BasicTransform):
            raise TypeError(
                "Augmentation takes transforms of albumentations. "
                f"Received: {transform!r}. In a configuration each one needs a _target_, "
                "for example {_target_: albumentations.HorizontalFlip, p: 0.5}."
            )
        elif transform.invalid_args:
            # albumentations only warns, and goes on without them.
            raise ValueError(
                f"{type(transform).__name__} has no argument {', '.join(transform.invalid_args)}. "
                f"It has: {', '.join(transform.get_transform_init_args_names())}."
            )
        else:
            yield transform


def _as_before(changed: np.ndarray, ids: np.ndarray) -> np.ndarray:
    # Wider where the old type cannot hold the ignore index.
    return changed.astype(np.promote_types(ids.dtype, changed.dtype), copy=False)

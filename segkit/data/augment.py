"""Augmentation by albumentations, with randomness that hangs on a seed alone."""

from __future__ import annotations

import random
from collections import deque
from typing import Mapping, Sequence

import albumentations
import cv2
import numpy as np

from segkit.contract import Sample
from segkit.data.fitting import with_ignore_index
from segkit.data.label_dropout import LabelDropout
from segkit.data.transforms import Transform, at_fault, look_at_masks, prepared
from segkit.labels import LabelSpace

_MASKS = ("ids", "truth")


class Augmentation:
    """Applies transforms to image, mask and truth together: (sample, seed) -> sample.

    The result is a function of the sample and the seed: neither earlier calls nor other threads
    change it. Masks are interpolated by the nearest pixel. Where a transform uncovers area (a
    rotation, a shift, padding) or drops it, the mask becomes `ignore_index`, whatever `fill_mask`
    says; only `fill_mask=None`, with which the dropout transforms leave the mask alone, stays.

    Transforms see masks shifted, with the ignore index at 0; one written by yourself may move
    pixels, but not look at their ids (unless it asks for "mask" in `targets_as_params`).

    Args:
        transforms: from albumentations, applied in order; a mapping gives each a name by which
            the command line can change it (augment.transforms.NAME.p=1).
        labels: gives the ignore index (255 if there is none). `segkit.data.pipeline.batches` binds
            the labels of its source, so a configuration leaves them out.
        label_dropout: probability of forgetting an annotated class after the transforms, see
            `segkit.data.label_dropout.LabelDropout`.

    Raises:
        TypeError: if one of the transforms is something else.
        ValueError: if a transform was given an argument that it does not know, or cannot be used,
            see `segkit.data.transforms`.
    """

    def __init__(
        self,
        transforms: Sequence[Transform] | Mapping[str, Transform],
        labels: LabelSpace | None = None,
        label_dropout: float = 0.0,
    ):
        self._label_dropout = LabelDropout(label_dropout, labels)
        self._transforms = prepared(transforms)
        self._labels = labels
        self._ignored = 255 if labels is None else with_ignore_index(labels).ignore_index
        self._guided = look_at_masks(self._transforms)
        # Not one a thread: those of tf.data are new to Python at every call.
        self._idle: deque[albumentations.Compose] = deque()

    @property
    def transforms(self) -> tuple[Transform, ...]:
        """The transforms, to be looked at."""
        return tuple(self._transforms)

    @property
    def label_dropout(self) -> float:
        """The probability of forgetting an annotated class."""
        return self._label_dropout.rate

    def bound(self, labels: LabelSpace) -> Augmentation:
        """The same transforms, filling uncovered area with the ignore index of `labels`."""
        return Augmentation(self._transforms, labels, self.label_dropout)

    def __call__(self, sample: Sample, seed: Sequence[int]) -> Sample:
        """Returns the transformed sample; `seed` is numbers from 0 on, (seed, epoch, index).

        Raises:
            ValueError: naming the transform that cannot work on this image; if the transforms
                change the type or the channels of the image, or its mask is of another size.
        """
        if self._transforms:
            sample = self._transformed(sample, seed)
        return self._label_dropout(sample, seed) if self.label_dropout else sample

    def __reduce__(self):
        # Copies at work stay behind.
        return Augmentation, (self._transforms, self._labels, self.label_dropout)

    def _transformed(self, sample: Sample, seed: Sequence[int]) -> Sample:
        _require_one_size(sample)
        transforms = self._seeded(seed)
        masks = {"ids": sample.mask, "truth": sample.truth}
        masks = {key: ids for key, ids in masks.items() if ids is not None}
        shifted = {key: self._shifted(ids) for key, ids in masks.items()}
        guide = {"mask": sample.mask.astype(shifted["ids"].dtype)} if self._guided else {}
        grey = sample.image.shape[2] == 1  # some transforms stumble over a last axis of 1
        changed = {"image": sample.image[..., 0] if grey else sample.image, **shifted, **guide}
        try:
            for transform in transforms:
                changed = transform(**changed)
        except Exception as error:  # of albumentations, OpenCV, NumPy: any type
            raise _explained(error, sample) from error
        finally:
            self._idle.append(transforms)
        back = {
            key: self._shifted_back(changed[key], shifted[key].dtype, ids)
            for key, ids in masks.items()
        }
        image = _as_image(changed["image"], sample.image)
        return sample._replace(image=image, mask=back["ids"], truth=back.get("truth"))

    def _seeded(self, seed: Sequence[int]) -> albumentations.Compose:
        """Transforms for one thread alone, as they hold their generators."""
        try:
            compose = self._idle.pop()
        except IndexError:
            compose = albumentations.Compose(
                prepared(self._transforms),
                additional_targets=dict.fromkeys(_MASKS, "mask"),
                mask_interpolation=cv2.INTER_NEAREST,
            )
        # Not compose.set_random_seed: it seeds every transform alike, so that two flips with
        # p = 0.5 happen always together or not at all. Here they draw from one generator in turn.
        # These are SeedSequence(seed).spawn(2), in half the time.
        entropy = np.array(seed, np.uint32) if max(seed) < 2**32 else list(seed)
        generator, source = (np.random.SeedSequence(entropy, spawn_key=(k,)) for k in (0, 1))
        state = random.Random(source.generate_state(4).tobytes())
        compose.set_random_state(np.random.default_rng(generator), state)
        # Not compose(...) either, which checks for boxes and key points. It drew once by itself,
        # whether to do anything; what was trained before shall come out the same.
        state.random()
        return compose

    def _shifted(self, ids: np.ndarray) -> np.ndarray:
        """Ids - ignore index, around the end of the type, so that whatever fills with 0 ignores.

        Not all transforms pass `fill_mask` on: some, and OpenCV beyond four planes, fill with 0.
        """
        # OpenCV does not warp 32-bit integers.
        small = self._ignored < 256 and (ids.dtype == np.uint8 or ids.max() < 256)
        kind = np.uint8 if small else np.uint16
        return ids.astype(kind, copy=False) - kind(self._ignored)

    def _shifted_back(self, changed: np.ndarray, kind: np.dtype, before: np.ndarray) -> np.ndarray:
        ids = changed.astype(kind, copy=False) + kind.type(self._ignored)
        # Wider where the old type cannot hold the ignore index; OpenCV drops a last axis of 1.
        ids = ids.astype(np.promote_types(before.dtype, kind), copy=False)
        return ids.reshape(*ids.shape[:2], *before.shape[2:])


def _as_image(changed: np.ndarray, before: np.ndarray) -> np.ndarray:
    if changed.dtype != before.dtype:
        raise ValueError(
            f"Augmentation must keep images {before.dtype}. Received: {changed.dtype}. "
            "Leave out transforms such as Normalize and ToFloat: scaling to [0, 1] comes later."
        )
    image = changed if changed.ndim == 3 else changed[..., None]
    if image.shape[2] != before.shape[2]:
        raise ValueError(
            f"Augmentation must keep the {before.shape[2]} channels of an image. "
            f"Received: {image.shape[2]}. Leave out transforms such as ToRGB, "
            "or give ToGray num_output_channels."
        )
    if image.dtype == np.uint8 or image is before:
        return image
    return np.clip(image, 0, 1)  # cubic interpolation overshoots


def _require_one_size(sample: Sample) -> None:
    for what, ids in (("mask", sample.mask), ("truth", sample.truth)):
        if ids is not None and ids.shape[:2] != sample.image.shape[:2]:
            raise ValueError(
                f"{sample.name or 'A sample'}: the {what} must be of the size of the image, "
                f"{sample.image.shape[:2]}. Received: {ids.shape[:2]}."
            )


def _explained(error: Exception, sample: Sample) -> ValueError:
    channels = sample.image.shape[2]
    way_out = "Leave it out of augment.transforms, or give it other arguments."
    if channels != 3:
        way_out += (
            f" Some transforms need 3 channels, and this image has {channels}: the presets none, "
            "light and aerial take any number."
        )
    return ValueError(
        f"{at_fault(error)} cannot augment {sample.name or 'an image'}, {sample.image.dtype} "
        f"{sample.image.shape}: {str(error).rstrip('.')}. {way_out}"
    )

"""Counts of classes on known cells.

A *cell* is one class in one image; it is known if somebody looked for the class there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Iterable

import numpy as np

from segkit.labels import LabelSpace
from segkit.targets import known_ids


@dataclass(frozen=True)
class ClassCounts:
    """What is known about each class of a data set; arrays are int64 (C,).

    pixels: labelled pixels, in images where the class was annotated. For the background, less
        the area expected to belong to classes that nobody looked for (see `count`).
    images: images in which the class was annotated and is present.
    image_pixels: all pixels of those images.
    annotated_images: images in which the class was annotated, present or not.
    annotated_pixels: judged pixels of those images.
    total_images: images in all.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    images: np.ndarray
    image_pixels: np.ndarray
    annotated_images: np.ndarray
    annotated_pixels: np.ndarray
    total_images: int

    def to_dict(self) -> dict[str, Any]:
        """The coverage of each class, as `coverage.json` holds it."""
        rows = [
            {
                "name": name,
                "annotated": int(self.annotated_images[c]),
                "present": int(self.images[c]),
                "verified_absent": int(self.annotated_images[c] - self.images[c]),
                "unknown": int(self.total_images - self.annotated_images[c]),
                "pixels": int(self.pixels[c]),
                "image_pixels": int(self.image_pixels[c]),
            }
            for c, name in enumerate(self.names)
        ]
        return {"images": self.total_images, "classes": rows}


def count(
    masks: Iterable, annotated: Iterable | None, labels: LabelSpace, *, at_random: bool = True
) -> ClassCounts:
    """Counts the pixels and images of each class on known cells only.

    With A[i] the annotated classes of image i, n[i, c] its pixels labelled c, N[i] its judged
    pixels (not ignored), S[i] all of them:

        pixels[c] = sum_{i: c in A[i]} n[i, c]
        images[c] = #{i: c in A[i], n[i, c] > 0},  image_pixels[c] = sum of S[i] over these

    What nobody looked for lies in the mask as background, so the background is corrected by the
    area these classes cover on average where they were annotated:

        pixels[0] = sum_i n[i, 0]
                    - sum_m pixels[m] / annotated_pixels[m] * sum_{i: m not in A[i]} N[i]

    Args:
        masks: integers (B, H, W), or an iterable of masks (H, W) of any sizes; planes (H, W, C)
            of independent classes.
        annotated: bool (B, C), or an iterable of (C,); None if `masks` yields pairs of both.
        labels: the label space.
        at_random: False where having looked for a class depends on whether it is there, as when
            `annotated` was read off the masks. The background is then counted as it stands.

    Raises:
        ValueError: if there is nothing to count, masks and annotated differ in number, or a mask
            holds an id that `labels` does not know.
    """
    shape = labels.num_classes
    pixels, images, image_pixels, annotated_images, annotated_pixels, unknown_pixels = (
        np.zeros(shape, "int64") for _ in range(6)
    )
    total = 0
    for mask, looked in masks if annotated is None else zip(masks, annotated, strict=True):
        looked = np.asarray(looked, bool)
        found, judged, size = _pixels(np.asarray(mask), labels)
        found = found * looked
        pixels += found
        images += found > 0
        image_pixels += size * (found > 0)
        annotated_images += looked
        annotated_pixels += judged * looked
        unknown_pixels += judged * ~looked
        total += 1
    if not total:
        raise ValueError("There is no mask to count classes in. Received: an empty data set.")
    if at_random and labels.background is not None and labels.exclusive:
        share = pixels / np.maximum(annotated_pixels, 1)
        hidden = np.delete(share * unknown_pixels, labels.background).sum()
        # At least one pixel, if there is any: an estimate does not prove a class absent.
        least = min(pixels[labels.background], 1)
        pixels[labels.background] = max(round(pixels[labels.background] - hidden), least)
    return ClassCounts(
        labels.names, pixels, images, image_pixels, annotated_images, annotated_pixels, total
    )


def _pixels(mask: np.ndarray, labels: LabelSpace) -> tuple[np.ndarray, int, int]:
    """Pixels of each class (C,), judged pixels and all pixels of one mask."""
    ignore = -1 if labels.ignore_index is None else labels.ignore_index
    if not labels.exclusive:
        planes = (mask == 1).sum((0, 1))
        return planes, int((mask != ignore).any(-1).sum()), mask[..., 0].size
    found = np.bincount(mask[mask != ignore].astype("int64"), minlength=labels.num_classes)
    stray = np.setdiff1d(np.flatnonzero(found), known_ids(labels))
    if stray.size:
        raise ValueError(
            f"Masks may hold the ids of {labels.num_classes} classes and ignore_index "
            f"{labels.ignore_index}. Received: {stray[:10].tolist()}."
        )
    return found[: labels.num_classes], int(found.sum()), mask.size

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
    stored_pixels: pixels that carry the class's id in the masks, whoever looked for what.
    images: images in which the class was annotated and is present.
    image_pixels: all pixels of those images.
    annotated_images: images in which the class was annotated, present or not.
    annotated_pixels: judged pixels of those images (also where a coarse label says "maybe").
    total_images: images in all.
    complete_images: images in which every class was annotated.
    at_random: False if having looked for a class depends on whether it is there.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    stored_pixels: np.ndarray
    images: np.ndarray
    image_pixels: np.ndarray
    annotated_images: np.ndarray
    annotated_pixels: np.ndarray
    total_images: int
    complete_images: int
    at_random: bool = True

    @property
    def expected_images(self) -> np.ndarray:
        """How many of all images are expected to hold the class, float64 (C,).

            images[c] / annotated_images[c] * total_images;  not at_random: images[c]

        Where only what is there was annotated, every annotated image holds the class, and nothing
        can be said about the others: then it is the number of images known to hold it.
        """
        if not self.at_random:
            return self.images.astype("float64")
        return self.images / np.maximum(self.annotated_images, 1) * self.total_images

    def to_dict(self) -> dict[str, Any]:
        """The coverage of each class, as `coverage.json` holds it."""
        rows = [
            {
                "name": name,
                "annotated": int(self.annotated_images[c]),
                "present": int(self.images[c]),
                "verified_absent": int(self.annotated_images[c] - self.images[c]),
                "unknown": int(self.total_images - self.annotated_images[c]),
                "expected_images": round(float(self.expected_images[c])),
                "pixels": int(self.pixels[c]),
                "stored_pixels": int(self.stored_pixels[c]),
                "image_pixels": int(self.image_pixels[c]),
            }
            for c, name in enumerate(self.names)
        ]
        return {
            "images": self.total_images,
            "complete_images": self.complete_images,
            "at_random": self.at_random,
            "classes": rows,
        }


def count(
    masks: Iterable, annotated: Iterable | None, labels: LabelSpace, *, at_random: bool = True
) -> ClassCounts:
    """Counts the pixels and images of each class on known cells only.

    With A[i] the annotated classes of image i, n[i, c] its pixels labelled c, N[i] its judged
    pixels (not ignored), S[i] all of them:

        pixels[c] = sum_{i: c in A[i]} n[i, c],  stored_pixels[c] = sum_i n[i, c]
        images[c] = #{i: c in A[i], n[i, c] > 0},  image_pixels[c] = sum of S[i] over these

    What nobody looked for lies in the mask as background, so the background is corrected by the
    area these classes cover on average where they were annotated:

        pixels[0] = stored_pixels[0] - sum_m max(0, h[m])
        h[m] = pixels[m] / annotated_pixels[m] * sum_{i: m not in A[i]} N[i]
               - sum_{i: m not in A[i]} n[i, m]

    (the last sum is 0 unless somebody outlined what he was not looking for). So pixels[c] /
    annotated_pixels[c] estimates the share of the pixels that class c covers, without bias if the
    images in which c was annotated are like the others. A class annotated nowhere has no known
    area; it stays in the background.

    Pixels of a coarse label with members M count for class c in M as pixels[c] / sum_{k in M}
    pixels[k] of a pixel each, by the pixels that have a class of their own; for nobody, if none
    has. The images that hold them and no pixel of c itself count for image_pixels[c] in the same
    part. All that hold them are known to hold some of M, not which, so they are among neither
    images[c] nor annotated_images[c].

    Args:
        masks: integers (B, H, W), or an iterable of masks (H, W) of any sizes; planes (H, W, C)
            of independent classes.
        annotated: bool (B, C), or an iterable of (C,); None if `masks` yields pairs of both.
        labels: the label space.
        at_random: False where having looked for a class depends on whether it is there, as when
            `annotated` was read off the masks. How large a class is where it is there can still
            be told, how often it is there cannot: pixels[c] / annotated_pixels[c] is then the
            share in the images that show it, not in all of them. The background is counted as it
            stands, which is too much if anything was skipped.

    Raises:
        ValueError: if there is nothing to count, masks and annotated differ in number, or a mask
            holds an id that `labels` does not know.
    """
    sums = _Sums(labels)
    for mask, looked in masks if annotated is None else zip(masks, annotated, strict=True):
        sums.add(np.asarray(mask), np.asarray(looked, bool))
    if not sums.total_images:
        raise ValueError("There is no mask to count classes in. Received: an empty data set.")
    sums.deal_coarse_pixels()
    if at_random and labels.background is not None and labels.exclusive:
        sums.correct_background()
    return sums.counts(at_random)


class _Sums:
    """What `count` adds up over the images; arrays (C,), and (E,) for the coarse labels."""

    def __init__(self, labels: LabelSpace):
        self.labels = labels
        self.members = np.array(
            [np.isin(labels.names, entry.members) for entry in labels.coarse], bool
        ).reshape(-1, labels.num_classes)
        self.pixels, self.stored, self.images, self.image_pixels = self._zeros(4)
        self.annotated_images, self.annotated_pixels = self._zeros(2)
        self.unknown_pixels, self.outlined_unasked = self._zeros(2)
        self.coarse_pixels = np.zeros(len(labels.coarse), "int64")
        # By coarse label and class: of an image that shows the class itself, nothing is open.
        self.coarse_image_pixels = np.zeros(self.members.shape, "int64")
        self.total_images = self.complete_images = 0

    def add(self, mask: np.ndarray, looked: np.ndarray) -> None:
        stored, coarse, judged, size = _pixels(mask, self.labels)
        found = stored * looked
        # Of a vehicle, nobody said whether it is a car; elsewhere in the image it is none.
        settled = looked & ~self.members[coarse > 0].any(0)
        self.stored += stored
        self.pixels += found
        self.images += settled & (found > 0)
        self.image_pixels += size * (found > 0)
        self.annotated_images += settled
        self.annotated_pixels += judged * looked
        self.unknown_pixels += judged * ~looked
        self.outlined_unasked += stored * ~looked
        self.coarse_pixels += coarse
        self.coarse_image_pixels += size * np.outer(coarse > 0, found == 0)
        self.total_images += 1
        self.complete_images += int(looked.all())

    def deal_coarse_pixels(self) -> None:
        dealt, dealt_images = self._zeros(2)
        for e, members in enumerate(self.members):
            share = self.pixels * members / max((self.pixels * members).sum(), 1)
            dealt += np.round(share * self.coarse_pixels[e]).astype("int64")
            dealt_images += np.round(share * self.coarse_image_pixels[e]).astype("int64")
        self.pixels += dealt
        self.image_pixels += dealt_images

    def correct_background(self) -> None:
        background = self.labels.background
        share = self.pixels / np.maximum(self.annotated_pixels, 1)
        hidden = np.maximum(share * self.unknown_pixels - self.outlined_unasked, 0)
        left = self.pixels[background] - np.delete(hidden, background).sum()
        # At least one pixel, if there is any: an estimate does not prove a class absent.
        self.pixels[background] = max(round(left), min(self.pixels[background], 1))

    def counts(self, at_random: bool) -> ClassCounts:
        return ClassCounts(
            names=self.labels.names,
            pixels=self.pixels,
            stored_pixels=self.stored,
            images=self.images,
            image_pixels=self.image_pixels,
            annotated_images=self.annotated_images,
            annotated_pixels=self.annotated_pixels,
            total_images=self.total_images,
            complete_images=self.complete_images,
            at_random=at_random,
        )

    def _zeros(self, number: int) -> list[np.ndarray]:
        return [np.zeros(self.labels.num_classes, "int64") for _ in range(number)]


def _pixels(mask: np.ndarray, labels: LabelSpace) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Pixels of each class (C,) and coarse label (E,), judged pixels and all pixels of a mask."""
    ignore = -1 if labels.ignore_index is None else labels.ignore_index
    if not labels.exclusive:
        planes, none = (mask == 1).sum((0, 1)), np.zeros(len(labels.coarse), "int64")
        return planes, none, int((mask != ignore).any(-1).sum()), mask[..., 0].size
    ids = known_ids(labels)
    found = np.bincount(mask[mask != ignore].astype("int64"), minlength=ids[-1] + 1)
    stray = np.setdiff1d(np.flatnonzero(found), ids)
    if stray.size:
        raise ValueError(
            f"Masks may hold the ids of {labels.num_classes} classes and ignore_index "
            f"{labels.ignore_index}. Received: {stray[:10].tolist()}."
        )
    coarse = found[[entry.id for entry in labels.coarse]] if labels.coarse else found[:0]
    return found[: labels.num_classes], coarse, int(found.sum()), mask.size

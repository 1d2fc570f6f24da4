"""Counts of classes on known cells, and the class weights they give.

A *cell* is one class in one image; it is known if somebody looked for the class there. Each
scheme maps `ClassCounts` to weights float64 (C,); `normalise` scales any of them for training.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

import numpy as np
import yaml

from segkit.labels import LabelSpace


@dataclass(frozen=True)
class ClassCounts:
    """What is known about each class of a data set; arrays are int64 (C,).

    pixels: labelled pixels, in images where the class was annotated. For the background, less
        the area expected to belong to classes that nobody looked for (see `count`).
    images: images in which the class was annotated and is present.
    image_pixels: judged pixels of those images.
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


def count(masks: Iterable, annotated: Iterable | None, labels: LabelSpace) -> ClassCounts:
    """Counts the pixels and images of each class on known cells only.

    With A[i] the annotated classes of image i, n[i, c] its pixels labelled c, N[i] its judged
    pixels (not ignored):

        pixels[c] = sum_{i: c in A[i]} n[i, c]
        images[c] = #{i: c in A[i], n[i, c] > 0},  image_pixels[c] = sum of N[i] over these

    What nobody looked for lies in the mask as background, so the background is corrected by the
    area these classes cover on average where they were annotated:

        pixels[0] = sum_i n[i, 0]
                    - sum_m pixels[m] / annotated_pixels[m] * sum_{i: m not in A[i]} N[i]

    Args:
        masks: integers (B, H, W), or an iterable of masks (H, W) of any sizes; independent
            classes: planes (B, H, W, C), or an iterable of planes (H, W, C).
        annotated: bool (B, C), or an iterable of (C,); None if `masks` yields pairs of both.
        labels: the label space.

    Raises:
        ValueError: if there is nothing to count, or masks and annotated differ in number.
    """
    shape = labels.num_classes
    pixels, images, image_pixels, annotated_images, annotated_pixels, unknown_pixels = (
        np.zeros(shape, "int64") for _ in range(6)
    )
    total = 0
    for mask, looked in masks if annotated is None else zip(masks, annotated, strict=True):
        looked = np.asarray(looked, bool)
        found, judged = _pixels(np.asarray(mask), labels)
        found = found * looked
        pixels += found
        images += found > 0
        image_pixels += judged * (found > 0)
        annotated_images += looked
        annotated_pixels += judged * looked
        unknown_pixels += judged * ~looked
        total += 1
    if not total:
        raise ValueError("There is no mask to count classes in. Received: an empty data set.")
    if labels.background is not None and labels.exclusive:
        share = pixels / np.maximum(annotated_pixels, 1)
        hidden = np.delete(share * unknown_pixels, labels.background).sum()
        pixels[labels.background] = max(round(pixels[labels.background] - hidden), 0)
    return ClassCounts(
        labels.names, pixels, images, image_pixels, annotated_images, annotated_pixels, total
    )


def none(counts: ClassCounts) -> np.ndarray:
    """Weight 1 for every class."""
    return np.ones(len(counts.names))


def median_frequency(counts: ClassCounts) -> np.ndarray:
    """The weights of Eigen and Fergus, used for CamVid by SegNet.

        w_c = median_k f_k / f_c,  f_c = pixels[c] / image_pixels[c]

    The median is over the classes that occur. A class without a labelled pixel gets 1 and a
    warning.

    Ref: Eigen, Fergus 2015, arXiv:1411.4734.
    """
    return _inverse(counts, counts.pixels / np.maximum(counts.image_pixels, 1), np.median)


def inverse_frequency(counts: ClassCounts) -> np.ndarray:
    """Weights that give every class the same total on the data set.

        w_c = 1 / (C a_c),  a_c = pixels[c] / annotated_pixels[c]

    Everything annotated: n / (C n_c), scikit-learn's "balanced". A class without a labelled
    pixel gets 1 and a warning.
    """
    share = counts.pixels / np.maximum(counts.annotated_pixels, 1)
    return _inverse(counts, share, lambda present: 1 / len(counts.names))


def fixed(
    counts: ClassCounts,
    values: Sequence[float] | Mapping[str, float] | None = None,
    file: str | Path | None = None,
) -> np.ndarray:
    """Weights that somebody chose.

    Args:
        counts: for the class names.
        values: one weight a class in the order of the ids, or {class name: weight}.
        file: a JSON or YAML file that holds such a list or mapping.

    Raises:
        ValueError: unless exactly one of `values` and `file` is given, one finite weight >= 0 a
            class, by the right names, and at least one above 0. FileNotFoundError: no such file.
    """
    if (values is None) == (file is None):
        raise ValueError(
            "class_weights=fixed needs either values or file. Received: "
            f"values={values!r}, file={file!r}. For example 'class_weights.values=[0.5,1,2]'."
        )
    origin = "class_weights.values" if file is None else str(file)
    given = values if file is None else _read(Path(file))
    if isinstance(given, Mapping):
        if set(given) != set(counts.names):
            raise ValueError(
                f"{origin} must name each class once: {', '.join(counts.names)}. "
                f"Received: {', '.join(map(str, given))}."
            )
        given = [given[name] for name in counts.names]
    try:
        weights = np.asarray(given, "float64")
    except (TypeError, ValueError):
        weights = np.array([np.nan])
    right = weights.shape == (len(counts.names),) and np.isfinite(weights).all()
    if not right or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"{origin} must be {len(counts.names)} finite weights from 0 up, not all 0, one for "
            f"each of {', '.join(counts.names)}. Received: {given!r}."
        )
    return weights


def normalise(weights: np.ndarray, counts: ClassCounts) -> np.ndarray:
    """Scales weights so that the expected weight of a labelled pixel is 1 over the data set.

        w_c <- w_c / sum_k a_k w_k * sum_k a_k,  a_c = pixels[c] / annotated_pixels[c]

    A sweep over weights then compares weights, not learning rates.

    Raises:
        ValueError: if every class that occurs has weight 0: the loss would be 0.
    """
    share = counts.pixels / np.maximum(counts.annotated_pixels, 1)
    expected = float((share * weights).sum())
    if expected <= 0:
        raise ValueError(
            "Every class that occurs in the training data has weight 0 (or none occurs), so there "
            f"is nothing to learn from. Received: weights {weights.tolist()} for labelled pixels "
            f"{dict(zip(counts.names, counts.pixels.tolist()))}."
        )
    return weights * float(share.sum()) / expected


def _pixels(mask: np.ndarray, labels: LabelSpace) -> tuple[np.ndarray, int]:
    """Pixels of each class (C,) and the number of judged pixels of one mask."""
    ignore = -1 if labels.ignore_index is None else labels.ignore_index
    if not labels.exclusive:
        return (mask == 1).sum((0, 1)), int((mask != ignore).any(-1).sum())
    found = np.bincount(mask[mask != ignore].astype("int64"), minlength=labels.num_classes)
    return found[: labels.num_classes], int(found.sum())


def _inverse(counts: ClassCounts, frequency: np.ndarray, numerator) -> np.ndarray:
    present = frequency > 0
    if not present.all():
        absent = [name for name, there in zip(counts.names, present) if not there]
        warnings.warn(
            f"No labelled pixel of {', '.join(absent)} in the training data: the weight is 1, and "
            "the class cannot be learnt from it.",
            stacklevel=3,
        )
    weights = np.ones(len(frequency))
    if present.any():
        weights[present] = numerator(frequency[present]) / frequency[present]
    return weights


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"There is no file of class weights {path}. It holds a list of numbers or "
            "{class name: weight}, in JSON or YAML."
        ) from None
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid JSON or YAML: {error}") from error

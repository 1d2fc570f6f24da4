"""Class weights from counts on known cells.

Each scheme maps `ClassCounts` to weights float64 (C,); `normalise` scales any of them for training.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import yaml

from segkit.class_counts import ClassCounts, count
from segkit.contract import is_number

__all__ = [
    "ClassCounts",
    "count",
    "effective_number",
    "fixed",
    "inverse_frequency",
    "median_frequency",
    "none",
    "normalise",
]


def none(counts: ClassCounts) -> np.ndarray:
    """Weight 1 for every class."""
    return np.ones(len(counts.names))


def median_frequency(counts: ClassCounts) -> np.ndarray:
    """The weights of Eigen and Fergus, used for CamVid by SegNet.

        w_c = median_k f_k / f_c,  f_c = pixels[c] / image_pixels[c]

    The median is over the classes that occur; one without a labelled pixel gets 1 and a warning.

    Ref: Eigen, Fergus 2015, arXiv:1411.4734.
    """
    return _inverse(counts, counts.pixels / np.maximum(counts.image_pixels, 1), np.median)


def inverse_frequency(counts: ClassCounts) -> np.ndarray:
    """Weights that give every class the same total.

        w_c = 1 / (C a_c),  a_c = pixels[c] / annotated_pixels[c]

    Everything annotated: n / (C n_c), scikit-learn's "balanced". Otherwise as above.
    """
    share = counts.pixels / np.maximum(counts.annotated_pixels, 1)
    return _inverse(counts, share, lambda present: 1 / len(counts.names))


def effective_number(counts: ClassCounts, beta: float = 0.999) -> np.ndarray:
    """Weights by the effective number of images of a class, in which further ones add ever less.

        w_c = (1 - beta) / (1 - beta^n_c), scaled to a mean of 1 over the classes that occur
        n_c = expected_images[c] = images[c] / annotated_images[c] * total_images

    n_c counts images, not pixels: pixels of one object are near-copies of each other, and at their
    numbers 1 - beta^n_c is 1 for any beta in use, so that all weights would be equal. Images that
    nobody looked at for c hold it as often as the others do, so n_c does not shrink with the
    annotations (see `ClassCounts.expected_images` for annotations that are not missing at
    random). How large a class is does not enter: with every class in most images this is mild.

    Args:
        counts: of the training data.
        beta: in [0, 1). 0: all classes alike; towards 1: in inverse proportion to n_c. Beyond
            about 1 / (1 - beta) images, more of them change little.

    Raises:
        ValueError: if beta is outside [0, 1).

    Ref: Cui et al. 2019, arXiv:1901.05555. Differs: n_c (there, samples of one class each); the
    mean weight is 1 over the classes that occur.
    """
    if not (is_number(beta) and 0 <= beta < 1):
        raise ValueError(
            f"beta must be a number from 0 to below 1. Received: {beta!r}. For example 0.999."
        )
    return _inverse(counts, 1 - beta**counts.expected_images, lambda e: len(e) / (1 / e).sum())


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
        ValueError: unless one of the two gives one finite weight >= 0 a class, not all 0.
        FileNotFoundError: no such file.
    """
    if (values is None) == (file is None):
        raise ValueError(
            "class_weights=fixed needs either values or file. Received: "
            f"values={values!r}, file={file!r}. For example 'class_weights.values=[0.5,1,2]'."
        )
    origin = "class_weights.values" if file is None else str(file)
    given = values if file is None else _read(Path(file))
    if isinstance(given, Mapping):
        by_name = {str(name): value for name, value in given.items()}  # YAML makes 1 of a name "1"
        if set(by_name) != set(counts.names):
            raise ValueError(
                f"{origin} must name each class once: {', '.join(counts.names)}. "
                f"Received: {', '.join(by_name)}."
            )
        given = [by_name[name] for name in counts.names]
    try:
        weights = np.asarray(given, "float64")
    except (TypeError, ValueError):
        weights = np.array(np.nan)
    right = weights.shape == (len(counts.names),) and np.isfinite(weights).all()
    if not right or weights.min() < 0 or not weights.any():
        raise ValueError(
            f"{origin} must be {len(counts.names)} finite weights from 0 up, not all 0, one for "
            f"each of {', '.join(counts.names)}. Received: {given!r}."
        )
    return weights


def normalise(weights: np.ndarray, counts: ClassCounts) -> np.ndarray:
    """Scales weights so that the expected weight of a labelled pixel is 1 over the data set.

    A sweep over weights then compares weights, not learning rates.

        w_c <- w_c / sum_k a_k w_k * sum_k a_k,  a_c = pixels[c] / annotated_pixels[c]

    Raises:
        ValueError: if every class that occurs has weight 0: the loss would be 0.
    """
    share = counts.pixels / np.maximum(counts.annotated_pixels, 1)
    expected = float((share * weights).sum())
    if expected <= 0:
        raise ValueError(
            "Every class that occurs in the training data has weight 0, so there is nothing to "
            f"learn from. Received: {weights.tolist()} for pixels {counts.pixels.tolist()}."
        )
    return weights * float(share.sum()) / expected


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
    if not path.exists():
        raise FileNotFoundError(
            f"There is no file of class weights {path}. It holds a list of numbers or "
            "{class name: weight}, in JSON or YAML."
        )
    text = path.read_text(encoding="utf-8-sig")
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is not valid JSON or YAML: {error}") from error

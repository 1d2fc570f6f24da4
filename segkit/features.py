"""A sample of the features that a model makes of pixels whose class is known."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from segkit import metrics, targets
from segkit.callbacks import BestModel, KeptCenters
from segkit.contract import Sample, Source
from segkit.labels import LabelSpace
from segkit.loop import Loop
from segkit.models.centers import CenterLoss, certain_labels, feature_tensor

FILE, FACTS = "features.npz", "features.json"
IMAGES = 100  # that are looked at, at most
PIXELS = 300  # of a class, at most
POINTS = 6000  # of all classes, at most
_AN_IMAGE = 30  # pixels of a class of an image, at most, so that no image stands for all


def follow(loop: Loop, kept: BestModel, wanted: bool | str = "auto") -> list[KeptCenters]:
    """What remembers the centres of the model that is kept; nothing without a center loss.

    Args:
        loop: of the training.
        kept: the callback that keeps the model.
        wanted: trainer.features; where it is True, a network without features is refused.

    Raises:
        ValueError: if it is wanted, and the network has no features of each pixel.
    """
    if wanted is True:
        feature_tensor(loop.model)
    layers = [] if loop.extended is None else loop.extended.layers
    return [KeptCenters(kept, layer) for layer in layers if isinstance(layer, CenterLoss)]


def record(
    folder: Path,
    model: keras.Model,
    source: Source,
    split: str,
    *,
    layer: str | None = None,
    centers: np.ndarray | None = None,
    seed: int = 0,
) -> float | None:
    """Writes a sample of features for the report, and returns how compact its classes are.

    `features.npz` holds features (N, F), labels (N,) and, where there are some, centers (C, F);
    `features.json` how they were drawn, and the ratio of `segkit.metrics.scatter_ratio`.

    Args:
        folder: of the run.
        model: functional, images -> logits.
        source: of the images; tiles, if they are too large to be predicted whole.
        split: what it is called.
        layer: that puts out the features; None: what goes into the last layer.
        centers: of the classes, as they were with this model, or None.
        seed: of the draw.
    """
    features, labels = sample(model, source, layer=layer, seed=seed)
    arrays = {"features": features, "labels": labels}
    if centers is not None:
        # A class that was never there has its centre where it began.
        arrays["centers"] = np.where(np.any(centers, axis=1, keepdims=True), centers, np.nan)
    np.savez(folder / FILE, **arrays)
    ratio = metrics.scatter_ratio(features, labels)
    names = source.labels.names
    facts = {
        "split": split,
        "pixels": {name: int((labels == c).sum()) for c, name in enumerate(names)},
        "channels": features.shape[1],
        "scatter_ratio": ratio,
    }
    (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return ratio


def sample(
    model: keras.Model, source: Source, *, layer: str | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 (N, F) and their classes, ids (N,), of pixels whose label is beyond doubt.

    Up to 300 pixels a class, and 6,000 of all, drawn from images that are spread evenly over the
    source; where the full truth is known, it says what the class is.
    """
    seen = keras.Model(model.inputs[0], feature_tensor(model, layer))
    count = source.labels.num_classes
    found: list[list[np.ndarray]] = [[] for _ in range(count)]
    for index in np.linspace(0, len(source) - 1, min(IMAGES, len(source))).astype(int).tolist():
        one, rng = source[index], np.random.default_rng([seed, index])
        image = one.image / np.float32(255) if one.image.dtype == np.uint8 else one.image
        values = np.asarray(seen.predict_on_batch(image[None])[0], "float32")
        certain = _certain(one, source.labels)
        for c in range(count):
            there = values[certain[..., c]]
            found[c].append(there[_chosen(rng, len(there), _AN_IMAGE)])
    rng, most = np.random.default_rng([seed, count]), min(PIXELS, max(POINTS // count, 2))
    classes = [np.concatenate(parts) for parts in found]
    classes = [x[_chosen(rng, len(x), most)] for x in classes]
    return np.concatenate(classes), np.repeat(np.arange(count), list(map(len, classes)))


def _chosen(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.sort(rng.permutation(count)[:most])


def _certain(one: Sample, labels: LabelSpace) -> np.ndarray:
    """Where a class is beyond doubt, bool (H, W, C)."""
    mask, annotated = one.mask, one.annotated
    if one.truth is not None:
        mask, annotated = one.truth, np.ones_like(annotated)
    return np.asarray(certain_labels(targets.encode(mask[None], annotated[None], labels)))[0]

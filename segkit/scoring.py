"""Scores of a model on a source: on known cells, and against the full truth where there is one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator

import keras
import numpy as np
from PIL import Image

from segkit import combinations, metrics, tables, targets
from segkit.contract import Sample, Source
from segkit.data.patches import window
from segkit.data.tiles import windows
from segkit.labels import LabelSpace
from segkit.metrics import Bounds, Counts


@dataclass
class Evaluation:
    """What `evaluate` found.

    known: counts on known cells.
    truth: counts against the full truth, over the images that have one; None if none has.
    bounds: over all that the unknown cells may turn out to be; None if nobody asked.
    examples: samples to show, each with its predicted ids (H, W), or planes (H, W, C).
    """

    known: Counts
    truth: Counts | None
    bounds: Bounds | None = None
    examples: list[tuple[Sample, np.ndarray]] = field(default_factory=list)

    def to_dict(self, split: str, labels: LabelSpace) -> dict[str, Any]:
        """The blocks of `metrics.json`: SPLIT, and SPLIT/truth where the truth is known.

        With bounds, SPLIT also has `mean_iou_bounds`, and each class in it `iou_bounds`.
        """
        blocks = {split: self.known.to_dict(labels.names)}
        if self.bounds is not None:
            found = self.bounds.to_dict()
            blocks[split]["mean_iou_bounds"] = found["mean_iou_bounds"]
            for row, pair in zip(blocks[split]["per_class"], found["iou_bounds"]):
                row["iou_bounds"] = pair
        if self.truth is not None:
            blocks[f"{split}/truth"] = self.truth.to_dict(labels.names)
        if labels.values is not None:
            for block in blocks.values():
                block["ordered"] = metrics.ordered_block(np.array(block["confusion"]), labels)
        return blocks


def evaluate(
    model: keras.Model,
    source: Source,
    batch_size: int = 16,
    examples: int = 0,
    *,
    bounds: bool = False,
    tile: tuple[int, int] | None = None,
) -> Evaluation:
    """Predicts every image of a source and counts what is right, class by class.

    Args:
        model: maps images in [0, 1], float32 (B, H, W, K), to logits (B, H, W, C).
        source: what to predict; images of one size and type share a batch, others get one of
            their own. The most probable class counts at each pixel; of independent classes, each
            whose probability is at least 0.5.
        batch_size: images a batch, at most.
        examples: how many samples to return with their prediction, spread evenly.
        bounds: True also bounds the scores over all that the unknown cells may turn out to be.
        tile: (height, width) for images that are too large to be predicted whole: the model sees
            tiles of this size that overlap by a quarter, and each pixel is predicted where it is
            furthest from the edge of a tile. None: whole images.

    Raises:
        ValueError: if the source is empty.
    """
    if not len(source):
        raise ValueError("There is no image to evaluate on. Received: an empty split.")
    chosen = set(np.linspace(0, len(source) - 1, min(examples, len(source))).astype(int).tolist())
    result, index = None, 0
    for samples in _batches(source, batch_size if tile is None else 1):
        images = np.stack([sample.image for sample in samples])
        if tile is None:
            predictions = _predicted(model, images, source.labels)
        else:
            predictions = _stitched(model, images[0], tile, batch_size, source.labels)[None]
        part = _count(samples, predictions, source.labels, bounds)
        shown = zip(range(index, index + len(samples)), samples, predictions)
        part.examples = [(sample, prediction) for i, sample, prediction in shown if i in chosen]
        result = part if result is None else _join(result, part)
        index += len(samples)
    return result


def write_gallery(
    folder: Path, examples: list[tuple[Sample, np.ndarray]], labels: LabelSpace, split: str
) -> None:
    """Writes images, masks, truths and predictions as PNG, and `gallery.json` that lists them.

    Of independent classes the pictures hold places in a table of each item, `combinations`: the
    sets of classes that a pixel of it has, see `segkit.combinations`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, (sample, prediction) in enumerate(examples):
        best = sample.mask if sample.truth is None else sample.truth
        annotated = sample.annotated if sample.truth is None else np.ones_like(sample.annotated)
        target = targets.encode(best[None], annotated[None], labels)
        item = {"name": sample.name, "annotated": sample.annotated.tolist()}
        item["mean_iou"] = metrics.count(target, prediction[None]).to_dict(labels.names)["mean_iou"]
        layers = {"mask": sample.mask, "truth": sample.truth, "prediction": prediction}
        shown, table = combinations.shown_as_ids(layers, labels)
        layers = {"image": _byte_image(sample.image), **shown}
        for key, layer in layers.items():
            name = f"{number:04d}.png" if key == "image" else f"{number:04d}_{key}.png"
            item[key] = None if layer is None else name
            if layer is not None:
                _small(layer).save(folder / name)
        items.append(item | table)
    text = json.dumps({"split": split, "items": items}, indent=1)
    (folder / "gallery.json").write_text(text + "\n", encoding="utf-8")


def table(blocks: dict[str, Any], split: str) -> str:
    """The per-class table as text: scores on known cells with their evidence, and the truth."""
    block, truth = blocks[split], blocks.get(f"{split}/truth")
    columns = ["IoU", "Dice", "precision", "recall", "images", "pixels"]
    rows = [[row["name"], *(_text(row[c.lower()]) for c in columns)] for row in block["per_class"]]
    summary = ["mean", _text(block["mean_iou"]), _text(block["mean_dice"]), "", "", "", ""]
    if "mean_iou_bounds" in block:
        columns.append("IoU at least, at most")
        pairs = [*(row["iou_bounds"] for row in block["per_class"]), block["mean_iou_bounds"]]
        for row, pair in zip([*rows, summary], pairs):
            row.append(", ".join(map(_text, pair)))
    if truth is not None:
        columns.append("true IoU")
        for row, true in zip([*rows, summary], [*truth["per_class"], {"iou": truth["mean_iou"]}]):
            row.append(_text(true["iou"]))
    text = tables.text(f"{split}, on known cells", ["class", *columns], rows, summary)
    return "\n".join([text, *tables.ordered(blocks, split)])


def _batches(source: Source, batch_size: int) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for index in range(len(source)):
        sample = source[index]
        if batch and (len(batch) == batch_size or not _alike(sample.image, batch[0].image)):
            yield batch
            batch = []
        batch.append(sample)
    yield batch


def _alike(image: np.ndarray, other: np.ndarray) -> bool:
    # Of two types, one would be converted, and bytes would no longer be scaled to [0, 1].
    return image.shape == other.shape and image.dtype == other.dtype


def _predicted(model: keras.Model, images: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Ids (B, H, W), or planes (B, H, W, C) of independent classes."""
    logits = model.predict_on_batch(_scaled(images))
    if not labels.exclusive:
        return logits >= 0  # a probability of 0.5
    return np.argmax(logits, axis=-1).astype("uint16")


def _stitched(
    model: keras.Model,
    image: np.ndarray,
    tile: tuple[int, int],
    batch_size: int,
    labels: LabelSpace,
) -> np.ndarray:
    """The prediction (H, W), or (H, W, C), of an image (H, W, K), tile by tile."""
    rest, kind = ((), "uint16") if labels.exclusive else ((labels.num_classes,), "bool")
    found = np.empty((*image.shape[:2], *rest), kind)
    waiting = list(windows(image.shape[:2], tile))
    while waiting:
        now, waiting = waiting[:batch_size], waiting[batch_size:]
        seen = np.stack([window(image, place.corner, tile) for place in now])
        for place, prediction in zip(now, _predicted(model, seen, labels)):
            found[place.outer] = prediction[place.inner]
    return found


def _count(
    samples: list[Sample], predictions: np.ndarray, labels: LabelSpace, bounds: bool
) -> Evaluation:
    masks = np.stack([sample.mask for sample in samples])
    annotated = np.stack([sample.annotated for sample in samples])
    target = targets.encode(masks, annotated, labels)
    known = metrics.count(target, predictions)
    between = metrics.bounds(target, predictions) if bounds else None
    true = [k for k, sample in enumerate(samples) if sample.truth is not None]
    if not true:
        return Evaluation(known, None, between)
    truths = np.stack([samples[k].truth for k in true])
    full = targets.encode(truths, np.ones_like(annotated[true]), labels)
    return Evaluation(known, metrics.count(full, predictions[true]), between)


def _join(first: Evaluation, second: Evaluation) -> Evaluation:
    sums = {}
    for key in ("known", "truth", "bounds"):
        parts = [vars(half)[key] for half in (first, second) if vars(half)[key] is not None]
        sums[key] = sum(parts[1:], parts[0]) if parts else None
    return Evaluation(**sums, examples=first.examples + second.examples)


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.astype("float32") / 255 if images.dtype == np.uint8 else images


def _byte_image(image: np.ndarray) -> np.ndarray:
    image = (
        image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype("uint8")
    )
    return image[..., :3] if image.shape[-1] >= 3 else image[..., 0]


def _small(layer: np.ndarray) -> Image.Image:
    return Image.fromarray(
        layer if layer.dtype == np.uint8 or layer.max() > 255 else layer.astype("uint8")
    )


def _text(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"

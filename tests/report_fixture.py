"""Writes a run folder as training would, small and made up, for the tests of the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Sequence

import numpy as np
import yaml
from PIL import Image
from skimage import draw, morphology

from segkit.contract import UNKNOWN
from segkit.labels import LabelSpace
from segkit.targets import encode

NAMES = ("background", "ellipse", "rectangle", "circle")
HOSTILE = (
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    'O\'Brien & "co" </script><script>window.hacked=1</script> {{ 7 * 7 }} 🫁 \u202egnissim',
    ("very long " * 12).strip(),
)
EPOCHS = 24


def write_run(
    folder: Path,
    names: Sequence[str] = NAMES,
    items: int = 12,
    size: int = 64,
    truth: bool = True,
    seed: int = 0,
) -> Path:
    """Writes a whole run folder; class 0 is the background, 1-3 are shapes in the pictures."""
    rng = np.random.default_rng([seed])
    folder.mkdir(parents=True, exist_ok=True)
    labels = LabelSpace(list(names))
    scenes = [_scene(np.random.default_rng([seed, n]), size, len(names)) for n in range(items)]
    _write_gallery(folder / "gallery", scenes, truth)
    blocks = {"val": _scores(scenes, labels, hidden=True)}
    if truth:
        blocks["val/truth"] = _scores(scenes, labels, hidden=False)
    # A class beyond the shapes: in no annotated image, so without evidence.
    coverage = {split: _coverage(scenes, labels, n) for split, n in (("train", 40), ("val", 1))}
    rows = coverage["train"]["classes"]
    weights = [
        {"name": row["name"], "pixels": row["pixels"], "present": row["annotated"]}
        | {"stored_pixels": row["pixels"] + 100 * (n == 0), "expected_images": row["annotated"]}
        | {"image_pixels": row["annotated"] * size**2, "weight": round(1 / (1 + n), 4)}
        for n, row in enumerate(rows)
    ]
    write_json(folder / "labels.json", labels.to_dict())
    write_json(folder / "metrics.json", blocks)
    write_json(folder / "coverage.json", coverage)
    scheme = "median_frequency"
    write_json(folder / "class_weights.json", {"scheme": scheme, "classes": weights})
    write_json(folder / "environment.json", _environment())
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(size), sort_keys=False))
    _write_history(folder / "history.csv", labels, rng)
    return folder


def write_json(path: Path, content) -> None:
    """Writes a JSON file as `json.dumps` does by default, NaN included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _scene(rng, size: int, classes: int) -> dict:
    """An image with its truth, what was annotated of it, and a prediction with rough edges."""
    truth = np.zeros((size, size), np.uint8)
    image = np.full((size, size, 3), rng.integers(70, 120, 3), float)
    for id_ in rng.permutation(np.arange(1, min(classes, 4))):
        if rng.random() < 0.8:
            inside = _shape(rng, size, id_)
            truth[inside] = id_
            image[inside] = rng.integers(90, 235, 3)
    image += rng.normal(0, 9, image.shape)
    annotated = np.concatenate([[True], rng.random(classes - 1) < rng.choice([0.5, 1])])
    annotated[4:] = False
    mask = np.where(annotated[truth], truth, 0).astype(np.uint8)
    if rng.random() < 0.3:
        mask[:5, : size // 3] = 255
    prediction = np.zeros_like(truth)
    for id_ in range(1, min(classes, 4)):
        rough = morphology.dilation(truth == id_, morphology.disk(int(rng.integers(1, 3))))
        prediction[rough & (rng.random((size, size)) > 0.01)] = id_
    if rng.random() < 0.1 and classes > 2:
        prediction[prediction == 1] = 2
    return {
        "image": image.clip(0, 255).astype(np.uint8),
        "mask": mask,
        "truth": truth,
        "prediction": prediction,
        "annotated": annotated,
    }


def _shape(rng, size: int, id_: int):
    center = rng.uniform(0.3 * size, 0.7 * size, 2)
    if id_ == 1:
        radii = rng.uniform(0.12, 0.28, 2) * size
        return draw.ellipse(*center, *radii, (size, size), rotation=rng.uniform(0, np.pi))
    if id_ == 2:
        extent = rng.uniform(0.2, 0.45, 2) * size
        return tuple(draw.rectangle(center - extent / 2, extent=extent, shape=(size, size)))
    return draw.disk(center, rng.uniform(0.1, 0.2) * size, shape=(size, size))


def _write_gallery(folder: Path, scenes: list[dict], truth: bool) -> None:
    folder.mkdir(exist_ok=True)
    items = []
    for n, scene in enumerate(scenes):
        item = {"name": f"scene_{n:04d}", "annotated": scene["annotated"].tolist()}
        item["mean_iou"] = None if n == 1 else round(0.9 - 0.02 * n, 3)
        for layer in ("image", "mask", "truth", "prediction"):
            if layer == "truth" and not truth:
                item[layer] = None
                continue
            item[layer] = f"{n:04d}{'' if layer == 'image' else '_' + layer}.png"
            Image.fromarray(scene[layer]).save(folder / item[layer])
        items.append(item)
    write_json(folder / "gallery.json", {"split": "val", "items": items})


def _scores(scenes: list[dict], labels: LabelSpace, hidden: bool) -> dict:
    """Counts over known pixels only (hidden), or over the whole truth."""
    classes = labels.num_classes
    confusion = np.zeros((classes, classes), int)
    images = np.zeros(classes, int)
    for scene in scenes:
        looked = scene["annotated"] if hidden else np.ones(classes, bool)
        mask = scene["mask"] if hidden else scene["truth"]
        known = (encode(mask[None], looked[None], labels)[0] != UNKNOWN).all(axis=-1)
        np.add.at(confusion, (mask[known], scene["prediction"][known]), 1)
        images += looked
    hits, given, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    rows = [
        {
            "name": name,
            "iou": _ratio(hits[c], given[c] + predicted[c] - hits[c]),
            "dice": _ratio(2 * hits[c], given[c] + predicted[c]),
            "precision": _ratio(hits[c], predicted[c]),
            "recall": _ratio(hits[c], given[c]),
            "images": int(images[c]),
            "pixels": int(given[c]),
        }
        for c, name in enumerate(labels.names)
    ]
    means = {f"mean_{key}": _mean([row[key] for row in rows]) for key in ("iou", "dice")}
    return {**means, "per_class": rows, "confusion": confusion.tolist()}


def _ratio(part, whole) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _coverage(scenes: list[dict], labels: LabelSpace, times: int) -> dict:
    rows = []
    for c, name in enumerate(labels.names):
        looked = [scene for scene in scenes if scene["annotated"][c]]
        present = sum(bool((scene["mask"] == c).any()) for scene in looked)
        rows.append(
            {
                "name": name,
                "annotated": times * len(looked),
                "present": times * present,
                "verified_absent": times * (len(looked) - present),
                "unknown": times * (len(scenes) - len(looked)),
                "pixels": times * int(sum((scene["mask"] == c).sum() for scene in scenes)),
            }
        )
    return {"images": times * len(scenes), "classes": rows}


def _write_history(path: Path, labels: LabelSpace, rng) -> None:
    rows = []
    for epoch in range(EPOCHS):
        row: dict[str, object] = {"epoch": epoch, "learning_rate": 0.001}
        for prefix, best in (("", 0.9), ("val_", 0.8)):
            level = best * (1 - np.exp(-epoch / 5)) + rng.normal(0, 0.015)
            row[f"{prefix}loss"] = 1.3 - level
            row[f"{prefix}mean_iou"] = min(max(level, 0.02), 1)
            for c, name in enumerate(labels.names):
                value = level + 0.1 - 0.1 * c + rng.normal(0, 0.02)
                # The last class has no evidence in the first epochs.
                empty = c == labels.num_classes - 1 and epoch < 3
                row[f"{prefix}iou_{name}"] = "" if empty else min(max(value, 0), 1)
        rows.append(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _config(size: int) -> dict:
    return {
        "data": {"_target_": "segkit.synthetic.scenes.splits", "height": size}
        | {"missing": {"rate": 0.5}, "train": 480, "val": 12},
        "model": {"_target_": "segkit.models.unet", "filters": 32, "depth": 4},
        "loss": {"_target_": "segkit.losses.MarginalCrossEntropy", "class_weights": None},
        "class_weights": {"scheme": "median_frequency"},
        "optimizer": {"_target_": "keras.optimizers.Adam", "learning_rate": 0.001},
        "trainer": {"epochs": EPOCHS, "batch_size": 8, "precision": "auto"},
        "seed": 0,
    }


def _environment() -> dict:
    return {
        "segkit": "0.1.0",
        "python": "3.11.2",
        "platform": "Linux",
        "cores": 2,
        "command": "segkit train data=synthetic",
        "started": "2026-07-01T14:03:22",
        "seconds": 754.2,
    }

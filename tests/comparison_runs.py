"""Writes run folders as training would, made up, for the tests and the benchmark of compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import yaml
from PIL import Image

from segkit.labels import LabelSpace

NAMES = ("background", "cell", "nucleus")
LOSSES = {
    "cross_entropy": {"_target_": "segkit.losses.CrossEntropy"},
    "tversky": {"_target_": "segkit.losses.Tversky", "alpha": 0.3},
    "sum": {
        "_target_": "segkit.losses.WeightedSum",
        "losses": [
            {"_target_": "segkit.losses.MarginalCrossEntropy"},
            {"_target_": "segkit.losses.MarginalDice"},
        ],
        "weights": [1.0, 1.0],
    },
}


def config(folder: Path, loss: Any = "cross_entropy", seed: Any = 0, **more: Any) -> dict[str, Any]:
    """A resolved config; `more` by dotted keys with __ for the dot: data__sizes__train=3."""
    made = {
        "data": {
            "_target_": "segkit.synthetic.scenes.splits",
            "sizes": {"train": 96, "val": 32},
            "seed": seed,
            "missing": {"rate": 0.5, "seed": seed},
        },
        "augment": {
            "_target_": "segkit.data.augment.Augmentation",
            "transforms": {"flip": {"_target_": "albumentations.HorizontalFlip", "p": 0.5}},
        },
        "model": {"_target_": "segkit.models.unet", "filters": 8, "depth": 3},
        "loss": LOSSES.get(loss, loss) if isinstance(loss, str) else loss,
        "class_weights": {"_target_": "segkit.class_weights.none"},
        "optimizer": {"_target_": "segkit.optimizers.Adam", "learning_rate": 0.002},
        "trainer": {"epochs": 4, "batch_size": 8, "resume": True, "start_from": None},
        "callbacks": {
            "progress": {"_target_": "segkit.callbacks.Progress"},
            "history": {
                "_target_": "segkit.callbacks.History",
                "filename": f"{folder}/history.csv",
            },
        },
        "seed": seed,
        "output": str(folder),
    }
    made = json.loads(json.dumps(made))
    for key, value in more.items():
        *path, last = key.split("__")
        node = made
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    return made


def block(iou: Sequence[float | None], names: Sequence[str] = NAMES, pixels: int = 100) -> dict:
    """A block of metrics.json with these IoUs."""
    rows = [
        {"name": name, "iou": value, "dice": value and 2 * value / (1 + value)}
        | {"precision": value, "recall": value}
        | {"images": 0 if value is None else 32, "pixels": 0 if value is None else pixels + at}
        for at, (name, value) in enumerate(zip(names, iou))
    ]
    known = [row for row in rows if row["iou"] is not None]
    means = {
        f"mean_{key}": sum(row[key] for row in known) / len(known) if known else None
        for key in ("iou", "dice")
    }
    return {**means, "per_class": rows}


def write_run(
    folder: Path,
    iou: Sequence[float | None] = (0.9, 0.6, 0.3),
    *,
    names: Sequence[str] = NAMES,
    blocks: Mapping[str, Any] | None = None,
    epochs: int = 4,
    images: int = 0,
    **of_config: Any,
) -> Path:
    """Writes a whole run folder with these IoUs on val."""
    folder.mkdir(parents=True, exist_ok=True)
    made = config(folder, **of_config)
    (folder / "config.yaml").write_text(yaml.safe_dump(made, sort_keys=False))
    dump(folder / "metrics.json", blocks or {"val": block(iou, names)})
    LabelSpace(list(names)).to_json(folder / "labels.json")
    started = "2026-07-01 14:03:22"
    dump(folder / "environment.json", {"seconds": 12.5, "started": started, "best_epoch": epochs})
    mean = block(iou, names)["mean_iou"] or 0.0
    rows = [f"{n},{0.5 - 0.1 * n},{mean * (n + 1) / epochs}" for n in range(epochs)]
    text = "\n".join(["epoch,val_loss,val_mean_iou", *rows, ""])
    (folder / "history.csv").write_text(text)
    if images:
        write_gallery(folder, images, made["seed"])
    return folder


def write_gallery(folder: Path, images: int, seed: Any, size: tuple[int, int] = (40, 48)) -> None:
    """Images that depend on the seed, with masks; the prediction is all cell."""
    (folder / "gallery").mkdir(exist_ok=True)
    items = []
    for number in range(images):
        rng = np.random.default_rng([len(str(seed)) + int(seed or 0), number])
        layers = {
            "image": rng.integers(0, 256, (*size, 3)).astype("uint8"),
            "mask": np.zeros(size, "uint8"),
            "prediction": np.ones(size, "uint8"),
        }
        layers["mask"][:10, :10] = 2
        item = {"name": f"scene_{number:04d}", "annotated": [True] * 3, "mean_iou": 0.5}
        for key, layer in layers.items():
            item[key] = f"{number:04d}{'' if key == 'image' else '_' + key}.png"
            Image.fromarray(layer).save(folder / "gallery" / item[key])
        items.append({**item, "truth": None})
    dump(folder / "gallery" / "gallery.json", {"split": "val", "items": items})


def dump(path: Path, content: Any) -> None:
    """Writes a JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")

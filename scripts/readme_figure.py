"""Draws the picture in the README: one image under naive and under partial-aware training.

    segkit train experiment=missing output=runs/naive loss=cross_entropy mix=none sampling=uniform
    segkit train experiment=missing output=runs/aware
    python scripts/readme_figure.py runs/naive runs/aware docs/images/naive_and_aware.png [ITEM]

Reads the galleries of the two run folders, which show the same validation images.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from PIL import Image

from segkit.labels import LabelSpace

ZOOM = 4  # display pixels an image pixel; hatching needs them


def main(naive: Path, aware: Path, output: Path, number: int = 0) -> None:
    """Draws item `number` of the galleries of both runs into `output`."""
    labels = LabelSpace.from_json(aware / "labels.json")
    item = json.loads((aware / "gallery/gallery.json").read_text())["items"][number]
    unknown = [n for n, looked in zip(labels.names, item["annotated"]) if not looked]
    given = _paint(aware, item["mask"], labels)
    if unknown:
        given[_hatch(given.shape[:2]) & (_read(aware, item["mask"]) == labels.background)] = 150
    panels = {
        "image": _read(aware, item["image"]),
        "annotated; hatched: nobody\nlooked for " + ", ".join(unknown): given,
        "learnt from that with\ncross-entropy": _paint(naive, item["prediction"], labels),
        "learnt from that with\nsegkit": _paint(aware, item["prediction"], labels),
        "truth": _paint(aware, item["truth"], labels),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 2.8), layout="constrained")
    for axis, (title, picture) in zip(axes, panels.items()):
        axis.imshow(picture, interpolation="nearest")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    patches = [
        Patch(color=np.array(labels.palette[c]) / 255, label=labels.names[c])
        for c in labels.foreground
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110, bbox_inches="tight")


def _read(run: Path, name: str) -> np.ndarray:
    pixels = np.asarray(Image.open(run / "gallery" / name))
    return pixels.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)


def _paint(run: Path, name: str, labels: LabelSpace) -> np.ndarray:
    return np.array(labels.palette, "uint8")[_read(run, name)]


def _hatch(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (rows + columns) % (3 * ZOOM) < ZOOM


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:4]), *map(int, sys.argv[4:]))

"""Small folder data sets for the tests of segkit.data."""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ["background", "cell", "nucleus"]


def image(seed=0, size=(4, 6)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def mask(seed=0, size=(4, 6)):
    """Ids 0 to 2, each of them somewhere."""
    ids = np.random.default_rng(seed).integers(0, 3, size, np.uint8)
    ids.flat[:3] = 0, 1, 2
    return ids


def add(directory, stem, pixels=None, ids=None, suffix=".png"):
    """Writes one pair; pixels and ids made from folder and stem unless they are given."""
    seed = zlib.crc32(f"{Path(directory).name}/{stem}".encode())
    for part, array, end in (
        ("images", image(seed) if pixels is None else pixels, suffix),
        ("masks", mask(seed) if ids is None else ids, ".png"),
    ):
        folder = Path(directory) / part
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(folder / (stem + end))


def add_planes(directory, stem, pixels, planes):
    """Writes an image and the planes (H, W, C) of independent classes."""
    for part in ("images", "masks"):
        (Path(directory) / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(Path(directory) / "images" / f"{stem}.png")
    np.save(Path(directory) / "masks" / f"{stem}.npy", planes)


def classes(root, **changes):
    """Writes classes.json."""
    Path(root).mkdir(parents=True, exist_ok=True)
    description = {"names": NAMES, "background": 0, "ignore_index": 255} | changes
    (Path(root) / "classes.json").write_text(json.dumps(description))


def make(root, stems="abcde", parts=("train", "val"), **changes):
    """A data set with the same stems in each part; returns root."""
    classes(root, **changes)
    for part in parts:
        for stem in stems:
            add(Path(root) / part, stem)
    return Path(root)


def clinic(root, names, stems, parts=("",), ids=None, **changes):
    """A data set with classes of its own; every mask shows each of them, or is `ids`."""
    classes(root, **{"names": names} | changes)
    for part in parts:
        for stem in stems:
            shown = np.arange(24, dtype=np.uint8).reshape(4, 6) % len(names)
            add(Path(root) / part, stem, ids=shown if ids is None else ids)
    return Path(root)

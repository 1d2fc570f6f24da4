"""The same images under several models, packed into the page."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
from PIL import Image

from segkit.labels import LabelSpace
from segkit.report import gallery

LONGER_SIDE = 320  # pixels; larger images are shrunk, so that the page stays small
_ERRORS = (OSError, ValueError, KeyError, TypeError, Image.DecompressionBombError)


@dataclass(frozen=True)
class _Shown:
    """The gallery of one run."""

    folder: Path
    labels: LabelSpace
    items: Mapping[str, Mapping[str, Any]]


def pack(runs: Sequence[tuple[str, Path]], most: int) -> dict[str, Any] | None:
    """Images that all runs show, spread evenly over them, with the prediction of each.

    Images count as the same if name and content are: data that are drawn from a seed have the same
    names and other images.

    Args:
        runs: (label, run folder), best first.
        most: images.

    Returns:
        For the page: "models" (labels), "labels" (LabelSpace), "space", "items", and "left_out",
        labels of runs without a gallery or with other images or classes. None if there is nothing
        to show.
    """
    opened = [(label, _open(folder)) for label, folder in runs]
    there = [(label, shown) for label, shown in opened if shown is not None]
    if not there or most < 1:
        return None
    # The first that has images decides which; the others must have them, too.
    first = there[0][1]
    kept = [(label, shown) for label, shown in there if _common(first, shown)]
    names = [n for n in first.items if all(_same(first, shown, n) for _, shown in kept)]
    places = np.unique(np.linspace(0, len(names) - 1, min(most, len(names))).round().astype(int))
    items = []
    for name in (names[place] for place in places):
        try:
            items.append(_item(name, [shown for _, shown in kept]))
        except _ERRORS:
            continue
    if not items:
        return None
    models = [label for label, _ in kept]
    return {
        "models": models,
        "labels": first.labels,
        "space": gallery.space(first.labels),
        "items": items,
        "left_out": [label for label, _ in runs if label not in models],
    }


def _open(folder: Path) -> _Shown | None:
    try:
        labels = LabelSpace.from_json(folder / "labels.json")
        text = (folder / "gallery" / "gallery.json").read_text(encoding="utf-8")
        items = {str(item["name"]): item for item in json.loads(text)["items"]}
    except (*_ERRORS, RecursionError, AttributeError):
        return None
    return _Shown(folder / "gallery", labels, items) if items else None


def _common(one: _Shown, other: _Shown) -> bool:
    alike = one.labels.names == other.labels.names
    alike = alike and one.labels.exclusive == other.labels.exclusive
    return alike and any(_same(one, other, name) for name in one.items)


def _same(one: _Shown, other: _Shown, name: str) -> bool:
    if one is other:
        return True
    if name not in other.items:
        return False
    digests = [_digest(shown, name) for shown in (one, other)]
    return digests[0] is not None and digests[0] == digests[1]


def _digest(shown: _Shown, name: str) -> bytes | None:
    try:
        path = _inside(shown.folder, shown.items[name]["image"])
        return hashlib.blake2b(path.read_bytes()).digest()
    except _ERRORS:
        return None


def _item(name: str, shown: Sequence[_Shown]) -> dict[str, Any]:
    first, entry = shown[0], shown[0].items[name]
    with Image.open(_inside(first.folder, entry["image"])) as file:
        full = file.size
        image = file.convert("RGB")
    scale = min(1.0, LONGER_SIDE / max(full))
    size = tuple(max(1, round(side * scale)) for side in full)
    best = "truth" if entry.get("truth") else "mask"
    annotated = [bool(looked) for looked in entry["annotated"]]
    return {
        "name": name,
        "width": size[0],
        "height": size[1],
        "image": gallery.data_uri(image.resize(size, Image.Resampling.BOX)),
        "annotated": [True] * len(annotated) if best == "truth" else annotated,
        "given": _mask(first, entry[best], full, size),
        "combinations": _sets(first, entry),
        "truth": best == "truth",
        "models": [
            {"mask": _mask(each, each.items[name]["prediction"], full, size)}
            | {"mean_iou": _score(each.items[name].get("mean_iou"))}
            | {"combinations": _sets(each, each.items[name])}
            for each in shown
        ],
    }


def _mask(shown: _Shown, file: Any, full: tuple[int, int], size: tuple[int, ...]) -> str:
    with Image.open(_inside(shown.folder, file)) as opened:
        ids = np.asarray(opened)
    if ids.shape != full[::-1]:
        raise ValueError(f"{file} has the shape {ids.shape}, its image {full[::-1]}")
    rows, columns = (
        (np.arange(new) + 0.5) * old // new for new, old in zip(size[::-1], full[::-1])
    )
    return gallery.encode_mask(ids[rows.astype(int)[:, None], columns.astype(int)])


def _sets(shown: _Shown, entry: Mapping[str, Any]) -> list[dict[str, list[int]]] | None:
    return None if shown.labels.exclusive else gallery.combinations(entry, shown.labels)


def _score(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return float(value) if good else None


def _inside(folder: Path, name: Any) -> Path:
    # A run folder may come from somebody else: its files must not pull in others.
    if not isinstance(name, str) or Path(name).name != name or (folder / name).is_symlink():
        raise ValueError(f"{name!r} is not the name of a file in the gallery folder")
    return folder / name

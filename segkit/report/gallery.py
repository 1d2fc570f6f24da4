"""Packs the images and masks of a run's gallery into the page."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any, Mapping

import numpy as np
from PIL import Image

from segkit.labels import LabelSpace

LAYERS = ("mask", "truth", "prediction")
EXACT_PIXELS = 256 * 256  # larger pictures become JPEG, for the size of the page; masks never do


def pack(description: dict[str, Any], folder: Path, labels: LabelSpace) -> dict[str, Any]:
    """The gallery as data for the page's script: pictures as data URIs, masks as run lengths.

    Args:
        description: the content of gallery.json.
        folder: where gallery.json and the files that it names lie.
        labels: the label space of the masks. Those of independent classes hold places in the
            `combinations` of their item.

    Returns:
        A mapping fit for JSON. An item whose files are missing or damaged is left out and
        stands in "left_out" with the reason, so that one bad file does not cost the page.
    """
    items, left_out = [], []
    for entry in description.get("items", []):
        try:
            items.append(_item(entry, folder, labels))
        except (OSError, ValueError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            left_out.append({"name": str(entry.get("name", "?")), "why": reason or str(error)})
    return {
        "split": description.get("split", ""),
        "space": space(labels),
        "items": items,
        "left_out": left_out,
    }


def encode_mask(ids: np.ndarray) -> str:
    """Ids (H, W) as base64 text: pairs (id, length of the run), rows one after the other.

    Each number is written in base 128, low digits first, the top bit set on all but its last
    byte (the varint of Protocol Buffers). `decodeMask` in paint.js reads it.
    """
    flat = np.asarray(ids).ravel().astype(np.int64)
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size))
    numbers = np.stack([flat[starts], lengths], axis=1).reshape(-1, 1)
    rest = numbers >> (7 * np.arange(5))  # 35 bits: more pixels than an image has
    used = rest > 0
    used[:, 0] = True
    more = np.concatenate([used[:, 1:], np.zeros_like(used[:, :1])], axis=1)
    return base64.b64encode(((rest & 127) | (more << 7))[used].astype(np.uint8)).decode("ascii")


def space(labels: LabelSpace) -> dict[str, Any]:
    """A label space as the scripts of the page read it."""
    return {
        "names": list(labels.names),
        "palette": [list(color) for color in labels.palette],
        "background": labels.background,
        "ignore": labels.ignore_index,
        "exclusive": labels.exclusive,
        "coarse": [{"name": c.name, "id": c.id, "members": list(c.members)} for c in labels.coarse],
    }


def _item(entry: dict[str, Any], folder: Path, labels: LabelSpace) -> dict[str, Any]:
    annotated = [bool(looked) for looked in entry["annotated"]]
    if len(annotated) != labels.num_classes:
        raise ValueError(f"annotated needs {labels.num_classes} values, not {len(annotated)}")
    picture, (width, height) = _picture(_inside(folder, entry["image"]))
    item = {
        "name": str(entry["name"]),
        "width": width,
        "height": height,
        "image": picture,
        "annotated": annotated,
        "mean_iou": entry.get("mean_iou"),
    }
    if not labels.exclusive:
        item["combinations"] = combinations(entry, labels)
        item["left_out"] = _classes(entry.get("left_out", []), labels)
    known = _known(entry, labels)
    for layer in LAYERS:
        file = entry.get(layer)
        item[layer] = file and encode_mask(_ids(_inside(folder, file), (height, width), known))
    return item


def combinations(entry: Mapping[str, Any], labels: LabelSpace) -> list[dict[str, list[int]]]:
    """The sets of independent classes that an item names, see `segkit.combinations`.

    Raises:
        ValueError: if there are none, or they are of other classes.
    """
    sets = entry.get("combinations")
    if not isinstance(sets, list) or not all(isinstance(one, dict) for one in sets):
        raise ValueError("classes that may overlap need a list of combinations")
    keys = ("classes", "ignored")
    return [{key: _classes(one.get(key, []), labels) for key in keys} for one in sets]


def _classes(ids: Any, labels: LabelSpace) -> list[int]:
    if not isinstance(ids, list) or not set(ids) <= set(range(labels.num_classes)):
        raise ValueError(f"{ids!r} are no ids of classes from 0 to {labels.num_classes - 1}")
    return ids


def _known(entry: Mapping[str, Any], labels: LabelSpace) -> list[int]:
    """The ids that the layers of an item may hold."""
    if not labels.exclusive:
        return list(range(len(entry["combinations"])))
    known = [*range(labels.num_classes), *(coarse.id for coarse in labels.coarse)]
    return known if labels.ignore_index is None else [*known, labels.ignore_index]


def _inside(folder: Path, name: Any) -> Path:
    # A run folder may come from somebody else: its files must not pull in others.
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file in the gallery folder")
    return folder / name


def _picture(path: Path) -> tuple[str, tuple[int, int]]:
    with Image.open(path) as file:
        image = file.convert("RGB")
    return data_uri(image), image.size


def data_uri(image: Image.Image, most: int = EXACT_PIXELS) -> str:
    """A picture as text for a page: exactly, or as a JPEG if it has more than `most` pixels."""
    exact = image.width * image.height <= most
    kind, options = ("png", {"optimize": True}) if exact else ("jpeg", {"quality": 90})
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind};base64,{text}"


def _ids(path: Path, shape: tuple[int, int], known: list[int]) -> np.ndarray:
    with Image.open(path) as file:
        ids = np.asarray(file)
    if ids.shape != shape:
        raise ValueError(f"{path.name} has the shape {ids.shape}, its image {shape}")
    stray = np.setdiff1d(ids, known)
    if stray.size:
        raise ValueError(f"{path.name} holds ids that labels.json does not name: {stray[:5]}")
    return ids

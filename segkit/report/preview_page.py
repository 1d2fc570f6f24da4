"""The page of `segkit preview`: images as they are beside what training will see of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np
from PIL import Image

from segkit import combinations
from segkit.labels import LabelSpace
from segkit.report import gallery, page

MARK = '<meta name="generator" content="segkit preview">'  # also in preview.html.jinja
_LONGEST = 512  # pixels; larger images are shown smaller, for the size of the page


@dataclass(frozen=True)
class View:
    """One picture with its mask, named by `title`.

    image: uint8 (H, W, K) or float (H, W, K) in [0, 1].
    mask: ids (H, W), or planes (H, W, C).
    annotated: bool (C,), the classes somebody looked for.
    """

    title: str
    image: np.ndarray
    mask: np.ndarray
    annotated: np.ndarray


@dataclass(frozen=True)
class Row:
    """An image and its variants: the first view is the image as it is."""

    name: str
    shows: Sequence[str]  # labelled classes
    views: Sequence[View]


def write(
    path: str | Path,
    labels: LabelSpace,
    rows: Sequence[Row],
    *,
    title: str,
    facts: Sequence[tuple[str, str]],
    steps: Sequence[dict[str, Any]],
    notes: Sequence[str] = (),
) -> Path:
    """Writes one self-contained page; only a page of this kind is ever overwritten.

    Args:
        path: the file, in a folder that exists.
        labels: of the masks, with an ignore index if there are ignored pixels.
        rows: the images.
        title: what the data set is called.
        facts: names and values to list, such as seed and split.
        steps: the transforms, in order: "name", "called", "arguments" (pairs of text).
        notes: sentences of warning, shown at the top.

    Raises:
        FileExistsError: if the file is there and is something else.
    """
    path = Path(path)
    if path.exists() and not _is_preview(path):
        raise FileExistsError(
            f"{path} is there, and no page of segkit preview. Name another file: output=PATH."
        )
    classes = page.classes(labels)
    content = {
        "title": title,
        "facts": facts,
        "steps": steps,
        "notes": notes,
        "background": labels.background,
        "classes": classes,
        "swatches": {entry["name"]: entry for entry in classes},
        "rows": [_described(row, labels) for row in rows],
        "channels": max((view.image.shape[2] for row in rows for view in row.views), default=3),
        "painted": {
            "space": gallery.space(labels),
            "items": [[packed(view, labels) for view in row.views] for row in rows],
        },
    }
    return page.save(path, "preview.html.jinja", ["paint.js", "preview.js"], content)


def _is_preview(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(4096)


def _described(row: Row, labels: LabelSpace) -> dict[str, Any]:
    known = row.views[0].annotated
    views = []
    for view in row.views:
        height, width = view.image.shape[:2]
        forgotten = [
            n for n, was, now in zip(labels.names, known, view.annotated) if was and not now
        ]
        views.append(
            {"title": view.title, "height": height, "width": width, "forgotten": forgotten}
        )
    unknown = [name for name, looked in zip(labels.names, known) if not looked]
    return {"name": row.name, "shows": list(row.shows), "unknown": unknown, "views": views}


def packed(view: View, labels: LabelSpace) -> dict[str, Any]:
    """A view as preview.js reads it: a picture, and a layer of ids."""
    picture = _shrunk(Image.fromarray(_visible(view.image)))
    width, height = picture.size
    # The pixel under the middle of each one that is shown.
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip((height, width), view.mask.shape[:2])
    )
    mask = view.mask[rows[:, None], columns]
    layers, sets = combinations.shown_as_ids({"mask": mask}, labels)
    return {
        "width": width,
        "height": height,
        "image": gallery.data_uri(picture),
        "mask": gallery.encode_mask(layers["mask"]),
        "annotated": [bool(looked) for looked in view.annotated],
        **sets,
    }


def _visible(image: np.ndarray) -> np.ndarray:
    """The first three channels, or the first alone in grey, as uint8 (H, W, 3)."""
    shown = image[..., :3] if image.shape[2] >= 3 else np.repeat(image[..., :1], 3, axis=2)
    if shown.dtype == np.uint8:
        return np.ascontiguousarray(shown)
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8)


def _shrunk(image: Image.Image) -> Image.Image:
    factor = _LONGEST / max(image.size)
    if factor >= 1:
        return image
    width, height = (max(1, round(edge * factor)) for edge in image.size)
    return image.resize((width, height), Image.Resampling.BOX)

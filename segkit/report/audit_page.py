"""The page of one `segkit audit`: doubtful cells to decide on by keyboard, and the new manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Mapping, Sequence

from segkit.labels import LabelSpace
from segkit.report import gallery, page

PAGE = "audit.html"
KINDS = {
    "missing": "nothing drawn",
    "object": "drawn in part",
    "wrong_class": "another class",
    "shifted": "shifted",
}


def write(
    path: str | Path,
    result: Mapping[str, Any],
    labels: LabelSpace,
    total: int,
    pictures: Sequence[Mapping[str, Any]],
    items: Sequence[Mapping[str, Any]],
    manifest: Sequence[Mapping[str, Any]] | None,
) -> Path:
    """Writes one self-contained page.

    Args:
        path: the file.
        result: what audit.json holds.
        labels: of the masks.
        total: how many cells there are, on the page or not.
        pictures: "width", "height", "image" (a data URI) and "mask" (see `gallery.encode_mask`).
        items: the cells, ranked: "picture" (its number), "image", "split", "class" (its
            id), "kind", "declared", "score", "why", "plane", "outline", "line" of the manifest, and
            "key", a name that no other image has.
        manifest: a line an image: "image", "annotated" (one number a class), "split", "group",
            "weight"; None where the data have no annotations.csv.

    Returns:
        The path.
    """
    classes = page.classes(labels)
    settings = result["settings"]
    content = {
        "name": settings["data"],
        "settings": settings,
        "images": result["images"],
        "rows": result["classes"],
        "classes": classes,
        "swatches": {entry["name"]: entry for entry in classes},
        "kinds": [key for key in KINDS if any(item["kind"] == key for item in items)],
        "words": KINDS,
        "total": total,
        "shown": len(items),
        "has_manifest": manifest is not None,
        "review": {
            "guard": _digest(settings.get("source"), labels.names, items, manifest),
            "space": gallery.space(labels),
            "words": KINDS,
            "pictures": list(pictures),
            "items": list(items),
            "manifest": None if manifest is None else list(manifest),
        },
    }
    return page.save(Path(path), "audit.html.jinja", ["paint.js", "audit.js"], content)


def _digest(
    source: str | None, names: Sequence[str], items: Sequence[Mapping[str, Any]], manifest: Any
) -> str:
    """What the choices of a review are kept under: that of a new audit of the same images too.

    Other data sets may have the same names, and browsers keep the choices of all pages together.
    """
    images = [entry["image"] for entry in manifest or ()] or sorted({i["key"] for i in items})
    text = json.dumps([source, list(names), images])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

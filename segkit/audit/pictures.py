"""The cells that the page shows: pictures, outlines, and why each of them is there."""

from __future__ import annotations

import base64
import io
from typing import Any, Sequence

import numpy as np
from PIL import Image

from segkit import parallel
from segkit.audit.evidence import Place, shown_size
from segkit.audit.manifest import Start
from segkit.audit.ranking import MISSING, OBJECT, SHIFTED, WRONG, Row
from segkit.callbacks.overlays import byte_image
from segkit.contract import Source
from segkit.labels import LabelSpace
from segkit.report import gallery

QUALITY = 80  # of the JPEG
NOWHERE = 65_535  # the id of pixels without the class, in a plane of its own
_OUTLINES = {MISSING: "found", OBJECT: "found", WRONG: "doubt", SHIFTED: "shift"}


def described(
    rows: Sequence[Row], splits: dict[str, Source], labels: LabelSpace, start: Start | None
) -> dict[str, Any]:
    """What the page shows, fit for JSON: "pictures", "items", and "manifest", None without one.

    Args:
        rows: the cells, in the order of the page.
        splits: the sources, by name; each image is read once more.
        labels: the label space.
        start: what is declared of each image.
    """
    places = list(dict.fromkeys(row.seen.place for row in rows))
    numbers = {place: number for number, place in enumerate(places)}

    def drawn(place: Place) -> tuple[dict[str, Any], np.ndarray]:
        return _picture(splits[place.split][place.index], labels)

    pictures, masks = [], []
    for picture, mask in parallel.ordered(drawn, places, "pictures"):
        pictures.append(picture)
        masks.append(mask)
    items = []
    for row in rows:
        number = numbers[row.seen.place]
        line = start.lines[row.seen.place.split][row.seen.place.index] if start else None
        # Names are those of the manifest, as train/a.png and val/a.png are both called "a".
        key = start.entries[line].image if start else f"{row.seen.place.split}/{row.seen.name}"
        items.append({**_item(row, number, masks[number], labels), "line": line, "key": key})
    entries = None if start is None else [_entry(entry) for entry in start.entries]
    return {"pictures": pictures, "items": items, "manifest": entries}


def _picture(sample: Any, labels: LabelSpace) -> tuple[dict[str, Any], np.ndarray]:
    """A picture for JSON, and its mask as small."""
    height, width = size = shown_size(sample.image.shape[:2])
    image = Image.fromarray(byte_image(sample.image))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=QUALITY)
    code = base64.b64encode(buffer.getvalue()).decode("ascii")
    # The pixel under the middle of each one that is shown.
    at = [
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, sample.mask.shape[:2])
    ]
    mask = np.asarray(sample.mask)[at[0][:, None], at[1]]
    ids = gallery.encode_mask(mask) if labels.exclusive else None
    picture = {"width": width, "height": height, "mask": ids}
    return {**picture, "image": f"data:image/jpeg;base64,{code}"}, mask


def _item(row: Row, picture: int, mask: np.ndarray, labels: LabelSpace) -> dict[str, Any]:
    c, outline = row.cell.id, row.cell.outlines.get(_OUTLINES[row.kind])
    plane = None
    if not labels.exclusive:
        plane = gallery.encode_mask(np.where(mask[..., c] == 1, c, NOWHERE))
    return {
        "picture": picture,
        "image": row.seen.name,
        "split": row.seen.place.split,
        "class": c,
        "kind": row.kind,
        "declared": row.declared,
        "score": None if row.score is None else round(row.score, 4),
        "why": why(row, labels),
        "plane": plane,
        "outline": None if outline is None else gallery.encode_mask(np.where(outline, c, NOWHERE)),
    }


def why(row: Row, labels: LabelSpace) -> str:
    """What the score of a row stands on, in a sentence or two."""
    looked = "Declared as looked for." if row.cell.annotated else "Nobody said it was looked for."
    cell, found = row.cell, row.found
    if row.kind == WRONG:
        instead = labels.names[cell.doubt.says] if cell.doubt.says is not None else "something else"
        return (
            f"A drawn region of {cell.doubt.area:,} pixels is {instead} to the model, with a mean "
            f"probability of {cell.doubt.confidence:.2f}."
        )
    if row.kind == SHIFTED:
        shift = cell.shift
        return (
            f"Moved by {shift.rows:+d} rows and {shift.columns:+d} columns, the annotation would "
            f"match the prediction with an IoU of {shift.after:.2f} instead of {shift.before:.2f}."
        )
    if row.score is None:
        return f"The class is drawn nowhere, so the model cannot know it. {looked}"
    if not found.regions:
        peak = f"at most with a probability of {found.confidence:.2f}"
        return f"Predicted nowhere, {peak}. {looked}"
    many = "1 region" if found.regions == 1 else f"{found.regions} regions, the largest"
    beside = " beside what is drawn" if row.kind == OBJECT else ""
    return (
        f"Predicted{beside} in {many} of {found.area:,} pixels (typical: {row.typical_area:,.0f}), "
        f"with a mean probability of {found.confidence:.2f}. {looked}"
    )


def _entry(entry: Any) -> dict[str, Any]:
    return {**entry._asdict(), "annotated": [int(looked) for looked in entry.annotated]}

"""What an audit reports: one row for each cell that something can be said of, ranked."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from segkit.audit import scores
from segkit.audit.evidence import Cell, Seen
from segkit.audit.regions import Found
from segkit.audit.scores import Reference
from segkit.labels import LabelSpace
from segkit.tables import cell as safe

MISSING, OBJECT, WRONG, SHIFTED = "missing", "object", "wrong_class", "shifted"
KINDS = (MISSING, OBJECT, WRONG, SHIFTED)
HEADER = (
    "image",
    "split",
    "class",
    "kind",
    "declared",
    "says",
    "score",
    "strength",
    "expected_area",
)
HEADER += ("typical_area", "confidence", "regions", "area", "top", "left", "height", "width")
HEADER += ("shift_rows", "shift_columns", "iou_before", "iou_after")


@dataclass(frozen=True)
class Row:
    """One thing to look at in one cell.

    seen: the image. cell: the cell.
    kind: missing (nothing of the class is drawn), object (some is drawn, and another one is
        predicted beside), wrong_class (another class is predicted where it is drawn), shifted
        (moved, the annotation matches the prediction much better).
    score: of missing and object, the probability that something was not outlined; of wrong_class,
        the mean probability of the other class; of shifted, what IoU would gain. None where
        nothing can be said, since the class is drawn nowhere.
    says: what is predicted: present or absent; the other class.
    strength: see `scores.strength`.
    typical_area: of the largest region where the class is drawn, the median, in pixels.
    """

    seen: Seen
    cell: Cell
    kind: str
    score: float | None
    says: str
    strength: float | None = None
    typical_area: float | None = None

    @property
    def found(self) -> Found:
        """What the score stands on."""
        return self.cell.found

    @property
    def declared(self) -> str:
        """annotated: somebody looked for the class; unknown: nobody did, as far as is said."""
        return "annotated" if self.cell.annotated else "unknown"


def rank(seen: Sequence[Seen], labels: LabelSpace) -> tuple[list[Row], list[Reference | None]]:
    """Ranks the cells of all images, the most doubtful first; and what is known of each class."""
    cells = [(image, cell) for image in seen for cell in image.cells]
    known = scores.references([cell for _, cell in cells], labels.num_classes)
    empty = [pair for pair in cells if not pair[1].drawn]
    partly = _scored([pair for pair in cells if pair[1].drawn], OBJECT, known)
    found = [*_scored(empty, MISSING, known), *(row for row in partly if row.found.regions)]
    for image, cell in cells:
        if cell.doubt is not None:
            says = "" if cell.doubt.says is None else labels.names[cell.doubt.says]
            found.append(Row(image, cell, WRONG, cell.doubt.confidence, says))
        if cell.shift is not None:
            gain = cell.shift.after - cell.shift.before
            found.append(Row(image, cell, SHIFTED, gain, "elsewhere"))
    order = {kind: number for number, kind in enumerate(KINDS)}

    def key(row: Row) -> tuple:
        none = row.score is None
        tie = (row.cell.image, row.cell.id, order[row.kind])
        return none, -(row.score or 0.0), -(row.strength or 0.0), tie

    return sorted(found, key=key), known


def _scored(
    pairs: Sequence[tuple[Seen, Cell]], kind: str, known: Sequence[Reference | None]
) -> list[Row]:
    """Rows whose score is the probability that something was not outlined."""
    if not pairs:
        return []
    ids = np.array([cell.id for _, cell in pairs])
    looked = np.array([cell.annotated for _, cell in pairs])
    strengths = np.array(
        [
            scores.strength(cell.found, known[cell.id].area) if known[cell.id] else 0
            for _, cell in pairs
        ]
    )
    found = scores.probabilities(strengths, 2 * ids + looked, ids, known)
    made = []
    for (image, cell), s, p in zip(pairs, strengths, found):
        if math.isnan(p):
            made.append(Row(image, cell, kind, None, ""))
            continue
        says = "present" if p >= 0.5 else "absent"
        area = known[cell.id].area
        made.append(Row(image, cell, kind, float(p), says, float(s), area))
    return made


def write_csv(path: Path, found: Sequence[Row], labels: LabelSpace) -> None:
    """Writes one line a row; what does not apply is empty."""
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for row in found:
            writer.writerow([safe(value) for value in described(row, labels).values()])


def described(row: Row, labels: LabelSpace) -> dict[str, Any]:
    """A row by the names of `HEADER`; None where something does not apply."""
    doubt = row.cell.doubt if row.kind == WRONG else None
    shift = row.cell.shift if row.kind == SHIFTED else None
    tells = row.kind in (MISSING, OBJECT)
    found = row.found if tells else None
    box = doubt.box if doubt else found.box if found else None
    values: list[Any] = [row.seen.name, row.seen.place.split, labels.names[row.cell.id], row.kind]
    values += [row.declared, row.says, _short(row.score), _short(row.strength)]
    values += [_short(found and found.expected), _short(row.typical_area)]
    values += [_short(doubt.confidence if doubt else found and found.confidence)]
    values += [found and found.regions, doubt.area if doubt else found and found.area]
    values += list(box or [None] * 4)
    values += [shift.rows, shift.columns] if shift else [None] * 2
    values += [_short(shift.before), _short(shift.after)] if shift else [None] * 2
    return dict(zip(HEADER, values))


def summary(
    found: Sequence[Row], known: Sequence[Reference | None], labels: LabelSpace, images: int
) -> dict[str, Any]:
    """What audit.json holds of each class: how much is likely to be missing, and is doubted."""
    classes = []
    for c in labels.foreground:
        mine = [row for row in found if row.cell.id == c]
        empty = [row for row in mine if row.kind == MISSING]
        entry = {"name": labels.names[c], "drawn": known[c].images if known[c] else 0}
        entry["typical_area"] = known[c] and known[c].area
        entry["strength_where_drawn"] = known[c] and _short(known[c].found)
        for state in ("annotated", "unknown"):
            p = [row.score for row in empty if row.declared == state]
            sure = None if None in p else round(float(sum(p)), 2)
            entry[f"empty_{state}"], entry[f"expected_missing_{state}"] = len(p), sure
        for kind in (OBJECT, WRONG, SHIFTED):
            entry[kind] = sum(row.kind == kind for row in mine)
        classes.append(entry)
    return {"images": images, "classes": classes}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a JSON file for people."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

"""What was filled, in words: a table, warnings, and the files that say where it comes from."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np

from segkit import tables
from segkit.labels import LabelSpace
from segkit.pseudo_labels.choosing import labelled_classes
from segkit.pseudo_labels.filling import Example, Filled
from segkit.report import completion_page
from segkit.report.preview_page import Row, View

PAGE, SUMMARY, RECORD = "complete.html", "complete.json", "provenance.json"
_KEY = """unknown: images in which nobody looked for the class; filled, labelled: those of these
in which something was decided, and in which pixels got the class.
pixels, open: so many were labelled, and left open. conf.: mean probability of the labels.
from: the probability from which on labels are given.
val: the share of the labels from there on that is right on the known cells of val."""
_TRUTH = "true, of hidden: labels that are right by the truth, and hidden pixels that got theirs."


def by_class(found: Filled) -> list[dict[str, Any]]:
    """One row a class: counts, thresholds, and what they were tuned to."""
    rows = found.tally.by_class()
    for row in rows:
        c = found.labels.index(row["class"])
        row["take"], row["drop"] = (float(part[c]) for part in found.thresholds)
        row["precision"] = row["recall"] = None
        if found.tuned is not None:
            row["precision"] = _finite(found.tuned.precision[c])
            row["recall"] = _finite(found.tuned.recall[c])
    return rows


def table(found: Filled) -> str:
    """What was filled, for the terminal."""
    head = ["class", "unknown", "filled", "labelled", "pixels", "open", "conf.", "from", "val"]
    rows = by_class(found)
    truth = found.tally.has_truth
    cells = []
    for row in rows:
        numbers = [row[key] for key in ("unknown_cells", "filled_cells", "labelled_cells")]
        numbers += [row["labelled_pixels"], row["open_pixels"]]
        told = [_text(row["confidence"]), _text(row["take"]), _text(row["precision"])]
        more = [_text(row["true_precision"]), _text(row["true_recall"])] if truth else []
        cells.append([row["class"], *(f"{number:,}" for number in numbers), *told, *more])
    shown = tables.text("what was filled", head + ["true", "of hidden"] * truth, cells)
    return "\n".join([shown, _KEY, *[_TRUTH] * truth])


def notes(found: Filled) -> Iterator[str]:
    """What to look at twice."""
    if found.left:
        yield (
            f"Nobody annotated {', '.join(found.left)} anywhere, so it stays unknown: nothing can "
            "know what it looks like."
        )
    rows = by_class(found)
    never = [row["class"] for row in rows if row["take"] > 1 and row["unknown_cells"]]
    if never:
        yield (
            f"{', '.join(never)}: no threshold makes labels as precise on val as asked for, so "
            "nothing is filled. Lower label_precision, or give thresholds."
        )
    if found.tuned is not None:
        blind = [
            row["class"]
            for row in rows
            if row["unknown_cells"] and not found.tuned.pixels[found.labels.index(row["class"])]
        ]
        if blind:
            yield (
                f"{', '.join(blind)}: val has no known pixel to tune on, so labels are given from "
                "`confidence` on, which is a guess."
            )
    if found.seen:
        yield (
            f"{len(found.seen)} images of val are ones that the run was trained on, such as "
            f"{found.seen[0]}: val was drawn anew since, as annotations were changed, and the "
            "thresholds are too bold. Say in the column split of annotations.csv what splits.csv "
            "of the run says."
        )
    for path, why in found.failed.items():
        yield f"{path} stays as it was: {why}"


def write_page(
    path: Path, found: Filled, title: str, facts: list[tuple[str, str]], dry_run: bool
) -> Path:
    """The page with the table and the examples."""
    rows = [(_row(example, found.labels), example.confidence) for example in found.examples]
    return completion_page.write(
        path,
        found.labels,
        rows,
        title=title,
        classes=by_class(found),
        facts=facts,
        notes=list(notes(found)),
        dry_run=dry_run,
    )


def summary(found: Filled, settings: Mapping[str, Any], runs: Mapping[str, str]) -> dict[str, Any]:
    """What provenance.json and complete.json hold.

    Args:
        found: what was filled.
        settings: of the command.
        runs: {folder of a run: hash of its model}.
    """
    return {
        "command": sys.argv,
        "settings": dict(settings),
        "runs": [{"folder": path, "model_sha256": digest} for path, digest in runs.items()],
        "images": found.tally.images,
        "images_changed": found.tally.changed,
        "share_of_unknown_cells_filled": found.tally.share_filled,
        "classes": by_class(found),
        "coarse_labels": len(found.labels.coarse),
        "left_unknown": found.left,
        "failed": found.failed,
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as JSON."""
    path.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _row(example: Example, labels: LabelSpace) -> Row:
    before = set(labelled_classes(example.given, labels))
    new = [name for name in labelled_classes(example.completed, labels) if name not in before]
    views = [
        View("as given", example.image, np.asarray(example.given.mask), example.given.annotated),
        View(
            "completed",
            example.image,
            np.asarray(example.completed.mask),
            example.completed.annotated,
        ),
    ]
    return Row(example.name, new, views)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _text(value: float | None) -> str:
    return "-" if value is None else "never" if value > 1 else f"{value:.3f}"

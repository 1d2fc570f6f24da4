"""The numbers of the page, arranged for reading. None means "no evidence" all the way through."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from segkit.labels import LabelSpace

TRUTH = "/truth"  # the suffix of a split that was scored against the hidden truth
SCORES = ("iou", "dice", "precision", "recall")
COUNTS = {  # behind the class weights, with their headings
    "pixels": "Pixels",
    "stored_pixels": "Pixels stored",
    "present": "Images with it",
    "expected_images": "Images expected to have it",
    "image_pixels": "Pixels of the images with it",
}
STATES = ("present", "verified_absent", "unknown")
SPLITS = {"train": "training", "val": "validation", "test": "test"}


def count(value: float | None) -> str | None:
    """A whole number with separators, or None."""
    return None if value is None else f"{round(value):,}"


def score(value: float | None) -> str | None:
    """Three decimals, or None."""
    return None if value is None else f"{value:.3f}"


def percent(value: float | None) -> str | None:
    """A share in [0, 1] as a percentage; only 0 is written as 0 %, only 1 as 100 %."""
    if value is None:
        return None
    if 0 < value < 0.001 or 0.999 < value < 1:
        return "<0.1 %" if value < 0.5 else ">99.9 %"
    digits = 0 if value in (0, 1) else 1
    return f"{100 * value:.{digits}f} %"


def coverage(recorded: Mapping[str, Any], labels: LabelSpace) -> list[dict[str, Any]]:
    """Who looked for what: one entry a split, with one row a class and the share of known cells.

    The background is no row of evidence about anybody's diligence: it counts as annotated in
    every image, so the share ("known_share") leaves it out.
    """
    background = None if labels.background is None else labels.names[labels.background]
    splits = []
    for split, entry in recorded.items():
        rows = [_coverage_row(row) for row in entry["classes"]]
        cells = [row for row in rows if row["name"] != background]
        known = sum(row["annotated"] for row in cells)
        total = known + sum(row["unknown"] for row in cells)
        splits.append(
            {
                "split": split,
                "title": SPLITS.get(split, split),
                "images": entry["images"],
                "rows": rows,
                "background": background,
                "known_share": known / total if total else None,
            }
        )
    return splits


def _coverage_row(row: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(row[state] for state in STATES)
    shares = {state: row[state] / total if total else 0 for state in STATES}
    return {**row, "pixels": row.get("pixels"), "shares": shares}


def annotated_shares(
    history: Sequence[Mapping[str, float | None]], labels: LabelSpace
) -> list[tuple[str, float]]:
    """Class names with what an estimated loss last took for their annotated share, if one did.

    Args:
        history: the rows of history.csv, with a column annotated_share_CLASS for each class.
        labels: class names; the background, in which nothing is outlined, is left out.
    """
    last = history[-1] if history else {}
    shares = [
        (labels.names[c], last.get(f"annotated_share_{labels.names[c]}")) for c in labels.foreground
    ]
    return [(name, share) for name, share in shares if share is not None]


def scores(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One table a split: a row a class, scores on known cells and, if known, on the truth."""
    tables = []
    for split, block in metrics.items():
        if split.endswith(TRUTH):
            continue
        truth = metrics.get(split + TRUTH)
        true_rows = {row["name"]: row for row in (truth or {}).get("per_class", [])}
        rows = [
            {"name": row["name"], "known": _score_row(row)}
            | {"truth": _score_row(true_rows.get(row["name"], {}))}
            for row in block.get("per_class", [])
        ]
        means = {"known": _means(block), "truth": _means(truth or {})}
        tables.append(
            {"split": split, "title": SPLITS.get(split, split), "rows": rows, "means": means}
            | {"has_truth": truth is not None, "has_bounds": "mean_iou_bounds" in block}
        )
    return tables


def ordered(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How far off ordered classes are, one entry a block; none where classes have no order."""
    entries = []
    for name, block in metrics.items():
        found = block.get("ordered")
        if not found:
            continue
        split = name.removesuffix(TRUTH)
        against = "known cells" if split == name else "the complete truth"
        largest = max((row["mean_absolute_error"] or 0 for row in found["per_class"]), default=0)
        entries.append(
            {"title": SPLITS.get(split, split), "against": against, "largest": largest or 1}
            | {**found, "unit": found.get("unit") or ""}
        )
    return entries


def _score_row(row: Mapping[str, Any]) -> dict[str, Any]:
    cells = {key: row.get(key) for key in (*SCORES, "images", "pixels")}
    return {**cells, "bounds": row.get("iou_bounds") or (None, None)}


def _means(block: Mapping[str, Any]) -> dict[str, Any]:
    bounds = block.get("mean_iou_bounds") or (None, None)
    return {"iou": block.get("mean_iou"), "dice": block.get("mean_dice"), "bounds": bounds}


def headline(metrics: Mapping[str, Any], covered: list[dict[str, Any]] | None) -> dict[str, Any]:
    """The few numbers at the top: of the validation split, or of the first that was scored."""
    splits = [split for split in metrics if not split.endswith(TRUTH)]
    split = "val" if "val" in splits else next(iter(splits), None)
    block = metrics.get(split, {}) if split else {}
    truth = metrics.get(f"{split}{TRUTH}")
    rows = [row for row in block.get("per_class", []) if row.get("iou") is not None]
    train = next((entry for entry in covered or [] if entry["split"] == "train"), None)
    scored = {row["name"] for row in rows}
    true = [row.get("iou") for row in (truth or {}).get("per_class", []) if row["name"] in scored]
    alike = [iou for iou in true if iou is not None]
    return {
        "split": split and SPLITS.get(split, split),
        "mean_iou": block.get("mean_iou"),
        "has_truth": truth is not None,
        "truth_iou": truth and truth.get("mean_iou"),
        # Over the classes that the known cells score: means of other classes do not compare.
        "truth_alike": sum(alike) / len(alike) if alike else truth and truth.get("mean_iou"),
        "worst": min(rows, key=lambda row: row["iou"]) if rows else None,
        "silent": [r["name"] for r in block.get("per_class", []) if r.get("iou") is None],
        "known_share": train and train["known_share"],
    }


def confusions(metrics: Mapping[str, Any], exclusive: bool = True) -> list[dict[str, Any]]:
    """Confusion matrices with shares of each row, and the three largest mix-ups.

    Independent classes: shares of the labelled pixels of the row; no mix-ups, since two classes
    at one pixel may be right.

    Raises:
        ValueError: if a matrix does not have one row and one column a class.
    """
    matrices = []
    for split, block in metrics.items():
        counts = block.get("confusion")
        if counts is None:
            continue
        names = [row["name"] for row in block["per_class"]]
        if len(counts) != len(names) or any(len(row) != len(names) for row in counts):
            raise ValueError(
                f"metrics.json: the confusion of {split!r} needs {len(names)} rows and columns, "
                f"one a class. Received: rows of {[len(row) for row in counts]}."
            )
        base = split.removesuffix(TRUTH)
        totals = [sum(row) for row in counts]
        if not exclusive:
            totals = [row["pixels"] for row in block["per_class"]]
        rows = [_confusion_row(names, c, row, totals[c]) for c, row in enumerate(counts)]
        wrong = [cell for row in rows for cell in row["cells"] if exclusive and not cell["right"]]
        matrices.append(
            {
                "title": SPLITS.get(base, base),
                "against_truth": split != base,
                "names": names,
                "rows": rows,
                "mix_ups": sorted(filter(_happened, wrong), key=lambda cell: -cell["share"])[:3],
            }
        )
    return matrices


def _happened(cell: Mapping[str, Any]) -> bool:
    return bool(cell["share"])


def _confusion_row(names: list[str], c: int, counts: list[int], total: int) -> dict[str, Any]:
    cells = [
        {
            "annotated": names[c],
            "predicted": names[column],
            "right": column == c,
            "count": value,
            "share": value / total if total else None,
        }
        for column, value in enumerate(counts)
    ]
    return {"name": names[c], "total": total, "cells": cells}


def weights(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Class weights with the counts behind them, and each weight as a share of the largest.

    "left_out" has the classes of which fewer pixels count than are stored, and how many fewer.
    """
    keys = ("name", "weight", "in_loss", *COUNTS)
    rows = [{key: row.get(key) for key in keys} for row in recorded.get("classes", [])]
    largest = max((row["weight"] or 0 for row in rows), default=0)
    left_out = {}
    for row in rows:
        row["share"] = (row["weight"] or 0) / largest if largest else 0
        left_out[row["name"]] = (row["stored_pixels"] or 0) - (row["pixels"] or 0)
    return {
        "scheme": recorded.get("scheme", ""),
        "rows": rows,
        "scaled": any(row["in_loss"] is not None for row in rows),
        "counts": {key: COUNTS[key] for key in COUNTS if any(row[key] is not None for row in rows)},
        "left_out": {name: pixels for name, pixels in left_out.items() if pixels > 0},
        "at_random": recorded.get("at_random", True),
    }

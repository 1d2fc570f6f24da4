"""The score of a trial, from the files of its run folder."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Iterator, Mapping

HISTORY = "history.csv"
_DICE, _IOU = "dice_", "iou_"


def by_epoch(folder: Path, score: str) -> Iterator[tuple[int, float]]:
    """The score after each epoch on which there is one: (epochs done, score).

    Dice = 2 IoU / (1 + IoU) is not in the file, and follows from what is.

    Args:
        folder: of a run; one without a history yet has none.
        score: mean_iou, mean_dice, iou_CLASS, dice_CLASS, or what else of the validation is there.

    Raises:
        ValueError: if the validation has no such score.
    """
    try:
        with open(folder / HISTORY, newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return
    for row in rows:
        columns = {
            name.removeprefix("val_"): _number(value)
            for name, value in row.items()
            if isinstance(name, str) and name.startswith("val_")
        }
        epoch = _number(row.get("epoch"))
        if not columns or math.isnan(epoch):
            continue  # half a line, or an epoch without validation
        value = _score(columns, score)
        if math.isfinite(value):
            yield int(epoch) + 1, value


def final(folder: Path, score: str, maximizes: bool) -> float | None:
    """The score of the model that a finished run kept; None: nothing was there to judge it by.

    What metrics.json does not hold is the best after any epoch.
    """
    try:
        block = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["val"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = {"mean_iou": block.get("mean_iou"), "mean_dice": block.get("mean_dice")}
    for row in block.get("per_class", []):
        found |= {f"{kind}_{row['name']}": row.get(kind) for kind in ("iou", "dice")}
    if score in found:
        return found[score]
    values = [value for _, value in by_epoch(folder, score)]
    return (max if maximizes else min)(values, default=None)


def _score(columns: Mapping[str, float], score: str) -> float:
    ious = {name: value for name, value in columns.items() if name.startswith(_IOU)}
    if score == "mean_dice":
        known = [_dice(value) for value in ious.values() if math.isfinite(value)]
        return sum(known) / len(known) if known else math.nan
    if score.startswith(_DICE) and _IOU + score.removeprefix(_DICE) in ious:
        return _dice(ious[_IOU + score.removeprefix(_DICE)])
    if score not in columns:
        dice = [_DICE + name.removeprefix(_IOU) for name in ious]
        there = sorted([*columns, *dice, "mean_dice"])
        raise ValueError(
            f"search.score: the validation has no {score!r}. It has: {', '.join(there)}."
        )
    return columns[score]


def _dice(iou: float) -> float:
    return 2 * iou / (1 + iou)


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except (TypeError, ValueError):
        return math.nan

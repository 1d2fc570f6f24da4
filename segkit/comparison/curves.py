"""Learning curves of groups: the mean over the seeds, and the range of the runs."""

from __future__ import annotations

import csv
from typing import Any, Sequence

from segkit.comparison.folders import Run
from segkit.comparison.groups import Group


def of_groups(
    groups: Sequence[Group], runs: Sequence[Run], score: str, split: str
) -> dict[str, Any]:
    """The validation score over the epochs, as far as all runs of a group have been trained.

    Beyond, the mean would be of the runs that happened to go on.

    Returns:
        {"column", "curves": [{"label", "epochs", "mean", "low", "high", "n"}], "left_out":
        names of runs whose history.csv is missing or damaged}. low and high are of the lowest and
        the highest run: intervals of three runs would cover the picture.
    """
    wanted = [f"{split}_{score}", "val_mean_iou"]
    left_out: list[str] = []
    found: list[tuple[Group, list[tuple[str, dict[int, float]]]]] = []
    for group in groups:
        histories = []
        for member in group.members:
            history = _read(runs[member], wanted)
            if history is None:
                left_out.append(runs[member].name)
            else:
                histories.append(history)
        found.append((group, histories))
    # One column for all: that of the score if every history has it.
    names = {name for _, histories in found for name, _ in histories}
    column = wanted[0] if names == {wanted[0]} else wanted[1]
    if len(names) > 1:
        found = [(g, [_read(runs[m], wanted[1:]) for m in g.members]) for g, _ in found]
        found = [(g, [history for history in h if history is not None]) for g, h in found]
    curves = [_curve(g, [rows for _, rows in h]) for g, h in found if h]
    return {
        "column": column,
        "curves": [curve for curve in curves if curve["epochs"]],
        "left_out": left_out,
    }


def _curve(group: Group, histories: Sequence[dict[int, float]]) -> dict[str, Any]:
    last = min(max(rows) for rows in histories)
    epochs = sorted(set.intersection(*map(set, histories)))
    epochs = [epoch for epoch in epochs if epoch <= last]
    values = [[rows[epoch] for rows in histories] for epoch in epochs]
    return {
        "label": group.label,
        "epochs": epochs,
        "mean": [sum(found) / len(found) for found in values],
        "low": [min(found) for found in values],
        "high": [max(found) for found in values],
        "n": len(histories),
    }


def _read(run: Run, wanted: Sequence[str]) -> tuple[str, dict[int, float]] | None:
    """The first of the columns that history.csv has, and its values by epoch, from 1."""
    try:
        with open(run.folder / "history.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error):
        return None
    for name in wanted:
        values = {}
        for number, row in enumerate(rows):
            value, epoch = _number(row.get(name)), _number(row.get("epoch"))
            if value is not None:
                values[int(number if epoch is None else epoch) + 1] = value
        if values:
            return name, values
    return None


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if abs(value) < 1e300 else None  # which NaN and infinity are not

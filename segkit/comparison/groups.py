"""Runs with the same choices as groups, and tests of one group against another."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Hashable, Mapping, Sequence

import numpy as np

from segkit.comparison import choices, scores
from segkit.comparison.choices import Column
from segkit.comparison.folders import Run, number
from segkit.replicates import Interval, Paired, interval, paired

Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class Group:
    """Runs with the same texts in all columns.

    texts: one a column. shown: the same to look at, without the last digits of numbers.
    label: what sets it apart, in one line.
    members: the numbers of its runs.
    replicates: the score of each replicate that has one; of several runs with the same config
        and seed, their mean.
    score: over the replicates.
    per_class: class name -> key of the score -> mean over the runs with evidence.
    """

    texts: Texts
    shown: Texts
    label: str
    members: tuple[int, ...]
    replicates: Mapping[Hashable, float]
    score: Interval
    per_class: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class Test:
    """One group against another: differences of their runs with the same seed.

    p: that of the t test, corrected for the number of tests; see `segkit.replicates.holm`.
    """

    group: int
    against: int
    pairs: Paired
    p: float | None = None


def grouped(
    columns: Sequence[Column],
    values: Sequence[float | None],
    blocks: Sequence[Mapping[str, Any] | None],
    replicates: Sequence[Hashable],
    level: float,
    falls: bool = False,
) -> list[Group]:
    """The groups, best first; those without any score last.

    Args:
        columns: with the texts of each run.
        values: the score of each run; None: no evidence.
        blocks: of metrics.json, for the classes.
        replicates: what tells a run from the others of its group.
        level: of the intervals.
        falls: whether less is better.
    """
    members: dict[Texts, list[int]] = defaultdict(list)
    for run in range(len(values)):
        members[tuple(column.values[run] for column in columns)].append(run)
    groups = []
    for texts, runs in members.items():
        by_replicate: dict[Hashable, list[float]] = defaultdict(list)
        for run in runs:
            if values[run] is not None:
                by_replicate[replicates[run]].append(values[run])
        means = {key: float(np.mean(found)) for key, found in by_replicate.items()}
        found = interval(list(means.values()), level)
        table = _per_class([blocks[run] for run in runs])
        shown = tuple(None if text is None else choices.shown(text) for text in texts)
        groups.append(Group(texts, shown, label(columns, shown), tuple(runs), means, found, table))
    sign = 1 if falls else -1
    return sorted(
        groups, key=lambda g: (g.score.mean is None, sign * (g.score.mean or 0.0), g.members)
    )


def label(columns: Sequence[Column], texts: Texts) -> str:
    """What sets a group apart: names as they are, other values behind their key."""
    parts = []
    for column, text in zip(columns, texts):
        if text is not None:
            alone = column.named and text not in ("none", "null", "other")
            parts.append(text if alone else f"{column.key.rpartition('.')[2]}={text}")
    return ", ".join(parts) or "all runs"


def replicates(
    runs: Sequence[Run], keys: Sequence[str], rest: Sequence[Column]
) -> tuple[list[Hashable], list[str]]:
    """What tells each run from its repetitions: its seed, and columns that are not shown.

    Returns:
        One a run, and for `rest` what has to be said about it.
    """
    found: list[Hashable] = []
    for at, run in enumerate(runs):
        seed = choices.replicate(run.config, keys)
        # A run that does not say its seed has no partner, and repeats no other run.
        own = ("folder", run.name) if seed is None else seed
        found.append((own, tuple(column.values[at] for column in rest)))
    notes = []
    if rest:
        keys_left = ", ".join(column.key for column in rest)
        notes.append(f"Within the groups the runs differ in {keys_left}, too, as by= left it out.")
    return found, notes


def repeated(
    groups: Sequence[Group], runs: Sequence[Run], ids: Sequence[Hashable], keys: Sequence[str]
) -> list[str]:
    """Says which runs are the same as another in config and seed; in a sentence, if there are."""
    pairs = []
    for group in groups:
        seen: dict[Hashable, int] = {}
        for run in group.members:
            first = seen.setdefault(ids[run], run)
            if first != run:
                pairs.append(f"{runs[run].name} and {runs[first].name}")
    if not pairs:
        return []
    listed = "; ".join(pairs[:3]) + (f"; and {len(pairs) - 3} more" if len(pairs) > 3 else "")
    return [
        f"Runs with the same config and the same {', '.join(keys) or 'seed'} count once, with "
        f"their mean: {listed}."
    ]


def compare(one: Group, other: Group, level: float) -> Paired:
    """The paired differences one - other, over the seeds that both have."""
    common = [key for key in one.replicates if key in other.replicates]
    return paired([one.replicates[key] - other.replicates[key] for key in common], level)


def _per_class(
    found: Sequence[Mapping[str, Any] | None],
) -> dict[str, dict[str, float | None]]:
    cells: dict[str, dict[str, list[float]]] = {}
    for block in found:
        for row in scores.classes(block):
            keys = cells.setdefault(row["name"], {})
            for key, value in row.items():
                value = number(value)
                if key not in ("name", "images", "pixels"):
                    keys.setdefault(key, [])
                    if value is not None:
                        keys[key].append(value)
    return {
        name: {key: float(np.mean(listed)) if listed else None for key, listed in keys.items()}
        for name, keys in cells.items()
    }

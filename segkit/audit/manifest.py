"""The annotations.csv that a review begins with: every image, whatever the policy left unsaid."""

from __future__ import annotations

from collections import Counter
from typing import Any, Mapping, NamedTuple

from segkit.contract import Source, innermost
from segkit.data.folder.dataset import DataSet, examine

FOLDER = "segkit.data.folder.splits"
_OWN = ("_target_", "missing", "pixel_size", "fold")


class Entry(NamedTuple):
    """One line: how the image is called in it, bool a class, and the other columns."""

    image: str
    annotated: list[bool]
    split: str
    group: str
    weight: float


class Start(NamedTuple):
    """entries: one an image of the data set. lines: {split: the entry of each of its images}."""

    entries: list[Entry]
    lines: dict[str, list[int]]


def start(options: Mapping[str, Any], splits: Mapping[str, Source]) -> Start | None:
    """What is declared of each image of a folder data set, of those beyond data.limit, too.

    Args:
        options: a node like the group `data`.
        splits: what it opens, unfolded.

    Returns:
        None for other data, which have no such file.
    """
    if options.get("_target_") != FOLDER:
        return None
    given = {key: value for key, value in options.items() if key not in _OWN}
    found = examine(**{**given, "limit": None, "cache": "none"})
    entries, numbers = _entries(found)
    lines = {
        name: [numbers[str(pair.image)] for pair in innermost(source).pairs]
        for name, source in splits.items()
    }
    return Start(entries, lines)


def _entries(found: DataSet) -> tuple[list[Entry], dict[str, int]]:
    counts = Counter(found.groups)
    entries, numbers = [], {}
    homes = {i: split for split, indices in found.splits.items() for i in indices}
    for i, pair in enumerate(found.pairs):
        group = found.groups[i] if counts[found.groups[i]] > 1 else ""
        name = f"{pair.split}/{pair.name}" if pair.split else pair.name
        looked = [bool(value) for value in found.annotated[i]]
        numbers[str(pair.image)] = len(entries)
        entries.append(Entry(name, looked, homes.get(i, ""), group, float(found.weights[i])))
    return entries, numbers

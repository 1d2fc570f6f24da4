"""Frames of videos and slices of patients that a draw would part."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Mapping

from segkit.data.layout import few
from segkit.data.manifest import FILE_NAME
from segkit.data.manifest.table import Report, lines_of
from segkit.data.problems import Problem

if TYPE_CHECKING:
    from segkit.data.folder.dataset import DataSet

MOST = 0.8  # of the stems must be a prefix and a number
FRAMES = 5  # images a sequence, at least, on average
# Each finds a group in every stem, and in one without a number the stem itself.
PATTERNS = (r"^(.+?)[-_. ]*\d*$", r"^(.+?)([-_. ]*\d+([-_. ][A-Za-z]+)?)?$")
_FRAME = re.compile(r"(.*\D)\d+([-_. ][A-Za-z]+)?")  # seq1_0001, or seq1_0001_left


def drawn_apart(data: DataSet, split: Mapping[str, Any] | None = None) -> list[Problem]:
    """Warns where images were drawn one by one and their stems look like frames of sequences.

    Args:
        data: what `segkit.data.folder.examine` found.
        split: as configured; {by, val, test, group, stratify}.
    """
    prefixes = {pair.name: _prefix(pair.name) for pair in data.pairs}
    sequences = {prefix for prefix in prefixes.values() if prefix}
    framed = sum(bool(prefix) for prefix in prefixes.values())
    many = framed >= MOST * len(prefixes) and framed >= FRAMES * len(sequences)
    # A draw of groups needs one more of them than there are splits.
    if not many or len(sequences) < max(2, len(data.splits)) or not _one_by_one(data, split or {}):
        return []
    homes = {(prefixes[data.pairs[i].name], s) for s, found in data.splits.items() for i in found}
    if len(homes) == len({prefix for prefix, _ in homes}):
        return []  # which a draw by chance hardly ever gives
    text = (
        f"The stems in {data.root} look like frames of {len(sequences)} sequences "
        f"({few(sequences, 3)}). Drawn one by one, neighbouring frames land in "
        f"{' and '.join(data.splits)}, and {' and '.join(list(data.splits)[1:])} looks too good. "
        f"{_way(prefixes)} If the prefixes name no videos or patients, leave it."
    )
    return [Problem("frames drawn apart", str(data.root), text, fatal=False)]


def _prefix(stem: str) -> str:
    """What stands before the number of a frame in a stem; "" if it has no such form."""
    found = _FRAME.fullmatch(stem)
    return found[1].rstrip("-_. ") if found else ""


def _one_by_one(data: DataSet, split: Mapping[str, Any]) -> bool:
    """Whether the splits are drawn, and nobody said what belongs together."""
    pairs = [(data.pairs[i].split, name) for name, found in data.splits.items() for i in found]
    if split.get("group") is not None or all(home == name for home, name in pairs):
        return False
    places = {data.root / FILE_NAME}
    places.update(data.root / home / FILE_NAME for home, _ in pairs if home)
    said = {c for path in places if path.is_file() for c in lines_of(path, Report(FILE_NAME))[0]}
    declared = "split" in said and split.get("by", "auto") in ("auto", "manifest")
    return not declared and "group" not in said


def _way(prefixes: Mapping[str, str]) -> str:
    for pattern in PATTERNS:
        found = {stem: re.search(pattern, stem) for stem in prefixes}
        if all(found[stem] and found[stem][1] == (p or stem) for stem, p in prefixes.items()):
            return f"Keep them together: 'data.split.group=\"{pattern}\"'."
    return f"Keep them together: name the sequence of each in the column group of {FILE_NAME}."

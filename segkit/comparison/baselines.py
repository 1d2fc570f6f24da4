"""Which group the others are tested against, and these tests."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Mapping, Sequence

from segkit.comparison.choices import Column, name
from segkit.comparison.groups import Group, Test, compare
from segkit.replicates import holm

_LISTED = 8


def tests(
    groups: Sequence[Group], columns: Sequence[Column], baseline: Any, level: float
) -> list[Test]:
    """Each group against its baseline, p corrected over all of them; none where there is none.

    Args:
        groups: of `grouped`.
        columns: of the groups.
        baseline: null: the group of the first run. Otherwise {key: value}, or "key=value,...":
            with all keys it is one group; with some, each group is tested against the one that
            has these values and its own of the other keys.
        level: of the intervals.

    Raises:
        ValueError: if no group is selected, naming the keys and values there are.
    """
    partners = _partners(groups, columns, baseline)
    found = [
        Test(at, partner, compare(groups[at], groups[partner], level))
        for at, partner in partners.items()
    ]
    corrected = holm([test.pairs.p for test in found])
    return [replace(test, p=p) for test, p in zip(found, corrected)]


def chosen(groups: Sequence[Group], columns: Sequence[Column], baseline: Any) -> list[int]:
    """The groups that are a baseline.

    Raises:
        ValueError: as `tests`.
    """
    if baseline is None:
        return [min(range(len(groups)), key=lambda at: groups[at].members[0])]
    wanted = _selection(baseline, columns)
    found = [at for at, group in enumerate(groups) if _has(group, columns, wanted)]
    if not found:
        there = {
            columns[at].key: list(dict.fromkeys(group.texts[at] for group in groups))[:_LISTED]
            for at in wanted
        }
        listed = "; ".join(f"{key}: {', '.join(map(str, v))}" for key, v in there.items())
        raise ValueError(f"No run is the baseline {baseline!r}. There are: {listed}.")
    return found


def _partners(groups: Sequence[Group], columns: Sequence[Column], baseline: Any) -> dict[int, int]:
    bases = chosen(groups, columns, baseline)
    if len(bases) == 1:
        return {at: bases[0] for at in range(len(groups)) if at != bases[0]}
    fixed = _selection(baseline, columns)
    # Keys below a choice, loss.alpha below loss, go with it: others do not have them.
    keys = [columns[at].key for at in fixed]
    free = [
        at
        for at, column in enumerate(columns)
        if at not in fixed and not any(column.key.startswith(f"{key}.") for key in keys)
    ]
    others = {tuple(groups[base].texts[at] for at in free): base for base in bases}
    found = {}
    for at, group in enumerate(groups):
        partner = others.get(tuple(group.texts[place] for place in free))
        if partner is not None and at not in bases:
            found[at] = partner
    return found


def _selection(baseline: Any, columns: Sequence[Column]) -> dict[int, str]:
    """Number of the column -> the value wanted there."""
    if isinstance(baseline, str):
        baseline = dict(_pair(part) for part in re.split(r"[,\s]+", baseline.strip()) if part)
    if not isinstance(baseline, Mapping) or not baseline:
        raise ValueError(
            "baseline selects by values: baseline={loss: cross_entropy}, or null for the first "
            f"run. Received: {baseline!r}."
        )
    keys = [column.key for column in columns]
    found = {}
    for key, value in baseline.items():
        if key not in keys:
            there = ", ".join(keys) or "none"
            raise ValueError(f"The runs do not differ in {key!r}. They differ in: {there}.")
        found[keys.index(key)] = name(value)
    return found


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(
            f"baseline selects by values: baseline={{loss: cross_entropy}}. Received: {text!r}."
        )
    return key, value


def _has(group: Group, columns: Sequence[Column], wanted: Mapping[int, str]) -> bool:
    return all(
        _plain(value) in {_plain(text) for text in (group.texts[at], *_told(group, columns[at]))}
        for at, value in wanted.items()
    )


def _told(group: Group, column: Column) -> list[str]:
    """What the commands of its runs said, if they say the same: the choice as it was typed."""
    told = {column.told[member] for member in group.members}
    return [text for text in told if text is not None and len(told) == 1]


def _plain(text: str | None) -> str:
    """cross_entropy is CrossEntropy."""
    return "null" if text is None else text.replace("_", "").replace(" ", "").casefold()

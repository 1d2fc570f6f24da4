"""What each choice does to the score, the others averaged, and whether it depends on a second."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any, Hashable, Iterable, Mapping, Sequence

import numpy as np

from segkit.comparison.choices import Column
from segkit.comparison.groups import Group
from segkit.replicates import Interval, interval

MOST_VALUES = 8  # of a number, for levels of their own; with more it is a scatter
_MOST_ROWS = 24  # of a choice
_MOST_PAIRS = 6


def main_effects(
    groups: Sequence[Group], columns: Sequence[Column], level: float
) -> list[dict[str, Any]]:
    """For each key the mean score at each of its values, with an interval of its effect.

    The other keys are averaged over the combinations that every value was run with, so that no
    value has the easier ones; where there is no such combination, over all ("balanced" false).
    A number with many values, as of a search, gives "points" (value, score) instead.

    Returns:
        {"key", "named", "balanced", "rows": [(text, Interval)], "more"} or {"key", "points",
        "logarithmic"}, one a key.
    """
    return [
        _scatter(groups, at, columns[at].key) or _levels(groups, columns, at, level)
        for at in range(len(columns))
        if len({group.texts[at] for group in _with(groups, at)}) > 1
    ]


def interactions(
    groups: Sequence[Group], columns: Sequence[Column], level: float
) -> list[dict[str, Any]]:
    """For pairs of keys with few values the mean score at each pair of values.

    Returns:
        {"keys": (a, b), "rows": texts of a, "columns": texts of b, "cells": rows of Intervals},
        for at most 6 pairs.
    """
    found = []
    for pair in combinations(range(len(columns)), 2):
        there = _with(groups, *pair)
        texts = [_sorted({group.texts[at] for group in there}) for at in pair]
        if any(not 2 <= len(listed) <= MOST_VALUES for listed in texts):
            continue
        cells, _ = _averages(there, pair, _free(columns, pair), level)
        if len(cells) < len(texts[0]) + len(texts[1]):  # no two rows with two columns in common
            continue
        empty = Interval(None, None, None, 0)
        rows = [[cells.get((a, b), empty) for b in texts[1]] for a in texts[0]]
        keys = tuple(columns[at].key for at in pair)
        found.append({"keys": keys, "rows": texts[0], "columns": texts[1], "cells": rows})
    return found[:_MOST_PAIRS]


def number(text: str | None) -> float | None:
    """The finite number that a text is, if it is one."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def _levels(
    groups: Sequence[Group], columns: Sequence[Column], at: int, level: float
) -> dict[str, Any]:
    found, balanced = _averages(_with(groups, at), (at,), _free(columns, (at,)), level)
    rows = {text: score for (text,), score in found.items()}
    texts = _sorted(rows)
    return {
        "key": columns[at].key,
        "named": columns[at].named,
        "balanced": balanced,
        "rows": [(text, rows[text]) for text in texts[:_MOST_ROWS]],
        "more": max(len(texts) - _MOST_ROWS, 0),
    }


def _scatter(groups: Sequence[Group], at: int, key: str) -> dict[str, Any] | None:
    pairs = [(number(group.texts[at]), group.score.mean) for group in _with(groups, at)]
    if any(x is None for x, _ in pairs) or len({x for x, _ in pairs}) <= MOST_VALUES:
        return None
    xs = [x for x, _ in pairs]
    return {
        "key": key,
        "points": [(x, y) for x, y in pairs if y is not None],
        "logarithmic": min(xs) > 0 and max(xs) / min(xs) >= 50,
    }


def _with(groups: Sequence[Group], *places: int) -> list[Group]:
    """The groups that have these keys, and a score."""
    return [
        group
        for group in groups
        if group.replicates and all(group.texts[at] is not None for at in places)
    ]


def _split(groups: Iterable[Group], places: Sequence[int]) -> dict[tuple[str, ...], list[Group]]:
    parts: dict[tuple[str, ...], list[Group]] = defaultdict(list)
    for group in groups:
        parts[tuple(group.texts[at] for at in places)].append(group)
    return parts


def _free(columns: Sequence[Column], places: Sequence[int]) -> list[int]:
    """The other keys, without those below: other losses have no loss.alpha to be averaged over."""
    below = tuple(f"{columns[at].key}." for at in places)
    return [
        at
        for at, column in enumerate(columns)
        if at not in places and not column.key.startswith(below)
    ]


def _averages(
    groups: Sequence[Group], places: Sequence[int], free: Sequence[int], level: float
) -> tuple[dict[tuple[str, ...], Interval], bool]:
    """The mean score at each combination of texts at `places`, and whether it is a fair one.

    It is if all are averaged over the same (other keys, seed). Then the interval is that of the
    effect, the difference from the mean over all combinations with the same seed: that some seeds
    are easier for all of them says nothing about either.
    """
    found = {}
    for texts, part in _split(groups, places).items():
        blocks = found[texts] = defaultdict(list)
        for group in part:
            others = tuple(group.texts[at] for at in free)
            for seed, value in group.replicates.items():
                blocks[others, seed].append(value)
    common = set.intersection(*map(set, found.values())) if found else set()
    if not common:
        return {texts: interval(_by_seed(b, b), level) for texts, b in found.items()}, False
    table = np.array([_by_seed(blocks, common) for blocks in found.values()])
    effects = [interval(row, level) for row in table - table.mean(axis=0)]
    means = zip(found, table.mean(axis=1), effects)
    return {texts: _shifted(effect, float(mean)) for texts, mean, effect in means}, True


def _by_seed(
    blocks: Mapping[tuple[Any, Hashable], list[float]], only: Iterable[tuple[Any, Hashable]]
) -> list[float]:
    """The mean of each seed: runs that share data and start are no repetitions."""
    seeds: dict[Hashable, list[float]] = defaultdict(list)
    for key in only:
        seeds[key[1]].append(float(np.mean(blocks[key])))
    return [float(np.mean(values)) for values in seeds.values()]


def _shifted(effect: Interval, mean: float) -> Interval:
    ends = [None if end is None else mean + end - effect.mean for end in (effect.low, effect.high)]
    return Interval(mean, *ends, effect.n)


def _sorted(texts: Iterable[str]) -> list[str]:
    """Numbers by size; other texts in the order in which they come, best group first."""
    listed = list(dict.fromkeys(texts))
    numbers = {text: number(text) for text in listed}
    if all(value is not None for value in numbers.values()):
        return sorted(listed, key=lambda text: numbers[text])
    return sorted(listed)

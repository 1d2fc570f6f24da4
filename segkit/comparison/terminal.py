"""A comparison as text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

from segkit import tables
from segkit.comparison.choices import Column
from segkit.comparison.groups import Group, Test
from segkit.comparison.verdict import why_untested
from segkit.comparison.writing import between, decimals, probability, signed
from segkit.tables import plain

if TYPE_CHECKING:
    from segkit.comparison import Comparison

_SHOWN = 30  # groups
_LISTED = 10  # trials without scores
_WIDEST = 40  # characters of a cell


def text(made: Comparison, title: str, level: float, keys: Sequence[str]) -> str:
    """What `segkit compare` prints: the table, who is best, what to look at, what failed.

    Args:
        made: of `segkit.comparison.compare`.
        title: of the table.
        level: of its intervals.
        keys: what tells repeated runs apart.
    """
    parts = [table(title, made.columns, made.groups, made.tests, level)]
    if len(made.groups) > _SHOWN:
        parts.append(f"The {_SHOWN} best of {len(made.groups)} groups; comparison.csv has all.")
    parts.append(made.verdict["text"])
    reasons = {why_untested(test.pairs, ", ".join(keys)) for test in made.tests} - {""}
    if len(reasons) and all(test.p is None for test in made.tests):
        parts.append(f"No test against the baseline was made. {sorted(reasons)[0]}")
    parts += [f"Note: {text}" for text in made.doubts]
    trials = made.found.unfinished
    told = [f"  {t['name']} ({t['status']}) {t['error']}" for t in trials[:_LISTED]]
    if trials:
        parts.append(
            "1 trial has no scores:"
            if len(trials) == 1
            else f"{len(trials)} trials have no scores:"
        )
        parts += told + ([f"  and {len(trials) - _LISTED} more"] if trials[_LISTED:] else [])
    return "\n".join("\n".join(plain(li) for li in part.split("\n")) for part in parts)


def table(
    title: str,
    columns: Sequence[Column],
    groups: Sequence[Group],
    tests: Sequence[Test],
    level: float,
) -> str:
    """The table of the best groups, and of those that others are tested against."""
    by_group = {test.group: test for test in tests}
    bases = {test.against for test in tests}
    listed = [at for at in range(len(groups)) if at < _SHOWN or at in bases]
    header = [column.key for column in columns] or ["runs of one config"]
    header += ["n", "score", f"{100 * level:.4g} % interval"]
    header += ["pairs", "difference", "its interval", "p", "exact p"] if tests else []
    rows = []
    for at in listed:
        group, test = groups[at], by_group.get(at)
        cells = [_short(plain("-" if text is None else text)) for text in group.shown]
        row = [*(cells or ["all"]), str(group.score.n), decimals(group.score.mean)]
        row.append(between(group.score))
        if test is not None:
            pairs = test.pairs
            row += [str(pairs.difference.n), signed(pairs.difference.mean)]
            row += [
                between(pairs.difference, signed),
                probability(test.p),
                probability(pairs.exact),
            ]
        elif tests:
            row += ["", "baseline" if at in bases else "-", "", "", ""]
        rows.append(row)
    return tables.text(plain(title), [plain(name) for name in header], rows)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"

"""What is wrong with a data set: collected, so that a user hears of everything at once."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Sequence

_SHOWN = 5  # problems that one error spells out


class Problem(NamedTuple):
    """One thing that is wrong with a data set.

    kind: a heading for problems of the same sort, "image without a mask".
    path: the file, as the user knows it.
    text: what was expected, what came, the way out; names the file.
    fatal: False if training goes on, and is not wrong for it.
    """

    kind: str
    path: str
    text: str
    fatal: bool = True


class BadData(ValueError):
    """A data set that cannot be used; its message lists the first problems, `problems` all."""

    def __init__(self, problems: Sequence[Problem]):
        self.problems = list(problems)
        super().__init__(_summary(self.problems))


def require_none(problems: Iterable[Problem]) -> None:
    """Raises `BadData` if one of the problems is fatal."""
    fatal = [problem for problem in problems if problem.fatal]
    if fatal:
        raise BadData(fatal)


def _summary(problems: Sequence[Problem]) -> str:
    if len(problems) == 1:
        return problems[0].text
    listed = [problem.text for problem in problems[:_SHOWN]]
    more = len(problems) - _SHOWN
    if more > 0:
        listed.append(f"... and {more} more; segkit check lists all of them.")
    return "\n".join([f"The data set has {len(problems)} problems:", *listed])

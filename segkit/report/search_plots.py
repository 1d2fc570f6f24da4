"""Pictures of a search: scores in the order of the trials, over a number that was drawn, shares."""

from __future__ import annotations

import math
from typing import Any, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from segkit.report.plots import FAINT, INK, TRAIN, VALIDATION, dress

Trials = Sequence[dict[str, Any]]

_ORDERS = 20.0  # from the least to the greatest value, above which an axis is logarithmic
_FEW = 6  # trials, too few to tell which are far from the others
_ROOM = 0.06  # of the range, above and below the dots
_OUTLIER = 1.5  # times the range between the quartiles of the finished ones


def history(trials: Trials, score: str, maximizes: bool, mode: int) -> Figure:
    """The score of each trial by its number, and the best so far as a line.

    Args:
        trials: with `number`, `state` and `score`; those without a score are left out.
        score: its name.
        maximizes: whether more is better.
        mode: 0 for a light page, 1 for a dark one.
    """
    figure = Figure(figsize=(8.8, 2.9), layout="constrained")
    axes = figure.add_subplot()
    _dots(axes, trials, "number", mode)
    better = max if maximizes else min
    best, line = None, []
    for trial in _known(trials, "finished"):
        best = trial["score"] if best is None else better(best, trial["score"])
        line.append((trial["number"], best))
    if line:
        numbers, values = zip(*line)
        last = max(trial["number"] for trial in trials)
        steps = ((*numbers, last), (*values, values[-1]))
        axes.step(*steps, where="post", color=VALIDATION[mode], linewidth=1.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12))
    axes.set_xlabel("trial")
    _finish(axes, trials, score, mode)
    return figure


def scatter(trials: Trials, key: str, score: str, mode: int) -> Figure:
    """The score of each trial over a number that was drawn for it."""
    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = figure.add_subplot()
    _dots(axes, trials, key, mode)
    values = [trial[key] for trial in _known(trials) if trial.get(key) is not None]
    if min(values) > 0 and max(values) > _ORDERS * min(values):
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif all(isinstance(value, int) for value in values):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    axes.set_xlabel(key, parse_math=False)
    _finish(axes, trials, score, mode)
    return figure


def shares(importance: Sequence[tuple[str, float]], mode: int) -> Figure:
    """How much each key mattered, as bars."""
    figure = Figure(figsize=(6.4, 0.7 + 0.32 * len(importance)), layout="constrained")
    axes = figure.add_subplot()
    names = [key for key, _ in importance]
    axes.barh(range(len(names)), [share for _, share in importance], 0.6, color=VALIDATION[mode])
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance")
    dress(axes, mode)
    axes.grid(False, axis="y")
    return figure


def shown_range(trials: Trials) -> tuple[float, float]:
    """The scores that the pictures show: those of a trial that failed to learn would press all
    others into a line."""
    finished = sorted(trial["score"] for trial in _known(trials, "finished"))
    if len(finished) < _FEW:
        return -math.inf, math.inf
    low, high = finished[len(finished) // 4], finished[-1 - len(finished) // 4]
    reach = _OUTLIER * (high - low)
    inside = [value for value in finished if low - reach <= value <= high + reach]
    return inside[0] - reach, inside[-1] + reach


def _dots(axes: Any, trials: Trials, key: str, mode: int) -> None:
    for state, filled in (("pruned", False), ("finished", True)):
        shown = [trial for trial in _known(trials, state) if trial.get(key) is not None]
        color = (VALIDATION if filled else TRAIN)[mode]
        axes.scatter(
            [trial[key] for trial in shown],
            [trial["score"] for trial in shown],
            s=22,
            facecolors=color if filled else "none",
            edgecolors=color,
            linewidths=1.2,
        )


def _finish(axes: Any, trials: Trials, score: str, mode: int) -> None:
    axes.set_ylabel(score, parse_math=False, color=INK[mode], fontsize=9)
    low, high = shown_range(trials)
    bottom, top = axes.get_ylim()
    if low < high:  # not all alike
        room = _ROOM * (min(high, top) - max(low, bottom))
        axes.set_ylim(max(bottom, low - room), min(top, high + room))
    axes.tick_params(which="minor", length=0)
    dress(axes, mode)
    axes.spines["bottom"].set_color(FAINT[mode])


def _known(trials: Trials, state: str | None = None) -> list[dict[str, Any]]:
    return [
        trial
        for trial in trials
        if trial["score"] is not None and (state is None or trial["state"] == state)
    ]

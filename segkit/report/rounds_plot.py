"""The picture of `segkit rounds`: scores and how much was filled, round by round."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segkit.report.plots import FAINT, INK, TRAIN, VALIDATION

_LIGHT = 0  # of the pairs (light, dark)


def write(
    path: str | Path,
    scores: Sequence[float],
    truths: Sequence[float | None],
    filled: Sequence[float],
) -> Path:
    """Writes the scores as lines and the share of cells filled as bars; a PNG.

    Args:
        path: the file, in a folder that exists; it is overwritten.
        scores: mean IoU on known cells of val, one a round.
        truths: against the full truth, None where nobody knows it.
        filled: share of the unknown cells that were filled, one a round.
    """
    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=144)
    axes = figure.add_subplot()
    rounds = list(range(len(scores)))
    known = [(k, value) for k, value in zip(rounds, truths) if value is not None]
    axes.plot(rounds, scores, marker="o", color=VALIDATION[_LIGHT], label="val, known cells")
    if known:
        axes.plot(*zip(*known), marker="s", color=TRAIN[_LIGHT], label="val, full truth")
    axes.set_xlabel("round (cells filled)")
    axes.set_ylabel("mean IoU")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xticks(rounds, [f"{k} ({share:.0%})" for k, share in zip(rounds, filled)])
    axes.grid(color=FAINT[_LIGHT], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.margins(x=0.1, y=0.2)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT[_LIGHT])
    axes.tick_params(colors=INK[_LIGHT], labelsize=9, length=0)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK[_LIGHT])
    figure.savefig(path, metadata={"Software": None})
    return Path(path)

"""The picture of `segkit lr`: the training loss over the learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from segkit.report.plots import FAINT, INK, TRAIN, VALIDATION

_LIGHT = 0  # of the pairs (light, dark)


def write(
    path: str | Path,
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggested: float | None,
) -> Path:
    """Writes the losses as dots, the smoothed ones as a line, and the suggestion; a PNG.

    Args:
        path: the file, in a folder that exists; it is overwritten.
        rates: the learning rates, above 0, (N,).
        losses, smoothed: one a rate, (N,).
        suggested: the rate to mark, or None.
    """
    figure = Figure(figsize=(7, 4), layout="constrained", dpi=144)
    axes = figure.add_subplot()
    dots, line = TRAIN[_LIGHT], VALIDATION[_LIGHT]
    axes.scatter(rates, losses, s=9, color=dots, linewidths=0, label="batches")
    axes.plot(rates, smoothed, color=line, linewidth=1.8, label="smoothed")
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter(NullFormatter())
    # Past the point where it diverges, a loss would flatten all that comes before.
    low, high = min(min(losses), min(smoothed)), max(max(losses[: len(losses) // 2]), smoothed[0])
    room = max(high - low, 1e-9)
    axes.set_ylim(low - 0.1 * room, high + 0.4 * room)
    if suggested is not None:
        axes.axvline(suggested, color=INK[_LIGHT], linewidth=1, linestyle=":")
        axes.annotate(
            f"steepest fall: {suggested:.2g}",
            (suggested, 0.95),
            xycoords=("data", "axes fraction"),
            xytext=(-5, 0),
            textcoords="offset points",
            ha="right",
            color=INK[_LIGHT],
            fontsize=9,
        )
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.grid(color=FAINT[_LIGHT], linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT[_LIGHT])
    axes.tick_params(colors=INK[_LIGHT], labelsize=9, length=0, which="both")
    axes.legend(frameon=False, loc="lower left", fontsize=9, labelcolor=INK[_LIGHT])
    # Without a date, the same search gives the same file.
    figure.savefig(path, metadata={"Software": None})
    return Path(path)

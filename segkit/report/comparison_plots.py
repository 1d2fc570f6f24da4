"""Plots of a comparison as SVG pictures, one for a light page and one for a dark page.

Names stand in the legends of the page and never in a picture, where one could be taken for markup.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segkit.report.plots import MARKED_POINTS, VALIDATION, data_uri, dress

# (light, dark): after Okabe and Ito, told apart with any colour vision, moved to show on the page.
COLORS = (
    ("#0072b2", "#56b4e9"),
    ("#c2611a", "#e69f00"),
    ("#00795a", "#2fc79a"),
    ("#a3457f", "#e08bbf"),
    ("#7a6f00", "#e5da3a"),
    ("#5b5fc7", "#a5a8ff"),
    ("#8a5a2b", "#cfa07a"),
    ("#566070", "#b7c0cc"),
)
STYLES = ("solid", "dashed", "dotted", "dashdot")

Draw = Callable[[Any, int], None]


def curves(found: Mapping[str, Any]) -> dict[str, Any]:
    """Learning curves with bands; see `segkit.comparison.curves.of_groups`.

    Returns:
        "light" and "dark" (data URIs), and "alt".
    """
    listed = found["curves"]

    def draw(axes: Any, mode: int) -> None:
        for number, curve in enumerate(listed):
            color = COLORS[number % 8][mode]
            look = {"color": color, "linestyle": STYLES[number % 4], "markersize": 2.6}
            marker = "o" if len(curve["epochs"]) <= MARKED_POINTS else None
            axes.plot(curve["epochs"], curve["mean"], marker=marker, **look)
            if curve["n"] > 1:
                band = {"color": color, "alpha": 0.16, "linewidth": 0}
                axes.fill_between(curve["epochs"], curve["low"], curve["high"], **band)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))

    ends = "; ".join(f"{curve['label']} ends at {curve['mean'][-1]:.3f}" for curve in listed)
    return _both(draw, (7.6, 3.6)) | {"alt": f"Learning curves: {ends}."}


def scatter(effect: Mapping[str, Any]) -> dict[str, Any]:
    """The score of each group over a number; see `segkit.comparison.effects.main_effects`."""
    xs, ys = zip(*effect["points"])

    def draw(axes: Any, mode: int) -> None:
        axes.plot(xs, ys, "o", color=VALIDATION[mode], markersize=4, alpha=0.7)
        if effect["logarithmic"]:
            axes.set_xscale("log")

    alt = f"{len(xs)} groups, scores from {min(ys):.3f} to {max(ys):.3f}."
    return _both(draw, (4.4, 2.6)) | {"alt": alt}


def crossing(found: Mapping[str, Any]) -> dict[str, Any]:
    """Lines of the scores over the values of one key, one line a value of the other.

    The values of the first key are numbered from 1, as in the table beside the picture.
    """
    rows: Sequence[Sequence[Any]] = found["cells"]

    def draw(axes: Any, mode: int) -> None:
        for number in range(len(found["columns"])):
            there = [(at + 1, row[number]) for at, row in enumerate(rows)]
            there = [(at, cell) for at, cell in there if cell.mean is not None]
            if not there:
                continue
            xs = [at + 0.05 * (number - (len(found["columns"]) - 1) / 2) for at, _ in there]
            halves = [cell.half or 0.0 for _, cell in there]
            means = [cell.mean for _, cell in there]
            look = {"color": COLORS[number % 8][mode], "linestyle": STYLES[number % 4]}
            axes.errorbar(xs, means, halves, marker="o", markersize=4, elinewidth=1, **look)
        axes.set_xlim(0.6, len(rows) + 0.4)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    known = [cell.mean for row in rows for cell in row if cell.mean is not None]
    alt = f"Scores from {min(known):.3f} to {max(known):.3f}; the table has them."
    return _both(draw, (4.4, 2.6)) | {"alt": alt}


def _both(draw: Draw, size: tuple[float, float]) -> dict[str, Any]:
    pictures = []
    for mode in (0, 1):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        draw(axes, mode)
        dress(axes, mode)
        pictures.append(data_uri(figure))
    return {"light": pictures[0], "dark": pictures[1]}

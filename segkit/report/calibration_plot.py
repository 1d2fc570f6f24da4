"""The pictures of `segkit calibrate`: precision over recall, and accuracy over confidence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from segkit.report.colors import readable
from segkit.report.plots import FAINT, INK, TRAIN, VALIDATION

_LIGHT = 0  # of the pairs (light, dark)
_ROWS = 24  # of a legend, before it takes another column
_LONGEST = 40  # characters of a name


class Curve(NamedTuple):
    """One class: its name and colour, precision and recall (N,), and where the decision lies.

    point: (recall, precision) of what is decided, or None.
    """

    name: str
    color: Sequence[int]
    precision: np.ndarray
    recall: np.ndarray
    point: tuple[float, float] | None


def write_precision_recall(path: str | Path, curves: Sequence[Curve]) -> Path:
    """Writes one curve a class, with a dot where its decision lies; a PNG.

    Args:
        path: the file, in a folder that exists; it is overwritten.
        curves: the classes that have one.
    """
    columns = -(-(len(curves) + 1) // _ROWS)
    figure = Figure(figsize=(5.4 + 2.4 * columns, 5), layout="constrained", dpi=144)
    axes = figure.add_subplot()
    lines = []
    style = {"markersize": 7, "markeredgecolor": "white", "linestyle": "none"}
    for curve in curves:
        color = readable(curve.color, False)
        lines += axes.plot(curve.recall, curve.precision, color=color, linewidth=1.8)
        if curve.point is not None:
            axes.plot(*curve.point, "o", color=color, **style)
    _square(axes, "recall", "precision")
    if curves:
        lines.append(Line2D([], [], marker="o", color=INK[_LIGHT], **style))
        # Without the space, a name that begins with an underscore would be left out.
        names = [" " + _short(curve.name) for curve in curves] + [" what is decided"]
        legend = figure.legend(
            lines, names, loc="outside right upper", ncols=columns, frameon=False, fontsize=9
        )
        _plain_names(legend)
    return _save(figure, path)


def write_reliability(
    path: str | Path,
    before: tuple[Sequence[dict[str, Any]], float | None],
    after: tuple[Sequence[dict[str, Any]], float | None],
    temperature: float,
    exclusive: bool = True,
) -> Path:
    """Writes how often the predicted class is right over its probability; a PNG.

    Independent classes: how often a class is there over its probability, all together.

    Args:
        path: the file, in a folder that exists; it is overwritten.
        before, after: without and with the temperature: the bins of
            `segkit.metrics.Reliability`, and its ECE.
        temperature: T, for the legend.
        exclusive: False for independent classes.
    """
    figure = Figure(figsize=(5.4, 6), layout="constrained", dpi=144)
    axes, below = figure.subplots(2, 1, height_ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=INK[_LIGHT], linewidth=1, linestyle=":", label="calibrated")
    kinds = (("T = 1", before, TRAIN, 0), (f"T = {temperature:.3g}", after, VALIDATION, 1))
    for name, (bins, ece), tone, side in kinds:
        held = [row for row in bins if row["pixels"]]
        error = "ECE" if exclusive else "mean ECE of the classes"
        label = name if ece is None else f"{name}: {error} {ece:.4f}"
        x, y = ([row[key] for row in held] for key in ("confidence", "accuracy"))
        axes.plot(x, y, "o-", color=tone[_LIGHT], linewidth=1.8, markersize=5, label=label)
        total = max(sum(row["pixels"] for row in bins), 1)
        width = (bins[0]["high"] - bins[0]["low"]) / 2
        places = [row["low"] + side * width for row in bins]
        heights = [row["pixels"] / total for row in bins]
        below.bar(places, heights, width, align="edge", color=tone[_LIGHT])
    _square(axes, None, "how often it is right" if exclusive else "how often the class is there")
    axes.legend(frameon=False, loc="upper left", fontsize=9, labelcolor=INK[_LIGHT])
    which = "the predicted class" if exclusive else "a class, all of them together"
    _dress(below, f"probability of {which}", "pixels")
    below.set_ylim(0, None)
    return _save(figure, path)


def _square(axes: Any, across: str | None, up: str) -> None:
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.01)
    _dress(axes, across, up)


def _dress(axes: Any, across: str | None, up: str) -> None:
    if across:
        axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color=FAINT[_LIGHT], linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT[_LIGHT])
    axes.tick_params(colors=INK[_LIGHT], labelsize=9, length=0)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _plain_names(legend: Any) -> None:
    # A dollar sign in the name of a class begins no formula.
    for text in legend.get_texts():
        text.set_parse_math(False)
        text.set_color(INK[_LIGHT])


def _save(figure: Figure, path: str | Path) -> Path:
    with warnings.catch_warnings():
        # A letter that the font has not is a box in the picture; the CSV has the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Without a date, the same numbers give the same file.
        figure.savefig(path, metadata={"Software": None})
    return Path(path)

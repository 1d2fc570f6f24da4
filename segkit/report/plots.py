"""Learning curves as SVG pictures, one for a light page and one for a dark page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any, Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from segkit.labels import LabelSpace
from segkit.report.colors import readable

History = Sequence[dict[str, float | None]]

# (light, dark), in step with report.css
INK = ("#1d2430", "#e6e9ee")
FAINT = ("#d9dde3", "#363d48")
TRAIN = ("#8a94a3", "#8b97a8")
VALIDATION = ("#2563a8", "#6aa8ee")
MARKED_POINTS = 60  # with more epochs than this, dots would run into each other


@dataclass(frozen=True)
class Curve:
    """One line: a column of history.csv with its name and its colour on (light, dark) pages."""

    name: str
    column: str
    colors: tuple[str, str]
    dashed: bool = False


def best_epoch(history: History) -> tuple[int, float] | None:
    """The epoch with the highest val_mean_iou, the first of equals, and that value."""
    scores = [(row["epoch"], row.get("val_mean_iou")) for row in history]
    known = [(epoch, score) for epoch, score in scores if score is not None]
    if not known:
        return None
    epoch, score = max(known, key=lambda pair: pair[1])
    return int(epoch), score


def learning_curves(history: History, labels: LabelSpace) -> list[dict[str, Any]]:
    """Loss, mean IoU and IoU per class over the epochs; center loss and errors where there are any.

    Class names never enter a picture: they stand in the legend of the page, where no font is
    missing a letter and no name can be mistaken for markup.

    Args:
        history: the rows of history.csv.
        labels: class names and colours.

    Returns:
        One mapping a picture, "title", "alt", "light", "dark" (data URIs), "legend" (curves).
    """
    best = best_epoch(history)
    pictures = []
    for title, curves, bounded in _panels(history, labels):
        curves = [curve for curve in curves if _points(history, curve)]
        if curves:
            light, dark = (_picture(history, curves, best, bounded, mode) for mode in (0, 1))
            alt = _alternative(title, history, curves)
            pictures.append(
                {"title": title, "alt": alt, "light": light, "dark": dark, "legend": curves}
            )
    return pictures


def _panels(history: History, labels: LabelSpace):
    both = [("training", "", TRAIN, True), ("validation", "val_", VALIDATION, False)]
    panels = (("Loss", "loss"), ("Center loss", "center_loss"), ("Mean IoU", "mean_iou"))
    for title, column in panels:
        curves = [Curve(name, prefix + column, tone, dash) for name, prefix, tone, dash in both]
        yield title, curves, column == "mean_iou"
    if labels.values is not None:
        curves = [Curve(n, f"{p}mean_absolute_error", tone, dash) for n, p, tone, dash in both]
        unit = f", {labels.unit}" if labels.unit else ""
        yield f"Mean absolute error{unit}", curves, False
    prefix = "val_" if any(key.startswith("val_iou_") for row in history for key in row) else ""
    curves = [
        Curve(name, f"{prefix}iou_{name}", (readable(color, False), readable(color, True)))
        for name, color in zip(labels.names, labels.palette)
    ]
    yield f"IoU per class, {'validation' if prefix else 'training'}", curves, True


def _points(history: History, curve: Curve) -> list[tuple[float, float]]:
    # Epochs without a value are left out, not broken at: validation may run every fifth epoch.
    pairs = [(row["epoch"], row.get(curve.column)) for row in history]
    return [(epoch, value) for epoch, value in pairs if value is not None]


def _picture(history: History, curves, best, bounded: bool, mode: int) -> str:
    figure = Figure(figsize=(4.4, 2.9), layout="constrained")
    axes = figure.add_subplot()
    for curve in curves:
        epochs, values = zip(*_points(history, curve))
        axes.plot(
            epochs,
            values,
            color=curve.colors[mode],
            linewidth=1.8,
            linestyle="--" if curve.dashed else "-",
            marker="o" if len(epochs) <= MARKED_POINTS else None,
            markersize=2.6,
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7))
    if bounded:
        axes.set_ylim(-0.02, 1.02)
    if best is not None:
        _mark(axes, best[0], mode, top=not bounded)
    dress(axes, mode)
    return data_uri(figure)


def _mark(axes, epoch: int, mode: int, top: bool) -> None:
    # Losses fall and scores rise: the corner that the curves leave free.
    axes.axvline(epoch, color=INK[mode], linewidth=1, linestyle=":")
    middle = sum(axes.get_xlim()) / 2
    side = ("right", -4) if epoch > middle else ("left", 4)
    axes.annotate(
        f"best: {epoch}",
        (epoch, 0.93 if top else 0.04),
        xycoords=("data", "axes fraction"),
        xytext=(side[1], 0),
        textcoords="offset points",
        ha=side[0],
        fontsize=9,
        color=INK[mode],
    )


def dress(axes: Any, mode: int) -> None:
    """Gives axes the look of a light (0) or dark (1) page."""
    axes.patch.set_alpha(0)
    axes.grid(color=FAINT[mode], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK[mode], labelsize=9, length=0)
    axes.xaxis.label.set(color=INK[mode], fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT[mode])


def data_uri(figure: Figure) -> str:
    """A figure as SVG in a data URI."""
    buffer = io.BytesIO()
    # Without a date and with fixed ids, the same run gives the same page.
    with matplotlib.rc_context({"svg.hashsalt": "segkit", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _alternative(title: str, history: History, curves) -> str:
    parts = []
    for curve in curves:
        points = _points(history, curve)
        parts.append(f"{curve.name} from {points[0][1]:.3g} to {points[-1][1]:.3g}")
    return f"{title} over {len(history)} epochs: {'; '.join(parts)}."

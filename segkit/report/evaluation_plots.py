"""The pictures of an evaluation: how often what is probable is right, and how good images are."""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from segkit.report import plots
from segkit.report.plots import FAINT, INK, VALIDATION

WRONG = ("#c2611a", "#e39a4c")  # --wrong in report.css
IMAGE_BINS = 20


def reliability(bins: Sequence[Mapping[str, Any]], exclusive: bool = True) -> dict[str, str] | None:
    """How often the predicted class is right, over its probability, above how many pixels.

    Args:
        bins: with low, high, pixels, confidence and accuracy, as in metrics.json.
        exclusive: False: how often a class is there, over its probability.

    Returns:
        "light", "dark" (data URIs) and "alt"; None if no bin holds a pixel.
    """
    held = [row for row in bins if row["pixels"]]
    if not held:
        return None
    total = sum(row["pixels"] for row in held)

    def draw(figure: Figure, mode: int) -> list[Axes]:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        upper.plot([0, 1], [0, 1], color=INK[mode], linewidth=1, linestyle=":")
        for row in held:
            at, right = row["confidence"], row["accuracy"]
            upper.plot([at, at], [at, right], color=WRONG[mode], linewidth=5, alpha=0.45)
        pairs = [(row["confidence"], row["accuracy"]) for row in held]
        upper.plot(*zip(*pairs), color=VALIDATION[mode], linewidth=1.8, marker="o", markersize=4)
        upper.set(ylim=(-0.02, 1.02), ylabel="how often right" if exclusive else "how often there")
        edges = [row["low"] for row in held]
        width = held[0]["high"] - held[0]["low"]
        shares = [row["pixels"] / total for row in held]
        lower.bar(edges, shares, width, align="edge", color=VALIDATION[mode], linewidth=0)
        lower.set(xlim=(0, 1), ylim=(0, None), xlabel="probability", ylabel="pixels")
        lower.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
        return [upper, lower]

    what = "right" if exclusive else "there"
    said = "; ".join(f"{row['confidence']:.2f} {what} {row['accuracy']:.2f}" for row in held)
    alt = f"Probability and how often it is {what}: {said}."
    return {**_pictures(draw, (4.6, 4.2)), "alt": alt}


def images(scores: Sequence[float]) -> dict[str, str] | None:
    """How many images have which mean IoU.

    Args:
        scores: one an image.

    Returns:
        "light", "dark" (data URIs) and "alt"; None without any.
    """
    if not scores:
        return None
    counts, edges = np.histogram(scores, IMAGE_BINS, (0, 1))

    def draw(figure: Figure, mode: int) -> list[Axes]:
        axes = figure.subplots()
        axes.bar(edges[:-1], counts, 1 / IMAGE_BINS, align="edge", color=VALIDATION[mode])
        axes.axvline(float(np.median(scores)), color=INK[mode], linewidth=1, linestyle=":")
        axes.set(xlim=(0, 1), xlabel="mean IoU of the image", ylabel="images")
        axes.yaxis.get_major_locator().set_params(integer=True)
        return [axes]

    low, middle, high = np.quantile(scores, (0, 0.5, 1))
    alt = f"Mean IoU of {len(scores)} images: from {low:.3f} to {high:.3f}, median {middle:.3f}."
    return {**_pictures(draw, (4.6, 2.6)), "alt": alt}


def _pictures(
    draw: Callable[[Figure, int], list[Axes]], size: tuple[float, float]
) -> dict[str, str]:
    found = {}
    for mode, key in enumerate(("light", "dark")):
        figure = Figure(figsize=size, layout="constrained")
        for axes in draw(figure, mode):
            plots.dress(axes, mode)
            axes.yaxis.label.set(color=INK[mode], fontsize=9)
            axes.spines["bottom"].set_color(FAINT[mode])
        found[key] = plots.data_uri(figure)
    return found

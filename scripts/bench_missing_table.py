"""The table and the figure of the partial-label benchmark, from its run folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

FULL = (
    "full",
    "recipe",
    "default",
)  # the ways to learn from complete masks, of which the best is "full"
LARYNX = ("vocal_folds", "glottal_space", "surgical_tool")
# Student's t for 95 %, two-sided, by degrees of freedom 1, 2, ...
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def block(folder: Path, kind: str = "/truth") -> dict[str, Any]:
    """The scores of a run against the full truth, or with kind="" on known cells."""
    found = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return found.get(f"val{kind}", found["val"])  # nothing hidden: the two are one


def foreground_iou(folder: Path, kind: str = "/truth") -> float:
    """Mean IoU over the classes that the benchmark looks at; NaN without evidence."""
    rows = block(folder, kind)["per_class"]
    names = {row["name"] for row in rows}
    chosen = LARYNX if set(LARYNX) <= names else names - {"background"}
    scores = [row["iou"] for row in rows if row["name"] in chosen and row["iou"] is not None]
    return float(np.mean(scores)) if scores else math.nan


def read(out: Path) -> pd.DataFrame:
    """One row a finished cell: data, pattern, way, rate, seed and its scores.

    iou: foreground, against the truth. true, reported, naive: mean IoU over the classes that have
    evidence on known cells, against the truth, on known cells and on masks taken for complete.
    """
    rows = []
    for record in sorted(out.glob("*/cell.json")):
        cell = json.loads(record.read_text(encoding="utf-8"))
        cell.pop("overrides")
        folder = record.parent
        known = {row["name"]: row["iou"] for row in block(folder, "")["per_class"]}
        judged = [name for name, iou in known.items() if iou is not None]
        true = {row["name"]: row["iou"] for row in block(folder)["per_class"]}
        found = {"true": true, "reported": known}
        if (folder / "naive.json").exists():
            text = (folder / "naive.json").read_text(encoding="utf-8")
            found["naive"] = {row["name"]: row["iou"] for row in json.loads(text)["per_class"]}
        means = {key: np.mean([ious[name] for name in judged]) for key, ious in found.items()}
        rows.append({"naive": math.nan} | cell | means | {"iou": foreground_iou(folder)})
    if not rows:
        raise SystemExit(f"There is no finished cell in {out}. Run some first.")
    return pd.DataFrame(rows)


def recovered(cells: pd.DataFrame) -> pd.DataFrame:
    """Adds R = (iou - plain) / (full - plain), each of the same data, seed (and rate, pattern).

    A seed for which plain was not run takes the mean of those for which it was.
    """
    complete = cells[(cells.rate == 0) & cells.way.isin(FULL)]
    full = complete.groupby(["data", "seed"]).iou.max().rename("full")
    plain = cells[cells.way == "plain"].set_index(["data", "pattern", "rate", "seed"]).iou
    usual = plain.groupby(["data", "pattern", "rate"]).mean().rename("usual")
    cells = cells.join(full, on=["data", "seed"])
    cells = cells.join(plain.rename("plain"), on=["data", "pattern", "rate", "seed"])
    cells = cells.join(usual, on=["data", "pattern", "rate"])
    cells["plain"] = cells.plain.fillna(cells.usual)
    gap = (cells.full - cells.plain).where(cells.rate > 0)
    return cells.assign(R=(cells.iou - cells.plain) / gap)


def interval(values: pd.Series) -> str:
    """Mean and the half width of its 95 % interval by Student's t; one value has none."""
    values = values.dropna()
    if values.empty:
        return ""
    if len(values) == 1:
        return f"{values.iloc[0]:.3f}"
    half = STUDENT[min(len(values), 10) - 2] * values.std() / math.sqrt(len(values))
    return f"{values.mean():.3f} ± {half:.3f}"


def table(cells: pd.DataFrame) -> str:
    """Markdown: one row a way, data and pattern; for each rate the mean IoU and R."""
    rates = sorted(cells.rate.unique())
    lines = ["| data, missing | way | " + " | ".join(f"{rate:g}" for rate in rates) + " |"]
    lines.append("|---" * (2 + len(rates)) + "|")
    for (data, pattern), part in cells.groupby(["data", "pattern"], sort=False):
        for way, rows in part.groupby("way", sort=False):
            texts = [_cell(rows[rows.rate == rate]) for rate in rates]
            lines.append(f"| {data}, {pattern} | {way} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def scores(cells: pd.DataFrame) -> str:
    """Markdown: mean IoU over the classes with evidence, as reported, true, and scored naively."""
    lines = ["| data, missing | way | share hidden | against the truth | on known cells | naive |"]
    lines.append("|---|---|---|---|---|---|")
    for keys, rows in cells.dropna(subset="naive").groupby(
        ["data", "pattern", "way", "rate"], sort=False
    ):
        values = " | ".join(interval(rows[column]) for column in ("true", "reported", "naive"))
        lines.append(f"| {keys[0]}, {keys[1]} | {keys[2]} | {keys[3]:g} | {values} |")
    return "\n".join(lines)


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    share = "" if rows.R.isna().all() else f" (R {interval(rows.R)})"
    return f"{interval(rows.iou)}{share}"


def draw(cells: pd.DataFrame, path: Path) -> None:
    """Mean IoU against the share hidden at random, a line a way, points for the seeds."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = cells[(cells.data == "scenes") & (cells.pattern == "random")]
    figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
    for way, rows in shown.groupby("way", sort=False):
        means = rows.groupby("rate").iou.mean()
        (line,) = axes.plot(means.index, means, marker="o", label=way)
        axes.plot(rows.rate, rows.iou, ".", color=line.get_color(), alpha=0.5)
    axes.set(xlabel="share of the annotations hidden", ylabel="mean IoU of the foreground, truth")
    axes.set(ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def write(out: Path, figure: Path | None) -> None:
    """Prints the tables, and draws the figure if it has a name."""
    cells = recovered(read(out))
    print(table(cells))
    print("\n" + scores(cells))
    if figure is not None:
        draw(cells, figure)

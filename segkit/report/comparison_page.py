"""The page of a comparison: what differs, what is best and how sure that is, in one file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Mapping, Sequence

from markupsafe import Markup

from segkit.report import comparison_gallery, comparison_plots, page

PAGE = "comparison.html"
MOST_GROUPS, MOST_CLASSES, MOST_HEATED, MOST_TRIALS = 200, 40, 40, 100
HERE = Path(__file__).parent


def write(path: str | Path, comparison: Any, content: Mapping[str, Any]) -> Path:
    """Writes the page into one self-contained file, of bounded size however many runs there are.

    Args:
        path: the file.
        comparison: with the fields of `segkit.comparison.Comparison`.
        content: title, score, level, keys, effects, interactions, curves, gallery
            (groups to show images of, best first) and images (how many).

    Returns:
        The path.
    """
    packed = _gallery(comparison, content)
    classes = page.classes(packed["labels"]) if packed else []
    unfinished = comparison.found.unfinished
    context = {
        "style_here": Markup((HERE / "comparison.css").read_text(encoding="utf-8")),
        "parts": _parts,
        "title": content["title"],
        "score": content["score"],
        "level": content["level"],
        "keys": ", ".join(content["keys"]),
        "columns": comparison.columns,
        "verdict": comparison.verdict,
        "best": comparison.groups[0],
        "runs": len(comparison.found.runs),
        "groups": len(comparison.groups),
        "doubts": comparison.doubts,
        **_table(comparison.groups, comparison.tests),
        "effects": [_effect(effect) for effect in content["effects"]],
        "crossings": [
            {**found, **comparison_plots.crossing(found)} for found in content["interactions"]
        ],
        "colors": comparison_plots.COLORS,
        "styles": comparison_plots.STYLES,
        "heat": _heat(comparison.groups[:MOST_HEATED]),
        "curves": _curves(content["curves"]),
        "classes": classes,
        "swatches": {entry["name"]: entry for entry in classes},
        "gallery": packed,
        "painted": packed and _painted(packed),
        "unfinished": unfinished[:MOST_TRIALS],
        "more_unfinished": max(len(unfinished) - MOST_TRIALS, 0),
        "damaged": comparison.found.damaged,
    }
    return page.save(Path(path), "comparison.html.jinja", ["paint.js", "comparison.js"], context)


def _parts(text: str) -> list[str]:
    """A name, cut where a line may end: CamelCase and snake_case have no spaces."""
    return re.split(r"(?<=[a-z])(?=[A-Z])|(?<=[_.=/])", text)


def _table(groups: Sequence[Any], tests: Sequence[Any]) -> dict[str, Any]:
    by_group, bases = {test.group: test for test in tests}, {test.against for test in tests}
    listed = [at for at in range(len(groups)) if at < MOST_GROUPS or at in bases]
    return {
        "rows": [
            {"group": groups[at], "test": by_group.get(at), "base": at in bases, "rank": at + 1}
            for at in listed
        ],
        "scale": _scale([groups[at].score for at in listed]),
        "tested": bool(tests),
        "single_base": groups[min(bases)].label if len(bases) == 1 else None,
    }


def _scale(scores: Sequence[Any]) -> dict[str, float]:
    """The range that the dots of a plot are drawn in; intervals of two seeds may leave it."""
    means = [found.mean for found in scores if found.mean is not None] or [0.0]
    ends = [end for found in scores for end in (found.low, found.high) if end is not None]
    spread = max(max(means) - min(means), 0.01)
    low = max(min([*means, *ends]), min(means) - spread)
    high = min(max([*means, *ends]), max(means) + spread)
    margin = 0.04 * (high - low) or 0.01
    return {"low": low - margin, "high": high + margin}


def _effect(effect: Mapping[str, Any]) -> dict[str, Any]:
    if "points" in effect:
        return {**effect, **(comparison_plots.scatter(effect) if effect["points"] else {})}
    return {**effect, "scale": _scale([found for _, found in effect["rows"]])}


def _curves(found: Mapping[str, Any]) -> dict[str, Any] | None:
    if not found["curves"]:
        return None
    return {**found, **comparison_plots.curves(found)}


def _heat(groups: Sequence[Any]) -> dict[str, Any] | None:
    """IoU by group and class, each class on its own scale from its lowest to its highest."""
    names = list(dict.fromkeys(name for group in groups for name in group.per_class))
    if not names:
        return None
    shown = names[:MOST_CLASSES]
    table = [[group.per_class.get(name, {}).get("iou") for name in shown] for group in groups]
    ends = []
    for column in zip(*table):
        known = [value for value in column if value is not None]
        ends.append((min(known), max(known)) if known else (0.0, 0.0))
    rows = [
        {"group": group, "cells": [(value, _share(value, end)) for value, end in zip(cells, ends)]}
        for group, cells in zip(groups, table)
    ]
    return {"names": shown, "rows": rows, "more": len(names) - len(shown)}


def _share(value: float | None, ends: tuple[float, float]) -> float:
    low, high = ends
    return 0.0 if value is None or high - low < 1e-9 else (value - low) / (high - low)


def _painted(packed: Mapping[str, Any]) -> dict[str, Any]:
    """What the script needs: the images stand in the page already."""
    items = [{key: item[key] for key in item if key != "image"} for item in packed["items"]]
    return {"space": packed["space"], "items": items}


def _gallery(comparison: Any, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """One run a group: with the seed that most of the groups have, the first of such."""
    runs = comparison.found.runs
    seeds: list[dict[Any, int]] = []
    for group in content["gallery"]:
        seeds.append({})
        for member in group.members:
            seeds[-1].setdefault(comparison.replicates[member], member)
    counted = [seed for found in seeds for seed in found]
    if not counted:
        return None
    common = max(dict.fromkeys(counted), key=counted.count)
    chosen = [
        (group.label, runs[found.get(common, group.members[0])].folder)
        for group, found in zip(content["gallery"], seeds)
    ]
    packed = comparison_gallery.pack(chosen, content["images"])
    # Runs that do not say their seed have none in common with another.
    said = ", ".join(common[0]) if counted.count(common) > 1 else ""
    return packed and {**packed, "seed": said}

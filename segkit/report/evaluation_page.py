"""The page of one `segkit evaluate`: what is right, how sure that is, and where it goes wrong."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, Mapping, Sequence

from segkit.labels import LabelSpace
from segkit.report import evaluation_plots, facts, gallery, page

PAGE = "evaluation.html"
METRICS, IMAGES, WORST = "metrics.json", "images.csv", "worst"
SHOWN = 50  # groups in a table
OUTLINES = ("surface_dice", "hausdorff_95", "mean_surface_distance")
SHOWN_CLASSES = 12  # columns of a table of groups


def write(folder: str | Path) -> Path:
    """Writes evaluation.html beside the files that `segkit evaluate` left in a folder.

    The page is self-contained, and its content security policy forbids it to load or run
    anything else.

    Args:
        folder: with metrics.json, images.csv and worst/gallery.json.

    Returns:
        The path of the page.

    Raises:
        OSError, ValueError: naming the file that is missing or cannot be read.
    """
    folder = Path(folder)
    blocks = _read(folder / METRICS)
    described = _read(folder / WORST / "gallery.json")
    labels = LabelSpace.from_dict(described["labels"], str(folder / WORST / "gallery.json"))
    content = _content(blocks, labels, _image_scores(folder / IMAGES))
    packed = gallery.pack(described, folder / WORST, labels)
    scripts = ["paint.js", "gallery.js", "evaluation.js"]
    return page.save(folder / PAGE, "evaluation.html.jinja", scripts, content | {"gallery": packed})


def _content(
    blocks: Mapping[str, Any], labels: LabelSpace, image_scores: Sequence[float]
) -> dict[str, Any]:
    split = next(iter(blocks))
    block, truth = blocks[split], blocks.get(split + facts.TRUTH)
    classes = page.classes(labels)
    settings = block["settings"]
    scored = [row for row in block["per_class"] if row["iou"] is not None]
    return {
        "split": split,
        "title": (
            "images of all splits" if split == "all" else f"{facts.SPLITS.get(split, split)} images"
        ),
        "settings": settings,
        "level": f"{100 * settings['level']:.4g} %",
        "classes": classes,
        "swatches": {entry["name"]: entry for entry in classes},
        "block": block,
        "truth": truth,
        "worst_class": min(scored, key=lambda row: row["iou"]) if scored else None,
        "silent": [row["name"] for row in block["per_class"] if row["iou"] is None],
        "tables": [
            {"title": title, "block": found, "rows": [_row(row) for row in found["per_class"]]}
            for title, found in (("On known cells", block), ("Against the complete truth", truth))
            if found is not None
        ],
        "exclusive": labels.exclusive,
        "reliability": evaluation_plots.reliability(block["calibration"]["bins"], labels.exclusive),
        "images_plot": evaluation_plots.images(image_scores),
        "ordered": facts.ordered(blocks),
        "confusions": facts.confusions(blocks, labels.exclusive),
        "parts": [part for part in map(_part, _kinds(block), _kinds(truth or {})) if part["rows"]],
        "names": labels.names if len(labels.names) <= SHOWN_CLASSES else (),
        "facts": list(_facts(settings)),
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A class with its outlines as text."""
    return {**row, "outlines": [text for key in OUTLINES for text in _outline(row[key], key)]}


def _outline(found: Mapping[str, Any], key: str) -> tuple[str | None, str | None]:
    """Median and mean; the median is infinite where most distances are."""
    median, mean = (
        None if found[part] is None else f"{found[part]:.{3 if key == OUTLINES[0] else 2}f}"
        for part in ("median", "mean")
    )
    return "∞" if median is None and found["infinite"] else median, mean


def _kinds(block: Mapping[str, Any]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    return [("Data set", block.get("sources", [])), ("Group", block.get("groups", []))]


def _part(
    known: tuple[str, list[Mapping[str, Any]]], truth: tuple[str, list[Mapping[str, Any]]]
) -> dict[str, Any]:
    """The rows of a table of data sets or groups, the worst first."""
    kind, rows = known
    true = {row["name"]: row["mean_iou"] for row in truth[1]}
    shown = [{**row, "truth": true.get(row["name"])} for row in rows[:SHOWN]]
    return {"kind": kind, "rows": shown, "more": len(rows) - len(shown), "has_truth": bool(true)}


def _facts(settings: Mapping[str, Any]) -> Any:
    unit, size = settings["unit"], " x ".join(f"{edge:g}" for edge in settings["pixel_size"])
    yield "runs" if len(settings["runs"]) > 1 else "run", ", ".join(settings["runs"])
    yield "data", settings["data"] + (" (those of the run)" if settings["own"] else "")
    yield "pixel size", f"{size} {unit}"
    yield "tolerance", f"{settings['tolerance']:g} {unit}, of surface Dice"
    yield "precision", settings["precision"]
    yield "test-time augmentation", settings["tta"]
    tuned = settings["decisions"]
    if tuned is None:
        one = settings.get("exclusive", True)
        yield "decision", "the most probable class" if one else "each class from 0.5 on"
        return
    temperature = tuned["temperature"]
    yield "temperature", "of each run its own" if temperature is None else f"{temperature:.4g}"
    listed = ", ".join(f"{name} {value:.3g}" for name, value in tuned["thresholds"].items())
    yield "thresholds", f"{listed} (tuned for {tuned['score'] or 'no score'})"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} must hold names with values. segkit evaluate writes it anew.")
    return content


def _image_scores(path: Path) -> list[float]:
    """The mean IoU of each image that has one; against the truth where it is known."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = [row.get("mean_iou_truth") or row.get("mean_iou") or "nan" for row in rows]
    return [value for value in map(float, texts) if not math.isnan(value)]

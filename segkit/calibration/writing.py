"""What was found, as files in the run folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from segkit.calibration.telling import RELIABILITY
from segkit.calibration.tuning import Found
from segkit.labels import LabelSpace
from segkit.metrics.counts import number_or_none
from segkit.metrics.curves import ProbabilityCounts
from segkit.metrics.thresholds import class_scores, mean_score
from segkit.report import calibration_plot
from segkit.tables import cell

CURVES, SUMMARY = "precision_recall.csv", "calibration.json"
PICTURES = ("precision_recall.png", RELIABILITY)
POINTS = 200  # of a curve


def curve(found: ProbabilityCounts, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and threshold of class c at some 200 points, even in recall."""
    precision, recall, thresholds = found.precision_recall(c)
    if not len(thresholds) or np.isnan(recall[0]):
        return (np.empty(0),) * 3
    # Recall falls: the first and the last point of each step of it.
    steps = np.floor(recall[:-1] * POINTS)
    first = np.concatenate([[True], steps[1:] != steps[:-1]])
    chosen = np.flatnonzero(first | np.append(first[1:], True))
    return precision[chosen], recall[chosen], thresholds[chosen]


def write_curves(path: Path, found: Found, names: Sequence[str]) -> None:
    """Writes precision and recall of each class over the thresholds of its probability."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "threshold", "precision", "recall"])
        for c, name in enumerate(names):
            for precision, recall, threshold in zip(*curve(found.curves, c)):
                writer.writerow(
                    [cell(name), f"{threshold:.6g}", f"{precision:.6g}", f"{recall:.6g}"]
                )


def write_pictures(folder: Path, found: Found, labels: LabelSpace) -> None:
    """Writes the curves with the decisions on them, and the reliability diagram."""
    shown = [
        calibration_plot.Curve(
            f"{name}, AP {found.curves.average_precision[c]:.3f}",
            labels.palette[c],
            *curve(found.curves, c)[:2],
            _point(found, c),
        )
        for c, name in enumerate(labels.names)
        if found.curves.positives[c].any()
    ]
    calibration_plot.write_precision_recall(folder / PICTURES[0], shown)
    parts = [(part.bins, part.ece) for part in found.reliability]
    calibration_plot.write_reliability(
        folder / PICTURES[1], *parts, found.temperature, labels.exclusive
    )


def write_summary(path: Path, found: Found, names: Sequence[str], settings: dict[str, Any]) -> None:
    """Writes on what the decisions stand, and what they do."""
    score = settings["score"]
    counted = {
        "even": found.even,
        "tuned": None if found.tuning is None else found.tuning.counts,
        "other_half": found.crossed,
    }
    scores = {
        key: (
            None
            if counts is None
            else {
                "mean": number_or_none(mean_score(counts, score)),
                "classes": _by_name(names, class_scores(counts, score)),
            }
        )
        for key, counts in counted.items()
    }
    content = {
        **settings,
        "images": found.images,
        "images_of_class": dict(zip(names, found.curves.images.tolist())),
        "fitted_temperature": found.temperature,
        "nll": list(found.nll),
        "ece": [part.ece for part in found.reliability],
        "class_ece": [_by_name(names, part.class_ece) for part in found.reliability],
        "average_precision": _by_name(names, found.curves.average_precision),
        "tuned_thresholds": (
            None if found.tuning is None else dict(zip(names, found.tuning.thresholds))
        ),
        "thresholds_used": found.kept,
        "thresholds": dict(zip(names, found.thresholds)),
        "scores": scores,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _point(found: Found, c: int) -> tuple[float, float] | None:
    """Recall and precision of what is decided; None if class c is never chosen."""
    used = found.kept and found.thresholds[c] == found.tuning.thresholds[c]
    counts = found.tuning.counts if used else found.even
    point = float(counts.recall[c]), float(counts.precision[c])
    return None if np.isnan(point).any() else point


def _by_name(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    return {name: number_or_none(value) for name, value in zip(names, values)}

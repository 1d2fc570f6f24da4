"""What `segkit evaluate` writes: the blocks of metrics.json, one row an image, the worst images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping, Sequence

import numpy as np
from PIL import Image

from segkit import combinations
from segkit.callbacks.overlays import byte_image
from segkit.labels import LabelSpace
from segkit.metrics.counts import mean_or_none, number_or_none, ratio
from segkit.metrics.intervals import Intervals
from segkit.metrics.ordered import ordered_block
from segkit.tables import cell

if TYPE_CHECKING:
    from segkit.evaluation.image_scores import Judged, Tally

METRICS, IMAGES, CONFUSION, WORST = "metrics.json", "images.csv", "confusion.csv", "worst"
DISTANCES = {  # of the outlines, by their names in `SurfaceScores`
    "surface_dice": "dice",
    "hausdorff_95": "hausdorff_95",
    "mean_surface_distance": "mean_distance",
}


def block(tally: Tally, intervals: Intervals | None, labels: LabelSpace) -> dict[str, Any]:
    """A block of metrics.json: what training writes there, with intervals and the other scores.

    Args:
        tally: over all images.
        intervals: of the scores; None if there are none.
        labels: the class names.
    """
    found = tally.counts.to_dict(labels.names)
    pairs = {} if intervals is None else intervals.to_dict()
    for key in ("mean_iou_interval", "mean_dice_interval"):
        found[key] = _interval(pairs.get(key))
    extra = {
        "specificity": tally.counts.specificity,
        "average_precision": tally.probabilities.average_precision,
        "ece": tally.reliability.class_ece,
    }
    for c, row in enumerate(found["per_class"]):
        row |= {key: number_or_none(values[c]) for key, values in extra.items()}
        for key in ("iou", "dice"):
            row[f"{key}_interval"] = _interval(pairs[f"{key}_intervals"][c] if pairs else None)
        for key, name in DISTANCES.items():
            row[key] = over_images(getattr(tally.surfaces, name)[:, c])
    if labels.values is not None:
        found["ordered"] = ordered_block(tally.counts.confusion, labels)
        found["ordered"] |= sum(tally.ordered[1:], tally.ordered[0]).to_dict()
    found["calibration"] = tally.reliability.to_dict(labels.names)
    found["images"] = len(tally.indices)
    return found


def over_images(values: np.ndarray) -> dict[str, Any]:
    """Median and mean of a score of each image, (N,), NaN where an image has none.

    "images": those that have one. "infinite": distances without an end, where only one of
    prediction and annotation has the class. They are the largest for the median, which is None
    if one of them is in the middle, and are left out of the mean.
    """
    found = values[~np.isnan(values)]
    finite = found[np.isfinite(found)]
    median = float(np.median(found)) if len(found) else np.nan
    return {
        "median": median if np.isfinite(median) else None,
        "mean": mean_or_none(finite) if len(finite) else None,
        "images": len(found),
        "infinite": len(found) - len(finite),
    }


def parts(tally: Tally, owners: Sequence[str], labels: LabelSpace) -> list[dict[str, Any]]:
    """Scores of the images of each owner (a patient, a data set), the worst first.

    Args:
        tally: over all images.
        owners: of each image of the source, (N,); those without, "", are left out.
        labels: the class names.
    """
    mine = np.array([owners[index] for index in tally.indices])
    rows = []
    for owner in sorted(set(mine) - {""}):
        right, wrong, missed, _ = tally.cells[:, mine == owner].sum(1)
        iou = ratio(right, right + wrong + missed)
        dice = ratio(2 * right, 2 * right + wrong + missed)
        rows.append(
            {"name": str(owner), "images": int((mine == owner).sum())}
            | {"mean_iou": mean_or_none(iou), "mean_dice": mean_or_none(dice)}
            | {"iou": {n: number_or_none(v) for n, v in zip(labels.names, iou)}}
        )
    return sorted(rows, key=lambda row: (row["mean_iou"] is None, row["mean_iou"] or 0.0))


def write_images(
    path: Path,
    known: Tally,
    truth: Tally | None,
    columns: Mapping[str, Sequence[str]],
    labels: LabelSpace,
) -> None:
    """Writes one row an image: known cells only, an empty field where there is no evidence.

    Args:
        path: the file.
        known: the scores on known cells.
        truth: against the full truth, if some image has one: one more column.
        columns: what comes first, by name, one text an image.
        labels: the class names.
    """
    scores = _scores(known)
    header = [*columns, "mean_iou", "mean_dice"]
    per_class = [scores[key] for key in ("iou", "dice", *DISTANCES)]
    header += [f"{key}_{name}" for key in ("iou", "dice", *DISTANCES) for name in labels.names]
    true = {}
    if truth is not None:
        header.insert(len(columns) + 2, "mean_iou_truth")
        true = dict(zip(truth.indices, map(mean_or_none, _scores(truth)["iou"])))
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(cell, header))
        for row, index in enumerate(known.indices):
            means = [mean_or_none(scores[key][row]) for key in ("iou", "dice")]
            if truth is not None:
                means.append(true.get(index))
            first = [cell(values[index]) for values in columns.values()]
            rest = [number_or_none(value) for table in per_class for value in table[row]]
            writer.writerow([*first, *map(_field, means), *map(_field, rest)])


def write_confusion(path: Path, confusion: np.ndarray, labels: LabelSpace) -> None:
    """Writes pixels of each pair of label and prediction, and their share of the label's pixels.

    Independent classes: where both are, which may be right.
    """
    shares = ratio(confusion, confusion.sum(1, keepdims=True))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["label", "prediction", "pixels", "share"])
        for r, label in enumerate(labels.names):
            for c, prediction in enumerate(labels.names):
                share = number_or_none(shares[r, c])
                writer.writerow(
                    [cell(label), cell(prediction), int(confusion[r, c]), _field(share)]
                )


def write_worst(
    folder: Path, ranked: Sequence[tuple[float, Judged]], labels: LabelSpace, split: str
) -> None:
    """Writes image, mask, truth and prediction as PNG, and `gallery.json`, worst first.

    Of independent classes the pictures hold places in a table of each item, see
    `segkit.combinations`.

    Args:
        folder: what an earlier evaluation left there is taken away.
        ranked: mean IoU and image.
        labels: the label space of the masks.
        split: its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("[0-9][0-9][0-9][0-9]*.png"):
        left.unlink()
    items = []
    for number, (score, judged) in enumerate(ranked):
        sample = judged.sample
        item = {"name": sample.name or f"image {judged.index}", "mean_iou": score}
        item["annotated"] = np.asarray(sample.annotated, bool).tolist()
        layers = {"mask": sample.mask, "truth": sample.truth, "prediction": judged.prediction}
        shown, table = combinations.shown_as_ids(layers, labels)
        layers = {"image": byte_image(sample.image), **shown}
        for key, layer in layers.items():
            name = f"{number:04d}.png" if key == "image" else f"{number:04d}_{key}.png"
            item[key] = None if layer is None else name
            if layer is not None:
                _picture(layer).save(folder / name)
        items.append(item | table)
    description = {"split": split, "labels": labels.to_dict(), "items": items}
    write_json(folder / "gallery.json", description)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file for people, in which nothing is NaN or infinite."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _scores(tally: Tally) -> dict[str, np.ndarray]:
    """Scores of each image, each (N, C)."""
    right, wrong, missed, _ = tally.cells
    scores = {"iou": ratio(right, right + wrong + missed)}
    scores["dice"] = ratio(2 * right, 2 * right + wrong + missed)
    return scores | {key: getattr(tally.surfaces, name) for key, name in DISTANCES.items()}


def _interval(pair: Sequence[float | None] | None) -> list[float] | None:
    return None if pair is None or None in pair else [float(edge) for edge in pair]


def _field(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _picture(layer: np.ndarray) -> Image.Image:
    small = layer.dtype == np.uint8 or layer.max(initial=0) < 256
    return Image.fromarray(layer.astype("uint8") if small else layer.astype("uint16"))

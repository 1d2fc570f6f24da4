"""The score that runs are compared by, and whether theirs come from the same data."""

from __future__ import annotations

import difflib
from collections import defaultdict
from typing import Any, Hashable, Iterator, Mapping, Sequence

from segkit.comparison.choices import Column
from segkit.comparison.folders import Run, number, read_json

TRUTH = "truth"  # a score of its own, and the suffix of the block that holds it
_ERRORS = (  # less is better
    "ece",
    "mce",
    "hausdorff_95",
    "mean_surface_distance",
    "mean_absolute_error",
    "loss",
)
_OF_ORDERED = (
    "mean_absolute_error",
    "quadratic_weighted_kappa",
    "mean_absolute_error_of_mean",
)
_LISTED = 12
_HOW = ("data", "tta", "pixel_size", "tolerance")  # settings of `segkit evaluate` that scores have


def place(score: str, split: str) -> tuple[str, str]:
    """The key of a score, and that of the block which holds it: `truth` is a mean IoU, too."""
    return ("mean_iou", f"{split}/{TRUTH}") if score == TRUTH else (score, split)


def blocks(runs: Sequence[Run], split: str, score: str) -> list[Mapping[str, Any] | None]:
    """The block of metrics.json that the score comes from, one a run; None for runs without one.

    What `segkit evaluate` wrote below a run counts where training has not scored the split, or
    not by this score.

    Raises:
        ValueError: if no run has the split, naming those there are.
    """
    name, key = place(score, split)
    found = []
    for run in runs:
        block = run.metrics.get(key)
        if not block or name not in dict(_named(block)):
            block = _evaluated(run, split).get(key) or block
        found.append(block)
    if not any(found):
        there = sorted({name for run in runs for name in run.metrics})
        if score == TRUTH and any(split in run.metrics for run in runs):
            raise ValueError(
                f"No run was scored against the truth of {split!r}: that is known only where "
                f"annotations were hidden on purpose. There are: {', '.join(there)}. Leave "
                "score=truth out to compare on known cells."
            )
        raise ValueError(
            f"No run has scores of the split {split!r}. There are: {', '.join(there)}."
        )
    return found


def values(found: Sequence[Mapping[str, Any] | None], score: str) -> list[float | None]:
    """The score of each run; None where there was no evidence to measure it on.

    Args:
        found: of `blocks`.
        score: a key of a block (`mean_iou`), a key of a class and its name (`iou_cell`), or
            `truth`, for the mean IoU against the truth.

    Raises:
        ValueError: if no run has such a score, naming those there are.
    """
    key, _ = place(score, "")
    there: dict[str, None] = {}
    chosen = []
    for block in found:
        value = None
        for name, entry in _named(block or {}):
            there[name] = None
            value = number(entry) if name == key else value
        chosen.append(value)
    if key not in there:
        near = difflib.get_close_matches(key, there, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(list(there)[:_LISTED]) + (", ..." if len(there) > _LISTED else "")
        raise ValueError(f"No run has the score {score!r}.{hint} There are: {listed}, and truth.")
    return chosen


def falls(score: str) -> bool:
    """Whether less of it is better."""
    return any(score == name or score.startswith(f"{name}_") for name in _ERRORS)


def classes(block: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The rows of the classes in a block of metrics.json, those that are rows."""
    rows = (block or {}).get("per_class")
    rows = rows if isinstance(rows, list) else []
    return [row for row in rows if isinstance(row, Mapping) and isinstance(row.get("name"), str)]


def doubts(
    runs: Sequence[Run],
    columns: Sequence[Column],
    found: Sequence[Mapping[str, Any] | None],
    replicates: Sequence[Hashable],
) -> list[str]:
    """Why the scores may not compare: other classes, or other cells behind them; in sentences.

    Scores compare if the same cells are behind them. So the evidence is compared, images and
    pixels of each class, among runs with the same seed (which may draw the data): if it is the
    same, a key of the data that differs (the number of training images, say) does no harm.
    """
    lists = {tuple(row["name"] for row in classes(block)) for block in found if block}
    if len(lists) > 1:
        listed = "; ".join(sorted(", ".join(names) or "none" for names in lists)[:3])
        return [f"The runs have different classes, so their means do not compare: {listed}."]
    if len({_exclusive(run) for run, block in zip(runs, found) if block}) > 1:
        return [
            "In some runs a pixel has one class, in others classes may overlap "
            "(labels.exclusive): which cells count as known, and what ECE means, differs between "
            "the two, so their scores do not compare."
        ]
    evidence: dict[Hashable, set[tuple[Any, ...]]] = defaultdict(set)
    for block, replicate in zip(found, replicates):
        if block:
            rows = classes(block)
            evidence[replicate].add(tuple((row.get("images"), row.get("pixels")) for row in rows))
    if all(len(alike) == 1 for alike in evidence.values()):
        return []
    keys = [column.key for column in columns if column.key.partition(".")[0] == "data"]
    text = "The runs were scored on different data, so their scores do not compare: "
    if keys and all(key.startswith("data.missing") for key in keys):
        text = "The runs were scored on different known cells: "
        told = f"{', '.join(keys)} differs."
        if all(any(key.endswith(f"/{TRUTH}") for key in run.metrics) for run in runs):
            told += " score=truth compares them on the same cells, all of them."
        return [text + told]
    cause = (
        f"{', '.join(keys)} differs" if keys else "the config of the data is the same, the files"
    )
    return [f"{text}{cause}{'.' if keys else ' or their annotations are others.'}"]


def measured_otherwise(found: Sequence[Mapping[str, Any] | None]) -> list[str]:
    """Says in what `segkit evaluate` was asked otherwise of some runs than of others."""
    asked = [block.get("settings") for block in found if block]
    asked = [settings for settings in asked if isinstance(settings, Mapping)]
    listed = [{key: settings.get(key) for key in _HOW} for settings in asked]
    for settings, how in zip(asked, listed):
        how["decisions"] = settings.get("decisions") is not None
    keys = [key for key in (*_HOW, "decisions") if any(h[key] != listed[0][key] for h in listed)]
    text = "segkit evaluate scored the runs differently, so their scores do not compare: "
    return [f"{text}{', '.join(keys)} differs."] if keys else []


def _exclusive(run: Run) -> bool:
    try:
        return read_json(run.folder / "labels.json").get("exclusive") is not False
    except (OSError, ValueError):  # which a run can be compared without
        return True


def _evaluated(run: Run, split: str) -> Mapping[str, Any]:
    try:
        content = read_json(run.folder / "evaluation" / split / "metrics.json")
    except (OSError, ValueError):
        return {}
    return {key: block for key, block in content.items() if isinstance(block, Mapping)}


def _named(block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, (int, float)) or value is None:
            yield key, value
    calibration = block.get("calibration")
    if isinstance(calibration, Mapping):
        yield from ((key, calibration[key]) for key in ("ece", "mce") if key in calibration)
    ordered = block.get("ordered")
    if isinstance(ordered, Mapping):
        yield from ((key, ordered[key]) for key in _OF_ORDERED if key in ordered)
    for row in classes(block):
        for key, value in row.items():
            if key == "surface_dice" and isinstance(value, Mapping):
                value = value.get("mean")  # over the images
            if key not in ("name", "images", "pixels") and (
                isinstance(value, (int, float)) or value is None
            ):
                yield f"{key}_{row['name']}", value

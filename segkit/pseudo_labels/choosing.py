"""How a data set is completed: settings, which images, and the classes that may be filled."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from segkit.contract import Source, is_number, whole_number
from segkit.labels import LabelSpace
from segkit.pseudo_labels import providing, tuning
from segkit.pseudo_labels.opening import Opened, annotated_table, pair_of
from segkit.pseudo_labels.propagation import Spreading
from segkit.pseudo_labels.storing import Stored
from segkit.pseudo_labels.writing import IMAGES
from segkit.targets import shown

ALL = "all"


class Settings(NamedTuple):
    """How a data set is completed; see `conf/complete.yaml`."""

    method: str = providing.MODEL
    split: str = "train"
    thresholds: Any = tuning.AUTO
    label_precision: float = 0.95
    missed: float = 0.05
    confidence: float = tuning.USUAL
    doubt: str = "coarse"
    weight: float = 1.0
    images: str = "copy"
    examples: int = 24
    spreading: Spreading = Spreading()


class NothingUnknown(Exception):
    """Every cell is known: there is nothing to complete."""


def chosen_splits(opened: Opened, settings: Settings) -> list[str]:
    """The splits to complete; and a look at the numbers."""
    if settings.images not in IMAGES:
        raise ValueError(f"images must be copy or link. Received: {settings.images!r}.")
    if not is_number(settings.weight) or not 0 <= settings.weight <= 1:
        raise ValueError(f"weight must be a number from 0 to 1. Received: {settings.weight!r}.")
    whole_number("examples", settings.examples)
    numbers = {name: len(source) for name, source in opened.splits.items()}
    if settings.split == ALL and any(numbers.values()):
        return [name for name, count in numbers.items() if count]
    if numbers.get(settings.split):
        return [settings.split]
    listed = ", ".join(f"{name} ({count:,})" for name, count in numbers.items())
    raise ValueError(
        f"There is no image to complete in the split {settings.split!r}. Received: {listed}."
    )


def fillable_classes(opened: Opened, chosen: list[str]) -> tuple[np.ndarray, list[str]]:
    """bool (C,): the classes that somebody annotated somewhere; and the names of the others."""
    labels, tables = opened.labels, {}
    for name, source in opened.splits.items():
        if len(source):
            tables[name] = annotated_table(source)
    open_ = [~tables[name] for name in chosen]
    if not np.concatenate(open_)[:, list(labels.foreground)].any() and not labels.coarse:
        raise NothingUnknown
    known = np.concatenate(list(tables.values())).any(0) | _learnt(opened, labels)
    missing = [labels.names[c] for c in labels.foreground if not known[c]]
    wanted = np.concatenate(open_).any(0)
    if not (wanted & known).any() and not labels.coarse:
        raise ValueError(
            f"Nobody annotated {', '.join(missing)} in any image, so nothing can know what it "
            "looks like. Annotate it in some images."
        )
    return known, missing


def _learnt(opened: Opened, labels: LabelSpace) -> np.ndarray:
    """bool (C,): the classes that every run saw annotated in its training, by its coverage.json."""
    seen = np.zeros(labels.num_classes, bool)
    for run in opened.model.runs if opened.model else ():
        with_classes = run.folder / "coverage.json"
        if with_classes.is_file():
            rows = json.loads(with_classes.read_text(encoding="utf-8"))["train"]["classes"]
            names = {row["name"] for row in rows if row["annotated"]}
            seen |= np.array([name in names for name in labels.names])
    return seen


def written_anew(source: Source, completed: bool) -> bool:
    """Whether all masks of a split have to be written anew: some are one file a class."""
    pairs = [pair_of(source, index) for index in range(len(source))] if completed else []
    return any(hasattr(pair.mask, "items") for pair in pairs if pair is not None)


def labelled_classes(stored: Stored, labels: LabelSpace) -> list[str]:
    """The foreground classes that a mask shows."""
    there = shown(np.asarray(stored.mask), labels)
    return [labels.names[c] for c in labels.foreground if there[c]]

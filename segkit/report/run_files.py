"""Reads what a training run left in its folder; files that a run need not have are None."""

from __future__ import annotations

import csv
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segkit.labels import LabelSpace

REQUIRED = ("config.yaml", "labels.json", "metrics.json")


@dataclass(frozen=True)
class RunFiles:
    """The contents of a run folder. Numbers that stand for "no evidence" are None, never 0."""

    folder: Path
    labels: LabelSpace
    config: dict[str, Any]
    metrics: dict[str, Any]
    history: list[dict[str, float | None]] | None
    coverage: dict[str, Any] | None
    class_weights: dict[str, Any] | None
    environment: dict[str, Any] | None
    gallery: dict[str, Any] | None
    features: tuple[dict[str, np.ndarray], dict[str, Any]] | None


def read(run: str | Path) -> RunFiles:
    """Reads a run folder.

    Args:
        run: the folder; it must hold config.yaml, labels.json and metrics.json.

    Raises:
        FileNotFoundError: naming the required file that is missing.
        ValueError: naming the file whose content cannot be read.
    """
    folder = Path(run)
    missing = [name for name in REQUIRED if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"A report needs the files {', '.join(REQUIRED)} in the run folder. "
            f"Received: {folder}, without {', '.join(missing)}. "
            "Give a folder that segkit train has finished writing."
        )
    return RunFiles(
        folder=folder,
        labels=LabelSpace.from_json(folder / "labels.json"),
        config=_config(folder / "config.yaml"),
        metrics=_json(folder / "metrics.json") or {},
        history=_history(folder / "history.csv"),
        coverage=_json(folder / "coverage.json"),
        class_weights=_json(folder / "class_weights.json"),
        environment=_json(folder / "environment.json"),
        gallery=_json(folder / "gallery" / "gallery.json"),
        features=_features(folder),
    )


def _features(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The arrays of features.npz, and the content of features.json."""
    path, facts = folder / "features.npz", _json(folder / "features.json")
    if facts is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is no file of arrays: {error}.") from error
    if not {"features", "labels"} <= set(arrays):
        raise ValueError(f"{path} must hold features and labels. Received: {sorted(arrays)}.")
    return arrays, facts


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        # NaN and Infinity, which Python writes, are no evidence either.
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    return _mapping(content, path)


def _config(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    return _mapping(content, path)


def _mapping(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold names with values. Received: {type(content).__name__}.")
    return content


def _history(path: Path) -> list[dict[str, float | None]] | None:
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{key: _number(cell) for key, cell in row.items()} for row in csv.DictReader(file)]
    for number, row in enumerate(rows):
        if row.get("epoch") is None:
            row["epoch"] = float(number)
    # Keras' logger counts from 0, people and the log of the run from 1.
    shift = 1 - min((row["epoch"] for row in rows), default=1)
    return [{**row, "epoch": row["epoch"] + max(shift, 0)} for row in rows]


def _number(cell: Any) -> float | None:
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None

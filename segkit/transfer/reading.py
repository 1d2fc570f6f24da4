"""Reads what a run left for others to start from: its model, its classes, its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator, Mapping

import keras
import numpy as np
import yaml

from segkit import runs
from segkit.labels import LabelSpace
from segkit.runs import CONFIG, LABELS, MODEL


def model_file(run: str | Path) -> Path:
    """The `.keras` file of a run folder, or the one that is named itself.

    Raises:
        ValueError: if it is neither.
        FileNotFoundError: if it is not there.
    """
    path = Path(run)
    found = path if path.suffix == ".keras" else path / MODEL
    if found.is_file():
        return found
    if path.is_file():
        raise ValueError(
            f"trainer.start_from takes a run folder or a .keras file. Received: {path}."
        )
    why = "that run did not finish an epoch" if (path / CONFIG).is_file() else "it is not there"
    raise FileNotFoundError(
        f"trainer.start_from needs a run folder with a {MODEL}, or a .keras file. Received: "
        f"{path}; of {found}, {why}."
    )


def load(path: Path) -> keras.Model:
    """The model of a `.keras` file, without running any code that the file may hold.

    Raises:
        ValueError: if it cannot be read, or its weights are not finite.
    """
    try:
        return runs.load_model(path)
    except ValueError as error:
        raise ValueError(f"trainer.start_from: {error}") from error


def class_names(path: Path) -> tuple[str, ...] | None:
    """The classes in the order of the channels, of the model in `path`; None if nobody says.

    Raises:
        ValueError: if labels.json beside it cannot be read.
    """
    file = path.parent / LABELS
    return tuple(LabelSpace.from_json(file).names) if file.is_file() else None


def differences(path: Path, settings: Mapping[str, Any] | None) -> list[str]:
    """The keys of the group model in which the run of the model in `path` differs, in words."""
    try:
        content = yaml.safe_load((path.parent / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # it was to explain, no more
        return []
    if settings is None or not isinstance(content, Mapping):
        return []
    there, here = (dict(_flat("model", part.get("model"))) for part in (content, settings))
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    return [f"{key} is {there.get(key)} there and {here.get(key)} here" for key in keys]


def array(weight: Any) -> np.ndarray:
    """The numbers of a variable."""
    return np.asarray(keras.ops.convert_to_numpy(weight), "float32")


def _flat(key: str, node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _flat(f"{key}.{name}", value)
    else:
        yield key, node

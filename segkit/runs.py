"""What a run folder says to those who use its model: classes, sizes, decisions, and the model."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np
import yaml

from segkit.contract import is_number
from segkit.labels import LabelSpace

MODEL, CONFIG, LABELS = "model.keras", "config.yaml", "labels.json"
NORMALIZATION, DECISIONS = "normalization.json", "decisions.json"
EVEN = 0.5  # the threshold of a class that is chosen where it is the most probable one


@dataclass(frozen=True)
class Decisions:
    """How probabilities become a decision, as tuned on validation data.

    temperature: T of softmax(logits / T), above 0; 1 changes nothing.
    thresholds: one a class, inside (0, 1); see `segkit.inference.decide`.
    score: what the thresholds were tuned for.
    """

    temperature: float
    thresholds: tuple[float, ...]
    score: str = ""

    def __post_init__(self):
        if not is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature must be a number above 0. Received: {self.temperature!r}."
            )
        if not all(is_number(value) and 0 < value < 1 for value in self.thresholds):
            raise ValueError(
                f"thresholds must lie between 0 and 1, without both. Received: {self.thresholds}."
            )

    def to_json(self, path: Path, names: Sequence[str]) -> None:
        """Writes them under the names of the classes; the file is whole or not there."""
        content = {
            "temperature": float(self.temperature),
            "score": self.score,
            "thresholds": {name: float(value) for name, value in zip(names, self.thresholds)},
        }
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def from_json(cls, path: Path, names: Sequence[str]) -> Decisions:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: naming the file, if it is damaged or of other classes.
        """
        content = _mapping(path, json.loads)
        found = content.get("thresholds")
        if not isinstance(found, Mapping) or list(found) != list(names):
            there = list(found) if isinstance(found, Mapping) else found
            raise ValueError(
                f"{path} must have a threshold for each class, {', '.join(names)}. Received: "
                f"{there}. segkit calibrate writes it anew."
            )
        try:
            thresholds = tuple(found.values())
            return cls(content.get("temperature"), thresholds, str(content.get("score", "")))
        except ValueError as error:
            raise ValueError(f"{path}: {error} segkit calibrate writes it anew.") from error


@dataclass(frozen=True)
class Run:
    """What the folder of a finished run says.

    config: config.yaml, resolved.
    labels: the classes, in the order of the channels of the model.
    normalization: normalization.json; {} if there is none.
    decisions: of `segkit calibrate`; None if it was not asked.
    """

    folder: Path
    config: dict[str, Any]
    labels: LabelSpace
    normalization: dict[str, Any]
    decisions: Decisions | None

    @property
    def model_path(self) -> Path:
        """The file with layers and weights."""
        return self.folder / MODEL

    @property
    def channels(self) -> int:
        """Of the images, K."""
        return int(self.normalization.get("channels") or self._data.get("channels") or 3)

    @property
    def value_range(self) -> Any:
        """The values of an image file that become 0 and 1; None: as their type says."""
        return self._given("value_range")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) that images were brought to before training; None: as they were."""
        size = self._given("size") if "fit" in self._data else None  # drawn scenes: their own
        if size is None:
            return None
        return (size, size) if isinstance(size, int) else tuple(size)

    @property
    def fit(self) -> str | None:
        """How they were brought to `size`: resize or crop; None if they were not."""
        return self.size and str(self._given("fit") or "resize")

    @property
    def _data(self) -> Mapping[str, Any]:
        return self.config.get("data") or {}

    def _given(self, key: str) -> Any:
        """An option of the data; where all data sets that were joined have another one, that."""
        joined, shared = self._data.get("sources"), self._data.get(key)
        own = [one.get(key, shared) for one in joined.values()] if joined else []
        return own[0] if own and all(one == own[0] for one in own) else shared


def read(path: str | os.PathLike, decisions: bool = True) -> Run:
    """Reads the folder of a run; the model itself is left for `load_model`.

    Args:
        path: the folder, or the model in it.
        decisions: False leaves out what `segkit calibrate` wrote.

    Raises:
        FileNotFoundError: saying which file is missing.
        ValueError: naming the file that cannot be read.
    """
    folder = Path(path)
    if folder.name == MODEL:
        folder = folder.parent
    missing = [name for name in (MODEL, CONFIG, LABELS) if not (folder / name).is_file()]
    if missing:
        near = _runs_below(folder)
        hint = f" Below it there are: {', '.join(near)}." if near else ""
        what = f"without {', '.join(missing)}" if folder.is_dir() else "which is not there"
        raise FileNotFoundError(
            f"A run folder, as segkit train writes it, holds {MODEL}, {CONFIG} and {LABELS}. "
            f"Received: {folder}, {what}.{hint}"
        )
    labels = LabelSpace.from_json(folder / LABELS)
    normalization, tuned = folder / NORMALIZATION, folder / DECISIONS
    wanted = decisions and tuned.exists()
    return Run(
        folder=folder,
        config=_mapping(folder / CONFIG, yaml.safe_load),
        labels=labels,
        normalization=_mapping(normalization, json.loads) if normalization.exists() else {},
        decisions=Decisions.from_json(tuned, labels.names) if wanted else None,
    )


def load_model(path: str | os.PathLike | Run) -> Any:
    """The model of a run, or of a `.keras` file, without running any code the file may hold.

    Layers are found by the names under which they are registered, so `segkit.models` must have
    been imported; no other module is.

    Returns:
        keras.Model, not compiled.

    Raises:
        ValueError: naming the file, if it cannot be read, holds code, or has weights that are no
            numbers.
    """
    import keras

    path = path.model_path if isinstance(path, Run) else Path(path)
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever zip, JSON, HDF5 and Keras say of a damaged file
        said = str(error).strip().split("\n")[0][:200]
        raise ValueError(
            f"segkit cannot read {path} as a model ({type(error).__name__}: {said}). It is "
            "damaged, or was not written by segkit. Take another run."
        ) from error
    for variable in model.variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            layer = variable.path.rpartition("/")[0]
            raise ValueError(
                f"segkit cannot use {path}: the weights of {layer} in {path.name} are not all "
                "numbers. Take another run."
            )
    return model


def require_alike(found: Sequence[Run]) -> None:
    """Refuses runs that cannot predict together.

    Raises:
        ValueError: naming two of them and what differs: classes, channels or value range.
    """
    first = found[0]
    for other in found[1:]:
        for what in ("names", "channels", "value range"):
            here, there = (_told(run, what) for run in (first, other))
            if here != there:
                raise ValueError(
                    f"Runs that predict together need the same {what}. Received: {here} in "
                    f"{first.folder}, {there} in {other.folder}."
                )


def _runs_below(folder: Path) -> list[str]:
    """A few run folders in a folder, for those who named the one above."""
    if not folder.is_dir():
        return []
    found = (entry for entry in sorted(folder.iterdir()) if (entry / MODEL).is_file())
    return [str(entry) for entry, _ in zip(found, range(5))]


def _mapping(path: Path, parse: Any) -> dict[str, Any]:
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        first = str(error).split("\n")[0]
        way = "segkit calibrate writes it anew" if path.name == DECISIONS else "Restore it"
        raise ValueError(f"{path} cannot be read: {first}. {way}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold names with values. Received: {type(content).__name__}. Restore it."
        )
    return content


def _told(run: Run, what: str) -> str:
    told = {"names": run.labels.names, "channels": run.channels, "value range": run.value_range}
    return str(told[what])

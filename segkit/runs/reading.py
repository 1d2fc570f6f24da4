"""What a run folder says to those who use its model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

import yaml

from segkit.labels import LabelSpace
from segkit.runs.decisions import Decisions
from segkit.runs.parsing import DECISIONS, mapping

MODEL, CONFIG, LABELS = "model.keras", "config.yaml", "labels.json"
NORMALIZATION = "normalization.json"


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
        config=mapping(folder / CONFIG, yaml.safe_load),
        labels=labels,
        normalization=mapping(normalization, json.loads) if normalization.exists() else {},
        decisions=Decisions.from_json(tuned, labels.names) if wanted else None,
    )


def require_alike(found: Sequence[Run]) -> None:
    """Refuses runs that cannot predict together.

    Raises:
        ValueError: naming two of them and what differs: classes, whether they exclude each other,
            channels or value range.
    """
    first = found[0]
    for other in found[1:]:
        for what in ("names", "kind of classes", "channels", "value range"):
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


def _told(run: Run, what: str) -> str:
    told = {"names": run.labels.names, "channels": run.channels, "value range": run.value_range}
    told["kind of classes"] = "exclusive" if run.labels.exclusive else "independent (overlapping)"
    return str(told[what])

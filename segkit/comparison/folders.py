"""Finds runs below folders, and trials that never became one."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import yaml

# libyaml reads a thousand configs in a second, Python alone in ten.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TRIAL, SWEEP = "trial.json", "sweep.json"
_BEGUN = ("checkpoints", "history.csv", "labels.json")  # beside config.yaml: training began here
_LONGEST = 300  # characters of an error
_MOST_KEYS = 100_000  # of a config; aliases of YAML can make any number of a few lines


@dataclass(frozen=True)
class Run:
    """What the files of a run folder say.

    name: the folder, as seen from those that were asked for.
    overrides: what the trial of a sweep was told to be; () for a run of its own.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()


@dataclass
class Found:
    """What lies below the folders.

    runs: in the order of the folders, then of their names, 2 before 10.
    unfinished: trials and trainings without scores: "name", "status", "error", "overrides".
    damaged: (file, what is wrong with it).
    """

    runs: list[Run] = field(default_factory=list)
    unfinished: list[dict[str, str]] = field(default_factory=list)
    damaged: list[tuple[str, str]] = field(default_factory=list)


def find(folders: Sequence[str | Path]) -> Found:
    """Every run in or below the folders, each once; nothing below a run is looked at.

    Args:
        folders: run folders, folders of them, sweeps. Links are followed.

    Raises:
        FileNotFoundError, NotADirectoryError: naming the folder that is none.
        ValueError: if there is no folder in the list.
    """
    if not folders:
        raise ValueError("Give the folders to compare: segkit compare DIR... Received: none.")
    for folder in map(Path, folders):
        if not folder.exists():
            raise FileNotFoundError(f"There is no folder {folder}. Give those that hold the runs.")
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file. Give the folder that holds the runs.")
    found = Found()
    tops = [Path(os.path.abspath(folder)) for folder in folders]
    above = Path(os.path.commonpath(tops)) if len(tops) > 1 else tops[0]
    seen: set[Path] = set()
    for top in tops:
        base = above if above != top or not _is_run(top) else top.parent
        for folder in _walk(top, seen):
            _add(found, folder, os.path.relpath(folder, base))
    return found


def is_run(folder: Path) -> bool:
    """Whether this is a run folder with scores."""
    return _is_run(folder)


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts trial 2 before trial 10."""
    parts = re.findall(r"\d+|\D+", name)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; NaN and Infinity, which Python writes, become None.

    Raises:
        ValueError: naming the file, if it holds no such thing.
        OSError: if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from error
    return _mapping(content, path)


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and (folder / "metrics.json").is_file()


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Folders that hold something to say; no folder twice, however many links lead there."""
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
    except OSError:
        return
    names = {entry.name for entry in entries}
    if TRIAL in names or "config.yaml" in names and names & {"metrics.json", *_BEGUN}:
        yield folder
        return
    if SWEEP in names:
        yield folder
        # As the sweep was asked for: what comes first there is the usual baseline.
        order = {name: place for place, name in enumerate(_trials(folder))}
        entries.sort(key=lambda entry: order.get(entry.name, len(order)))
    for entry in entries:
        if not entry.name.startswith(".") and entry.is_dir():
            yield from _walk(Path(entry.path), seen)


def _add(found: Found, folder: Path, name: str) -> None:
    try:
        trial = read_json(folder / TRIAL) if (folder / TRIAL).is_file() else None
        if _is_run(folder):
            found.runs.append(_read(folder, name, trial or {}))
        elif trial is not None:
            found.unfinished.append(_trial(name, trial))
        elif (folder / SWEEP).is_file():
            found.unfinished += _never_begun(folder, name)
        elif (folder / "config.yaml").is_file():
            text = "training has not finished, or was stopped"
            found.unfinished.append(_said(name, "unfinished", text, ()))
    except (OSError, ValueError) as error:
        found.damaged.append((name, str(error)[:_LONGEST]))


def _read(folder: Path, name: str, trial: Mapping[str, Any]) -> Run:
    path = folder / "config.yaml"
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from error
    _require_few_keys(config, path)
    metrics = read_json(folder / "metrics.json")
    if not metrics or not all(isinstance(block, Mapping) for block in metrics.values()):
        raise ValueError(f"{folder / 'metrics.json'} holds no scores of a split.")
    try:
        environment = read_json(folder / "environment.json")
    except (OSError, ValueError):  # which a run can do without
        environment = {}
    return Run(folder, name, _mapping(config, path), metrics, environment, tuple(_overrides(trial)))


def _mapping(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold names with values. Received: {type(content).__name__}.")
    return content


def _require_few_keys(config: Any, path: Path) -> None:
    count, waiting = 0, [config]
    while waiting:
        node = waiting.pop()
        inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        waiting.extend(inner)
        count += len(inner)
        if count > _MOST_KEYS:
            raise ValueError(
                f"{path} has more than {_MOST_KEYS:,} keys, which no config of a run has."
            )


def _overrides(trial: Mapping[str, Any]) -> list[str]:
    listed = trial.get("overrides")
    return [str(entry) for entry in listed] if isinstance(listed, list) else []


def _trial(name: str, trial: Mapping[str, Any]) -> dict[str, str]:
    status = str(trial.get("status", "unknown"))
    error = trial.get("error")
    if error is None and status == "running":
        error = "at work, or killed"
    elif error is None and status == "finished":
        error = "config.yaml or metrics.json is missing"
    return _said(name, status, "" if error is None else str(error), _overrides(trial))


def _never_begun(folder: Path, name: str) -> list[dict[str, str]]:
    """The trials that sweep.json lists and that have no folder yet."""
    read_json(folder / SWEEP)  # damage is reported here, not where folders are walked
    return [
        _said(os.path.normpath(os.path.join(name, trial)), "missing", "not begun", overrides)
        for trial, overrides in _trials(folder).items()
        if not (folder / Path(trial).name).exists()
    ]


def _trials(folder: Path) -> Mapping[str, Any]:
    try:
        trials = read_json(folder / SWEEP).get("trials")
    except (OSError, ValueError):
        return {}
    return trials if isinstance(trials, Mapping) else {}


def _said(name: str, status: str, error: str, overrides: Any) -> dict[str, str]:
    listed = overrides if isinstance(overrides, (list, tuple)) else ()
    if len(error) > _LONGEST:
        error = error[:_LONGEST] + "…"
    return {"name": name, "status": status, "error": error} | {
        "overrides": " ".join(map(str, listed))
    }


def number(value: Any) -> float | None:
    """A finite number, or None for whatever else a file holds in its place."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None

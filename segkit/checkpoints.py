"""Files that hold everything a training run needs to go on, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

import numpy as np

log = logging.getLogger(__name__)

KEPT = 2  # should the newest turn out damaged, the one before it is still good
_STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """What one file holds.

    epoch, step: what comes next, both from 0: `epoch` epochs and `step` steps are done.
    arrays: by name.
    state: whatever JSON can hold.
    """

    epoch: int
    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, Any]


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Writes a checkpoint and deletes all but the newest two.

    The file is complete before it gets its name, and is on the disk before older ones are
    deleted: a process that dies while it writes leaves the checkpoints there were.

    Raises:
        OSError: if it cannot be written; the older ones are left as they are.
    """
    path = folder / f"{checkpoint.epoch:06d}-{checkpoint.step:06d}.npz"
    unfinished = folder / f".{path.name}.unfinished"
    content = {**checkpoint.state, "arrays": sorted(checkpoint.arrays)}
    state = np.frombuffer(json.dumps(content).encode(), np.uint8)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            np.savez(file, **checkpoint.arrays, **{_STATE: state})
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        _sync(folder)
    except BaseException as error:
        unfinished.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        done = f"after epoch {checkpoint.epoch}" if checkpoint.epoch else "in the first epoch"
        raise OSError(
            f"The checkpoint {done} could not be written to {folder} ({error}). The model kept so "
            "far and the last checkpoint are whole: free some space, and the same command with "
            "output set to this folder goes on from there."
        ) from error
    for old in _files(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that reads whole, or None; says so where one is damaged."""
    for path in reversed(_files(folder)):
        try:
            return read(path)
        except ValueError as error:
            log.warning("%s It is passed over.", error)
    return None


def read(path: Path) -> Checkpoint:
    """Reads one checkpoint; every byte is checked against the sums in the file.

    Raises:
        ValueError: if it is damaged, naming it.
    """
    epoch, step = map(int, path.stem.split("-"))
    try:
        with zipfile.ZipFile(path) as content:
            if bad := content.testzip():
                raise zipfile.BadZipFile(f"wrong sum of {bad}")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        state = json.loads(arrays.pop(_STATE).tobytes())
        if state.pop("arrays") != sorted(arrays):
            raise ValueError("parts are missing")
    except Exception as error:  # zip, header and JSON have their own each
        raise ValueError(f"The checkpoint {path} is damaged ({error}).") from error
    return Checkpoint(epoch, step, arrays, state)


def remove(folder: Path) -> None:
    """Deletes the checkpoints in a folder, and the folder if nothing else is in it."""
    for path in [*_files(folder), *folder.glob(".*.unfinished")]:
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def plain(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Those values that a checkpoint can hold: JSON and arrays; the others are left out.

    Lists of arrays come back as lists. NumPy's numbers become Python's.
    """
    state, arrays = {}, {}
    for name, value in values.items():
        if _is_array(value):
            arrays[name] = value
        elif isinstance(value, list) and value and all(map(_is_array, value)):
            arrays |= {f"{name}/{i:06d}": part for i, part in enumerate(value)}
        elif _is_plain(value := value.item() if isinstance(value, np.generic) else value):
            state[name] = value
    return state, arrays


def from_plain(state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `plain` took apart."""
    values: dict[str, Any] = dict(state)
    for name, array in sorted(arrays.items()):
        name, several, _ = name.partition("/")
        if several:
            values.setdefault(name, []).append(array)
        else:
            values[name] = array
    return values


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _files(folder: Path) -> list[Path]:
    found = [p for p in folder.glob("*.npz") if re.fullmatch(r"\d{6,}-\d{6,}", p.stem)]
    return sorted(found, key=lambda path: tuple(map(int, path.stem.split("-"))))


def _sync(folder: Path) -> None:
    """Makes the new name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

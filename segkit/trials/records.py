"""What the folder of a trial says of it: `trial.json`, and a lock while a process has it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Iterator, Sequence

FILE = "trial.json"


@dataclass
class Record:
    """What `trial.json` says of the trial in whose folder it lies.

    overrides: as typed, without output.
    status: running, finished, failed, stopped or pruned. Running, and no process has it: it died
        together with whoever ran it.
    error: in one line.
    exit: code of its last process; below 0: minus the signal that ended it.
    value: mean IoU on known cells of the validation.
    seconds: what all its processes took together.
    started: when the first of them did, ISO 8601.
    """

    overrides: list[str]
    status: str = "running"
    error: str | None = None
    exit: int | None = None
    value: float | None = None
    seconds: float = 0.0
    started: str = ""


def read(folder: Path) -> Record | None:
    """The record of the trial in a folder; None where there is none that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Record(**{field.name: content[field.name] for field in fields(Record)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def mean_iou(folder: Path) -> float | None:
    """The score in `metrics.json` of a run; None where there is none."""
    try:
        blocks = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        return blocks["val"]["mean_iou"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[int | None]:
    """A locked file, which a child may inherit; None if another process has it."""
    handle = os.open(folder / ".trial", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield handle if _locked(handle) or _locked(handle) else None
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.05)  # who only asks whether it is locked lets go at once
        return False
    return True


@contextlib.contextmanager
def recorded(folder: Path, overrides: Sequence[str]) -> Iterator[Record]:
    """Writes the record when a trial begins, and when it ends: stopped, unless told otherwise."""
    old, begun = read(folder), time.monotonic()
    record = Record(list(overrides), started=old.started if old else now())
    record.seconds = old.seconds if old else 0.0
    write(folder, record)
    record.status = "stopped"
    try:
        yield record
    finally:
        record.seconds = round(record.seconds + time.monotonic() - begun, 1)
        record.value = mean_iou(folder) if record.status == "finished" else None
        write(folder, record)


def write(folder: Path, record: Record) -> None:
    """Writes the record of the trial in a folder, whole or not at all."""
    unfinished = folder / f".{FILE}.unfinished"
    unfinished.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / FILE)


def now() -> str:
    """The time as records have it."""
    return datetime.now().astimezone().isoformat(timespec="seconds")

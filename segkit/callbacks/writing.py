"""What callbacks that write have in common, and files that are never half written."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any, Iterator, Mapping, Protocol, runtime_checkable

import keras

from segkit.contract import Source

# What of `loss_liver`, `val_iou_liver` belongs to a class.
PER_CLASS = ("iou", "loss", "annotated_share")


class Writer(keras.callbacks.Callback):
    """A callback that writes files or the log.

    `writes` is False in all but one of several workers: there, it follows what happens, and
    leaves files and terminal alone. It says who this process is, and is no state of the training.
    Nor are the attributes that `passing` names: they end with the process.
    """

    writes: bool = True
    passing: frozenset[str] = frozenset()


@runtime_checkable
class NeedsValidation(Protocol):
    """A callback that is handed the validation images before training."""

    def bind(self, source: Source) -> None: ...


@runtime_checkable
class AtEnd(Protocol):
    """A callback that is told how the run ended, once the report is written.

    outcome: `finished`, `stopped` (Ctrl-C, SIGTERM) or `failed`.
    """

    def on_run_end(self, outcome: str) -> None: ...


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; what is there in the end takes the place of `path`.

    The new file is complete and on the disk before it gets its name. If writing fails, the file
    there was is left as it was.
    """
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield unfinished
        with open(unfinished, "rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise


def score(monitor: str, logs: Mapping[str, Any]) -> float:
    """A number of the log.

    Raises:
        ValueError: if it is not there, listing what is.
    """
    if monitor not in logs:
        raise ValueError(f"There is no {monitor!r} in the log. It has: {', '.join(sorted(logs))}.")
    return float(logs[monitor])


def direction(mode: str, monitor: str | None) -> str:
    """Which way a score is better, "max" or "min"; auto: down for a loss or an error, else up.

    Raises:
        ValueError: on another mode.
    """
    if mode not in ("auto", "max", "min"):
        raise ValueError(f"mode must be auto, max or min. Received: {mode!r}.")
    if mode != "auto":
        return mode
    words = (monitor or "").split("_")
    return "min" if "loss" in words or "error" in words else "max"


def broken(logs: Mapping[str, Any]) -> str | None:
    """The first loss in the log that is not a finite number, as `loss is nan`; None if all are."""
    for name in ("loss", "val_loss"):
        value = float(logs.get(name, 0.0))
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None

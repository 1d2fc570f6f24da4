"""One trial of a sweep or a search: run in a process of its own, once, and recorded."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from segkit import run_folders
from segkit.config import compose
from segkit.explaining import explain
from segkit.surroundings import quoted
from segkit.trials import children
from segkit.trials.records import Record, claimed, mean_iou, now, read, recorded, write

CONSOLE = "console.txt"

_POLL = 0.1  # seconds between two looks at a process
_WATCH = 1.0  # seconds between two calls of `watch`
_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)

_composing = threading.Lock()  # Hydra's globals are of the process


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or why it did not begin.

    status: finished, failed, stopped (run again, it goes on), pruned (`watch` ended it), or busy
        (another process has it).
    value: mean IoU on known cells of the validation; None without one.
    error: in one line; None where nothing went wrong.
    seconds: what this call took.
    """

    status: str
    value: float | None = None
    error: str | None = None
    seconds: float = 0.0


def run(
    folder: Path,
    verb: str,
    overrides: Sequence[str],
    watch: Callable[[Path], bool] | None = None,
    *,
    stop: threading.Event | None = None,
    variables: Mapping[str, str] | None = None,
) -> Outcome:
    """Runs a trial in a process of its own, unless it is finished or another process has it.

    Whatever ends that process ends nothing else, and when this one ends, it does, too, after a
    checkpoint. What it says goes to `console.txt`.

    Args:
        folder: of the trial, made if need be. One that stopped or failed goes on.
        verb: of the command line.
        overrides: of the config, without output, which is the folder.
        watch: asked about once a second; True ends the trial after a checkpoint: pruned.
        stop: once it is set, the trial ends likewise: stopped.
        variables: of the environment, for the process.

    Raises:
        OSError: if the folder cannot be written.
        KeyboardInterrupt, SystemExit: when the trial has written its checkpoint.
    """
    begun = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder) as lock:
        if lock is None:
            return Outcome("busy")
        if (folder / "config.yaml").exists():
            known = _known(folder, overrides, composed(verb, overrides, folder))
            if known is not None:
                return known
        with recorded(folder, overrides) as record:
            console = folder / CONSOLE
            before = console.stat().st_size if console.exists() else 0
            given = [*overrides, setting("output", folder)]
            child = children.start(verb, given, console, lock, variables)
            wanted = "stopped"
            try:
                wanted = _follow(child, folder, watch, stop)
            finally:
                record.exit = code = _ended(child)
                record.status = _status(code, wanted)
                if record.status == "failed":
                    record.error = children.reason(code, _said(console, before))
        return _outcome(record, begun)


def run_here(
    folder: Path, config: DictConfig, overrides: Sequence[str], function: Callable[[], Any]
) -> Outcome:
    """Runs a trial in this process, under the conditions of `run` and with its record.

    Args:
        folder: of the trial, made if need be.
        config: of the trial.
        overrides: that it was composed with, without output.
        function: does it. Its exceptions are recorded, but for those that end the process.
    """
    begun = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with claimed(folder) as lock:
        if lock is None:
            return Outcome("busy")
        known = _known(folder, overrides, config)
        if known is not None:
            return known
        with recorded(folder, overrides) as record:
            try:
                function()
                record.status, record.exit = "finished", 0
            except Exception as error:
                ours = isinstance(error, (OmegaConfBaseException, ValueError, OSError))
                words = explain(error) if ours else f"{type(error).__name__}: {error}"
                record.status, record.exit = "failed", 1
                record.error = children.shortened(words)
        return _outcome(record, begun)


def is_busy(folder: Path) -> bool:
    """Whether a process has the trial in a folder, on this machine or a shared disk."""
    if not (folder / ".trial").exists():
        return False
    with claimed(folder) as lock:
        return lock is None


def composed(verb: str, overrides: Sequence[str], folder: Path) -> DictConfig:
    """The config of a trial; works inside a verb, where Hydra is busy, and in threads."""
    with _composing:
        outer = GlobalHydra.instance().hydra
        GlobalHydra.instance().clear()
        try:
            return compose(verb, [*overrides, setting("output", folder)])
        finally:
            GlobalHydra.instance().hydra = outer


def setting(key: str, path: Path) -> str:
    """An override that sets a key to a path, whatever is in its name."""
    return f"{key}={quoted(str(path))}"


def _known(folder: Path, overrides: Sequence[str], config: DictConfig) -> Outcome | None:
    """The outcome of a trial that need not run, or must not."""
    if not (folder / "config.yaml").exists():
        return None
    differing = run_folders.differences(folder, config)
    if differing:
        words = f"{folder.name} was begun with another config: {'; '.join(differing)}"
        return Outcome("failed", mean_iou(folder), words)
    if not run_folders.is_finished(folder):
        return None
    found = read(folder) or Record(list(overrides), started=now())
    if found.status != "finished":  # it was run by hand, or died before the record was written
        found.status, found.error, found.exit = "finished", None, 0
        found.value = mean_iou(folder)
        write(folder, found)
    return Outcome("finished", found.value)


def _follow(
    child: subprocess.Popen,
    folder: Path,
    watch: Callable[[Path], bool] | None,
    stop: threading.Event | None,
) -> str:
    """Waits for the end of a process, or a reason to end it: the status that it has then."""
    asked = time.monotonic()
    while child.poll() is None:
        if stop is not None and stop.is_set():
            return "stopped"
        if watch is not None and time.monotonic() - asked >= _WATCH:
            asked = time.monotonic()
            if watch(folder):
                return "pruned"
        time.sleep(_POLL)
    return "stopped"


def _ended(child: subprocess.Popen) -> int:
    """Lets a process write its checkpoint and end, and returns its exit code."""
    told = None
    if child.poll() is None:
        child.terminate()
    while True:
        try:
            code = child.wait()
            break
        except SystemExit as stop:  # SIGTERM, and it has got one
            told = stop
        except BaseException:  # a second Ctrl-C
            child.kill()
            child.wait()
            raise
    if told is not None:
        raise told
    return code


def _status(code: int, wanted: str) -> str:
    return "finished" if code == 0 else wanted if code in _STOPPED else "failed"


def _outcome(record: Record, begun: float) -> Outcome:
    return Outcome(record.status, record.value, record.error, time.monotonic() - begun)


def _said(console: Path, start: int) -> str:
    with open(console, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")

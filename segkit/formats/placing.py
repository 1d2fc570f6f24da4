"""Files that are written under a hidden name, and stand in their place only when all is well."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, Sequence

_LONG = 24 * 3600  # seconds: no export takes a day
_FULL = 2**20  # bytes; with fewer left, a disk is full


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Path]:
    """A hidden folder in `folder`, which is made if need be; nothing of it is left behind.

    Raises:
        OSError: if it cannot be made, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".export-*"):  # of a process that was killed
            if time.time() - left.stat().st_mtime > _LONG:
                shutil.rmtree(left, ignore_errors=True)
        hidden = tempfile.mkdtemp(prefix=".export-", dir=folder)
    except OSError as error:
        said = error.strerror or error
        raise OSError(f"Cannot write to {folder}: {said}. Choose another folder.") from error
    try:
        yield Path(hidden)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            f"The disk of {folder} is full. Nothing was exported to it: free some space, or "
            "choose another folder with output=DIR."
        ) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room left; OpenVINO and TensorFlow do not say it."""
    return shutil.disk_usage(folder).free < _FULL


def place(hidden: Path, folder: Path, names: Sequence[str]) -> None:
    """Moves files and folders of `hidden` to `folder`, in this order, over what is there."""
    old = hidden / "replaced"
    old.mkdir()
    for name in names:
        target = folder / name
        if target.exists() and (target.is_dir() or (hidden / name).is_dir()):
            os.replace(target, old / name)  # a folder cannot be replaced in one step
        os.replace(hidden / name, target)


@contextlib.contextmanager
def without_notes() -> Iterator[None]:
    """Holds back the notes of converters and runtimes.

    Those in C++ write to stderr past every log level of Python.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    sys.stderr.flush()
    real = os.dup(2)
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(real, 2)
        os.close(real)
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)

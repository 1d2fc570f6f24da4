"""Outputs that appear whole or not at all, and receive strips from the top to the bottom."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Protocol

import numpy as np

from segkit.data.places import Place, is_local

_UNFINISHED = ".unfinished"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Sink(Protocol):
    """Writes one format."""

    def put(self, *values: np.ndarray) -> None:
        """Takes the next rows, (h, W) or (h, W, C)."""

    def close(self) -> None:
        """Completes the file; all rows were there."""

    def abort(self) -> None:
        """Lets go of the file, which is removed then; never raises."""


class Strips:
    """Hands strips to a sink, after a look at their order; `write_ids` and its like make it."""

    def __init__(self, path: Path, height: int, sink: Sink, check: Callable[..., None]):
        self.path, self._height, self._next = path, height, 0
        self._sink, self._check = sink, check

    def write(self, rows: slice, *values: np.ndarray) -> None:
        """Writes rows.start to rows.stop; the first strip begins at 0, each next one at the end
        of the one before.

        Raises:
            ValueError: if they do not, or `values` do not fit. OSError: naming the file, if it
                cannot be written.
        """
        if rows.start != self._next or not rows.start < rows.stop <= self._height or rows.step:
            raise ValueError(
                f"The strips of {self.path} must follow each other from row 0 to {self._height}. "
                f"Received: {rows}, where row {self._next} comes next."
            )
        if any(len(part) != rows.stop - rows.start for part in values):
            raise ValueError(
                f"Rows {rows.start} to {rows.stop} of {self.path} need {rows.stop - rows.start} "
                f"rows of values. Received: {', '.join(str(np.shape(part)) for part in values)}."
            )
        self._check(*values)
        self._next = rows.stop
        with writing(self.path):
            self._sink.put(*values)

    def require_all(self) -> None:
        """Refuses to call a file complete that is not."""
        if self._next < self._height:
            raise ValueError(
                f"{self.path} needs {self._height} rows. Received: {self._next}. Write the others."
            )


@contextmanager
def strips(
    path: Place,
    height: int,
    open_sink: Callable[[Path], Sink],
    check: Callable[..., None],
    folder: bool | None = None,
) -> Iterator[Strips]:
    """Writes a file beside `path` that becomes `path` once all rows are there.

    Args:
        path: on this computer.
        height: rows of the image.
        open_sink: called with where to write.
        check: called with the values of each strip, to raise what is wrong with them.
        folder: whether the sink writes a folder; None: as the ending says.

    Raises:
        ValueError: if rows are missing at the end. OSError: naming `path`, if it cannot be written.
    """
    if not is_local(path):
        raise ValueError(f"Outputs are written to folders of this computer. Received: {path}.")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.suffix.lower() == ".zarr" if folder is None else folder
    with _claimed(path, folder) as unfinished:
        sink, placed = None, False
        try:
            with writing(path):
                sink = open_sink(unfinished)
            writer = Strips(path, height, sink, check)
            yield writer
            writer.require_all()
            with writing(path):
                closing, sink = sink, None
                closing.close()
                _replace(unfinished, path)
            placed = True
        finally:
            if sink is not None:
                sink.abort()
            if not placed:  # else what has its name by now is another process's
                _remove(unfinished)


@contextmanager
def _claimed(path: Path, folder: bool) -> Iterator[Path]:
    """The place beside `path` to write to, empty, which no other process has; theirs ends with it.

    What a process left that was killed is taken over.
    """
    unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
    while True:
        with writing(path):
            if folder:
                unfinished.mkdir(exist_ok=True)
            handle = os.open(unfinished, os.O_RDONLY if folder else os.O_RDONLY | os.O_CREAT, 0o666)
        try:
            _lock(handle, path)
            # Whoever had it may have finished, and it is another file by now.
            if unfinished.exists() and os.path.samestat(os.fstat(handle), os.stat(unfinished)):
                for left in unfinished.iterdir() if folder else ():
                    _remove(left)
                yield unfinished
                return
        finally:
            os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(
            f"{path} is being written by another process. Wait for it, or name another place."
        ) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the system come out with the name of the file and a way out."""
    try:
        yield
    except OSError as error:
        way = "Free some space" if error.errno in _FULL else "Allow it"
        above = error.filename if str(error.filename) in map(str, path.parents) else None
        reason = f"{above}: {error.strerror}" if above else error.strerror or error
        failure = OSError(f"{path} cannot be written: {reason}. {way}, or name another place.")
        failure.errno = error.errno
        raise failure from error


def _replace(unfinished: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():  # os.replace takes the place of empty ones alone
        aside = path.with_name(f".{path.name}.replaced")
        _remove(aside)
        os.rename(path, aside)
        os.rename(unfinished, path)
        _remove(aside)
    else:
        os.replace(unfinished, path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

"""The file that the processes of a search share, and whose turn it is to change it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import warnings
from pathlib import Path
from typing import Iterator

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

FILE = "journal.log"
_LOCKS = ".locks"
_BLOCK = 4096  # bytes

_threads = threading.Lock()


class _Lock(JournalFileOpenLock):
    """The lock of a journal; whoever gets it first takes away a line that was half written.

    A process that is killed, or a disk that is full, may leave one, and everything after it could
    not be read.
    """

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._journal = path

    def acquire(self) -> bool:
        taken = super().acquire()
        try:
            _cut(self._journal)
        except OSError:
            self.release()
            raise
        return taken


def open_storage(folder: Path) -> JournalStorage:
    """The storage of the search in a folder.

    Its lock is a file that only one process can create, which NFS keeps to since its version 3; a
    lock that a killed process left is taken after 30 s.

    Raises:
        ValueError: if the journal is damaged.
        OSError: if it cannot be read or written.
    """
    path = folder.resolve() / FILE
    try:
        backend = JournalFileBackend(str(path), lock_obj=_Lock(path))
        lock = _Lock(path)
        lock.acquire()
        lock.release()
        return JournalStorage(backend)
    except (ValueError, KeyError, AssertionError) as error:
        raise ValueError(
            f"{folder / FILE} cannot be read ({error}): the record of the search is damaged. "
            "Begin another with output=DIR; the runs in trials/ are what they were."
        ) from error


@contextlib.contextmanager
def turn(folder: Path) -> Iterator[None]:
    """While this is open, nobody else draws a trial of this search: no process, no thread."""
    with _threads, _locked(folder / _LOCKS / "turn", wait=True):
        yield


@contextlib.contextmanager
def claimed(folder: Path, number: int) -> Iterator[bool]:
    """Whether this is the one process that is at work on a trial, until this is closed.

    The claim ends with the process, however that ends.
    """
    with _locked(folder / _LOCKS / f"{number:04d}", wait=False) as got:
        yield got


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what Optuna says to its developers, and what it logs, from the user."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            warnings.filterwarnings("ignore", module=r"optuna\.")
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextlib.contextmanager
def _locked(path: Path, wait: bool) -> Iterator[bool]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _cut(path: Path) -> None:
    """Takes what follows the last line feed off the end of a file."""
    with open(path, "rb+") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            at = file.read(end - start).rfind(b"\n")
            if at >= 0:
                end = start + at + 1
                break
            end = start
        if end < size:
            file.truncate(end)

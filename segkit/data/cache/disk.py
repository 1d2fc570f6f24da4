"""The disk cache: one file an entry, shared by runs, never a reason for a run to stop."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import time
import warnings
from pathlib import Path
from typing import BinaryIO, Callable, Sequence

import numpy as np

from segkit.data.cache.entries import MAPPED, Arrays, Damaged, frozen, pack, read, require_key

log = logging.getLogger(__name__)

SPARE = 2**30  # bytes of a disk that stay free, or
SPARE_SHARE = 0.05  # of the disk, if that is less
STAGE = ".writing"  # the folder of unfinished entries
ABANDONED = 3600  # seconds after which an unfinished entry may be that of a run that was killed
# Backup programs skip a folder with such a file: https://bford.info/cachedir
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Decoded images of segkit. Deleting this folder costs time, and nothing else.\n"
)


class DiskCache:
    """Keeps each entry in a file; a `segkit.data.cache.Cache`.

    An entry appears at once and whole, whoever else writes it, and a damaged one is replaced. If
    one cannot be written, a UserWarning says why, and from then on others are made anew.

    Args:
        folder: made when there is something to keep. Deleting it loses nothing but time.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(os.path.abspath(os.path.expanduser(folder)))
        self._stage = self.folder / STAGE
        self._writes = True
        self._unwarned = [True]  # popped by the first thread that warns
        self._verified: set[tuple[str, int, int]] = set()  # mapped files: (key, inode, time)
        _sweep(self._stage)

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """See `segkit.data.cache.Cache`."""
        require_key(key)
        path = f"{self.folder}/{key[:2]}/{key[2:]}"
        try:
            return self._read(path, key)
        except FileNotFoundError:
            pass
        except (OSError, Damaged) as error:
            log.debug("%s is made anew: %s", path, error)
        made = frozen(make())
        if self._writes:
            self._write(path, pack(key, made))
        return made

    def _read(self, path: str, key: str) -> Arrays:
        with open(path, "rb", buffering=0) as file:
            state = os.fstat(file.fileno())
            if state.st_size <= MAPPED:
                return read(file, key)
            # Once is enough: what is verified is in the disk's cache, and what replaces it is new.
            version = key, state.st_ino, state.st_mtime_ns
            found = read(file, key, verify=version not in self._verified)
        self._verified.add(version)
        return found

    def _write(self, path: str, parts: Sequence[bytes | np.ndarray]) -> None:
        try:
            if not self._stage.is_dir():
                self._make_folders()
            _require_room(self.folder, sum(memoryview(part).nbytes for part in parts))
            unfinished = self._stage / secrets.token_hex(16)
            try:
                with open(unfinished, "xb") as file:
                    _hold(file)
                    file.writelines(parts)
                    file.flush()
                    _move(unfinished, path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
        except FileNotFoundError as error:  # somebody is deleting the folder
            log.debug("%s is not kept: %s", path, error)
        except OSError as error:
            self._give_up(error)

    def _make_folders(self) -> None:
        # Nobody else's business, as they may be images of patients; a folder that is to be
        # shared is made beforehand.
        os.makedirs(self.folder, mode=0o700, exist_ok=True)
        self._stage.mkdir(exist_ok=True)
        (self.folder / "CACHEDIR.TAG").write_text(_TAG)

    def _give_up(self, error: OSError) -> None:
        self._writes = False
        try:
            self._unwarned.pop()
        except IndexError:
            return
        warnings.warn(
            f"The cache {self.folder} cannot be written to: {error.strerror or error}. The images "
            "that are not in it are decoded in every epoch. Make room there or let this user "
            "write to it, or choose another folder (cache_folder) or another kind (cache=memory, "
            "cache=none).",
            stacklevel=4,
        )


def _require_room(folder: Path, size: int) -> None:
    disk = os.statvfs(folder)
    total, free = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
    # Some network file systems do not say how large they are.
    if total and free - size < min(SPARE, SPARE_SHARE * total):
        raise OSError(errno.ENOSPC, f"{free / 2**30:.1f} GiB of the disk are free, and stay so")


def _hold(file: BinaryIO) -> None:
    """Marks a file as being written; the mark goes when its process does, however it ends."""
    with contextlib.suppress(OSError):  # not every network file system can
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _move(unfinished: Path, path: str) -> None:
    try:
        os.replace(unfinished, path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(unfinished, path)


def _sweep(stage: Path) -> None:
    """Deletes what was being written by runs that were killed."""
    with contextlib.suppress(OSError):
        for path in stage.iterdir():
            with contextlib.suppress(OSError):
                _delete_if_abandoned(path)


def _delete_if_abandoned(path: Path) -> None:
    # The age counts too, as a file is not held right from its first moment.
    if time.time() - path.stat().st_mtime < ABANDONED:
        return
    with open(path, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # its writer lives
        except OSError:
            pass  # nothing can be held here, and no entry takes an hour
        path.unlink()

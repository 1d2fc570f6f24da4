"""Arrays that took long to make, kept: in memory for this run, or on disk for all that follow."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO, Callable, Protocol

from segkit.data.cache.disk import DiskCache
from segkit.data.cache.entries import Arrays, frozen, require_key
from segkit.data.places import opened

log = logging.getLogger(__name__)

KINDS = ("none", "memory", "disk")
_DIGEST = 16  # bytes
_USUAL_LIMIT = 2 * 2**30  # bytes, where nobody knows how much memory there is
_ENTRY = 1024  # bytes that an entry takes in memory besides its arrays
_S3 = ("s3", "s3a")
# What file systems say about a file that changes whenever its content does.
_TAGS = ("ETag", "etag", "generation", "Content-MD5", "Digest")


class Cache(Protocol):
    """Arrays by key; any number of threads may ask at once."""

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, read-only.

        Args:
            key: a hex digest of everything that the arrays depend on; see `content_key`.
            make: called where they are not kept; two threads may both call it for one key. What
                it raises comes through, and nothing is kept.

        Raises:
            ValueError: if the key is no hex digest, or `make` gives others than plain numbers.
        """
        ...


def open_cache(kind: str, folder: str | Path | None = None) -> Cache:
    """The cache of a kind.

    Args:
        kind: "none", "memory" (this process, bounded), or "disk" (later runs find it, too).
        folder: of the disk cache; runs may share it. None: segkit in $XDG_CACHE_HOME or ~/.cache.

    Raises:
        ValueError: on another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"cache must be one of {', '.join(KINDS)}. Received: {kind!r}.")
    if kind == "disk":
        return DiskCache(usual_folder() if folder is None else folder)
    return MemoryCache() if kind == "memory" else NoCache()


def usual_folder() -> Path:
    """segkit in $XDG_CACHE_HOME, or in ~/.cache."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    # Relative paths are to be ignored, the XDG base directory specification says.
    return Path(named if os.path.isabs(named) else "~/.cache", "segkit")


def content_key(*parts: str | bytes) -> str:
    """A hex digest of the parts, in order; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def file_key(path: Any) -> str:
    """A hex digest of a file's content; copies of a file share it.

    A remote file is not fetched if its file system names a hash of the content (S3, Google
    Cloud), or a tag that changes with it; with a tag, the digest is of the path as well.

    Args:
        path: a Path, or a UPath.

    Raises:
        OSError: if it cannot be read.
    """
    if isinstance(path, (str, os.PathLike)):
        with opened(Path(path)) as file:
            return _digest(file)
    info = path.fs.info(path.path)
    size = str(info.get("size"))
    hashed = info.get("md5Hash") or (info.get("ETag") if path.protocol in _S3 else None)
    if hashed:
        return content_key("hash", size, str(hashed))
    tags = [f"{name}={info[name]}" for name in _TAGS if info.get(name)]
    # A weak tag (W/) promises the same meaning, not the same bytes.
    if tags and "=W/" not in "".join(tags):
        return content_key("tag", str(path), size, *tags)
    with path.open("rb") as file:
        return _digest(file)


class NoCache:
    """Makes everything anew."""

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """See `Cache`."""
        require_key(key)
        return frozen(make())


class MemoryCache:
    """Keeps arrays in memory until `limit` is reached; from then on, others are made anew.

    Nothing makes room for what comes later: an epoch asks for each image once, in an order of its
    own, so what was dropped would be asked for as soon as what took its place.

    Args:
        limit: bytes; None: a quarter of the memory that is available now.
    """

    def __init__(self, limit: int | None = None):
        self.limit = _available_memory() // 4 if limit is None else limit
        self._left = self.limit
        self._entries: dict[str, Arrays] = {}
        self._lock = threading.Lock()
        self._unsaid = [True]  # popped by the first thread that says it is full

    def get(self, key: str, make: Callable[[], Arrays]) -> Arrays:
        """See `Cache`."""
        found = self._entries.get(key)
        if found is not None:
            return found
        require_key(key)
        made = frozen(make())
        size = sum(array.nbytes for array in made) + _ENTRY
        with self._lock:
            if key in self._entries:  # of another thread, meanwhile
                return self._entries[key]
            if size <= self._left:
                self._left -= size
                # Copies: a view would keep alive all of the array that it shows a part of.
                self._entries[key] = frozen([array.copy() for array in made])
                return self._entries[key]
        self._say_full()
        return made

    def _say_full(self) -> None:
        try:
            self._unsaid.pop()
        except IndexError:
            return
        log.info(
            "The cache in memory is full (%.2f GiB): the images that are not in it are decoded in "
            "every epoch. cache=disk keeps all of them.",
            self.limit / 2**30,
        )


def _digest(file: BinaryIO) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    while chunk := file.read(2**20):
        digest.update(chunk)
    return digest.hexdigest()


def _available_memory() -> int:
    """Bytes, on Linux; what a container may use at most, if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        found = available * 1024
    except (OSError, ValueError, StopIteration):
        return _USUAL_LIMIT * 4
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found = min(found, int(Path(path).read_text()))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return found

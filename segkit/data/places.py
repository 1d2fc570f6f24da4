"""Where files lie: a folder of this computer, or a URL (s3, gs, memory, https, ...).

Nothing of a URL but its protocol is interpreted here: `universal_pathlib` and `fsspec` do that.
What a server needs beside the URL comes from the environment, where it stays out of configs and
reports. For S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_PROFILE as everywhere, and
AWS_ENDPOINT_URL for a server that is not Amazon's (MinIO, Ceph); any option of s3fs as
FSSPEC_S3_NAME, FSSPEC_S3_ANON=true for public buckets. For other protocols alike:
FSSPEC_PROTOCOL_OPTION.
"""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Iterator

import fsspec
from fsspec.registry import known_implementations
from upath import UPath

Place = Path | UPath

_PROTOCOL = re.compile(r"([a-z][a-z0-9+.-]+)(?:::|://)", re.IGNORECASE)
_LOCAL = ("", "file", "local")
_BLOCK = 2**18  # bytes that a look at a header fetches; s3fs would take 50 MB


def place(root: str | os.PathLike) -> Place:
    """The place that a path or URL names: a `Path` on this computer, else a `UPath`.

    Raises:
        ValueError: if nobody knows the protocol, or its package is missing.
    """
    if isinstance(root, UPath):
        return Path(root.path) if root.protocol in _LOCAL else root
    text = os.fspath(root)
    protocol = _PROTOCOL.match(text)
    if protocol is None:
        return Path(text)
    try:
        fsspec.get_filesystem_class(protocol[1])
    except ImportError as error:
        package = known_implementations[protocol[1]]["class"].partition(".")[0]
        what = f"pip install {package}" if package != "fsspec" else str(error)
        raise ValueError(
            f"{text} cannot be opened: a package for {protocol[1]}:// is missing. Received: "
            f"{error}. Install it: {what}."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{text} is neither a path nor a URL that can be opened. Received: the protocol "
            f"{protocol[1]!r}. Known ones are s3, gs, az, http, https, sftp and memory."
        ) from error
    if protocol[1] in _LOCAL:
        return Path(UPath(text).path)
    return UPath(text)


def is_local(place: Place) -> bool:
    """Whether it lies on this computer, so that `os` can be asked about it."""
    return isinstance(place, Path)


def read_bytes(place: Place) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError, OSError: naming the file.
    """
    with named(place):
        if isinstance(place, Path):
            with open(place, "rb", buffering=0) as file:
                return file.read()
        return place.fs.cat_file(place.path)  # one request; open() would ask for the size first


def composed(text: str) -> str:
    """The text in Unicode's composed form: macOS stores an umlaut as two characters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_folder(place: Place) -> bool:
    """Whether there is such a folder.

    Raises:
        OSError: naming the place, if that cannot be told.
    """
    with named(place):
        return place.is_dir()


def is_file(place: Place) -> bool:
    """Whether there is such a file.

    Raises:
        OSError: naming the place, if that cannot be told.
    """
    with named(place):
        return place.is_file()


@contextmanager
def opened(place: Place) -> Iterator[BinaryIO]:
    """A file to read some of: of a remote one, only the blocks looked at are fetched.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError, OSError: naming the file.
    """
    with named(place):
        if isinstance(place, Path):
            file = open(place, "rb")
        else:
            file = place.fs.open(place.path, "rb", block_size=_BLOCK)
    with file:
        yield file


@contextmanager
def named(place: Place) -> Iterator[None]:
    """Errors of the system come out with the name of the place and a way out."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {place}. Restore it.") from error
    except PermissionError as error:
        way = f"Allow it (chmod u+r {place})" if is_local(place) else "Check the credentials"
        raise PermissionError(f"{place} may not be read: {_last(error)}. {way}.") from error
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{place} is a folder. Expected: a file.") from error
    except MemoryError:
        raise
    # Servers fail in the words of their clients: NoCredentialsError, EndpointConnectionError, ...
    except Exception as error:
        where = "the disk" if is_local(place) else "the connection and the credentials"
        raise OSError(f"{place} cannot be read: {_last(error)}. Check {where}.") from error


def _last(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return f"{type(error).__name__}: {text.rstrip('.')}"

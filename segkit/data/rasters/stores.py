"""zarr (versions 2 and 3) by window: folders, URLs and .zarr.zip."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

import numpy as np
import zarr
from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
from fsspec.implementations.zip import ZipFileSystem
from zarr.abc.store import Store
from zarr.storage import FsspecStore, LocalStore

from segkit.data.places import Place, is_file, is_local, named, opened
from segkit.data.rasters.axes import Arrangement, arrangement
from segkit.data.rasters.raster import WHAT, Stored
from segkit.data.rasters.segments import Segments
from segkit.data.readers.bands import BANDS, GREY, RGB
from segkit.data.readers.bands import Raster as Decoded
from segkit.data.readers.formats import IMAGE_SUFFIXES, Unreadable, reading, require_size

STORE_SUFFIXES = (".zarr", ".zarr.zip")
MARKERS = ("zarr.json", ".zarray", ".zgroup")

_ZIPPED = STORE_SUFFIXES[1]
_SEGMENT = 256  # rows and columns at least: a call costs as much as decoding thousands of values
# What may be run to decode. numcodecs' "pickle" would run whatever the file says.
_CODECS = {
    *("blosc", "bz2", "gzip", "lz4", "lzma", "zlib", "zstd", "zfpy", "pcodec"),
    *("astype", "bitround", "delta", "fixedscaleoffset", "packbits", "quantize", "shuffle"),
    *("adler32", "crc32", "crc32c", "fletcher32", "jenkins_lookup3"),
    *("bytes", "transpose", "sharding_indexed"),
}


def is_store(path: Place) -> bool:
    """Whether a place is to be read as zarr: by its name, or by what lies in the folder."""
    name = file_name(path).lower()
    if name.endswith(STORE_SUFFIXES) or name.endswith(IMAGE_SUFFIXES) or is_web(path):
        return name.endswith(STORE_SUFFIXES)  # web servers may answer whatever is asked
    return any(is_file(path / marker) for marker in MARKERS)


def is_web(path: Place) -> bool:
    """Whether a place is a URL of http or https, which know no folders, and end with a query."""
    return not is_local(path) and path.protocol in ("http", "https")


def file_name(path: Place) -> str:
    """The name of a file, without the query of a URL."""
    return PurePosixPath(urlsplit(str(path)).path).name if is_web(path) else path.name


def stored_in_zarr(path: Place, channels: int, cache: int, stack: ExitStack) -> Stored:
    """What a zarr array or group holds, by window.

    Args:
        path: see `open_raster`.
        channels: that are expected; tell which axis holds them if the store does not.
        cache: see `Segments`.
        stack: closes what is opened here.

    Raises:
        FileNotFoundError, OSError: if it is gone or may not be read. Unreadable: if it is damaged,
            or holds no image.
    """
    with _explained(path):
        array, names = _array(_open(path, stack), path)
        _require_harmless(array, path)
        axes = arrangement(array.shape, names or _names(array), channels, path)
        bands = 1 if axes.channels is None else array.shape[axes.channels]
        height, width = array.shape[axes.rows], array.shape[axes.columns]
        if min(height, width, bands) < 1:
            require_size(height, width, bands, path)  # whose words they are
        size = [_segment(array, axis) for axis in (axes.rows, axes.columns)]
        require_size(*size, bands, path)  # it is decoded at once
        decode = partial(_decode, array, axes, size, path)
        values = Segments((height, width, bands), array.dtype, tuple(size), decode, cache)
    content = {1: GREY, 3: RGB}.get(bands, BANDS)
    return Stored(values, partial(Decoded, content=content))


@contextmanager
def _explained(path: Place) -> Iterator[None]:
    """Errors of zarr as those of other files."""
    with reading(path, WHAT):
        try:
            yield
        except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
            with named(path):
                raise error


def _open(path: Place, stack: ExitStack) -> zarr.Array | zarr.Group:
    inside, store = "", _store(path, stack)
    if file_name(path).lower().endswith(_ZIPPED):
        inside = _root(store.fs.sync_fs, path)
    return zarr.open(store, mode="r", path=inside)


def _store(path: Place, stack: ExitStack) -> Store:
    if file_name(path).lower().endswith(_ZIPPED):
        archive = ZipFileSystem(stack.enter_context(opened(path)))
        return FsspecStore(
            AsyncFileSystemWrapper(archive, asynchronous=True), read_only=True, path=""
        )
    if is_local(path):
        return LocalStore(path, read_only=True)
    options = dict(path.storage_options)
    return FsspecStore.from_url(str(path), storage_options=options, read_only=True)


def _root(archive: ZipFileSystem, path: Place) -> str:
    """The folder of an archive that holds the store: people zip the folder or what is in it."""
    folders = [""] + [entry["name"].strip("/") for entry in archive.ls("", detail=True)]
    for folder in folders:
        if any(archive.exists(f"{folder}/{marker}".lstrip("/")) for marker in MARKERS):
            return folder
    raise Unreadable(
        f"{path} cannot be read as {WHAT}: it holds no zarr store, in which there is one of "
        f"{', '.join(MARKERS)}. Zip the content of the store."
    )


def _array(node: zarr.Array | zarr.Group, path: Place) -> tuple[zarr.Array, Sequence[str] | None]:
    """The array itself; of a group, the first level of its multiscales, or "0", or the only one.

    Returns:
        the array, and what a group in OME's format calls its axes.
    """
    if isinstance(node, zarr.Array):
        return node, None
    level, names = _multiscales(node.attrs)
    arrays = sorted(name for name, _ in node.arrays())
    if level is None:
        level = "0" if "0" in arrays else arrays[0] if len(arrays) == 1 else None
    array = node.get(level) if level is not None else None
    if not isinstance(array, zarr.Array):
        raise Unreadable(
            f"{path} is a zarr group that does not say which of its arrays is the image. Received: "
            f"{', '.join(arrays[:5]) or 'no arrays'}. Name the array: {path}/NAME."
        )
    return array, names


def _multiscales(attributes: Mapping[str, Any]) -> tuple[str | None, Sequence[str] | None]:
    """The path of the largest level and the names of the axes, if OME-Zarr's attributes say so."""
    try:
        image = attributes.get("ome", attributes)["multiscales"][0]
        level = str(image["datasets"][0]["path"])
    except (KeyError, IndexError, TypeError):
        return None, None
    axes = image.get("axes")  # 0.3 lists names, later versions objects
    if not isinstance(axes, list):
        return level, None
    return level, [str(a.get("name") if isinstance(a, Mapping) else a) for a in axes]


def _names(array: zarr.Array) -> Sequence[str] | None:
    """What the axes are called: by zarr 3 or xarray."""
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return None if named is None or None in named else [str(name) for name in named]


def _segment(array: zarr.Array, axis: int) -> int:
    """Rows or columns that are decoded at once: whole chunks."""
    chunk, length = array.chunks[axis], array.shape[axis]
    return min(length, chunk * max(1, -(-_SEGMENT // chunk)))


def _decode(
    array: zarr.Array, axes: Arrangement, size: Sequence[int], path: Place, row: int, column: int
) -> np.ndarray:
    chosen: list[int | slice] = [0] * array.ndim
    chosen[axes.rows] = slice(row * size[0], (row + 1) * size[0])
    chosen[axes.columns] = slice(column * size[1], (column + 1) * size[1])
    if axes.channels is not None:
        chosen[axes.channels] = slice(None)
    with _explained(path):
        values = np.asarray(array[tuple(chosen)])
    # The axes that are left stand in the order of the array.
    order = sorted(axis for axis in axes if axis is not None)
    wanted = [order.index(axis) for axis in axes if axis is not None]
    values = values.transpose(wanted)
    return values[..., None] if axes.channels is None else values


def _require_harmless(array: zarr.Array, path: Place) -> None:
    """Refuses what would run more than the decoding of numbers."""
    described = array.metadata.to_dict()
    codecs = described.get("codecs") or [*(described.get("filters") or ()), described["compressor"]]
    strange = [
        codec for codec in _codecs(codecs) if codec.removeprefix("numcodecs.") not in _CODECS
    ]
    if strange:
        raise Unreadable(
            f"{path} is stored with the codec {strange[0]}, which is not one for images, or may "
            f"run code. Known: {', '.join(sorted(_CODECS))}. Store it again with zstd."
        )


def _codecs(described: Any) -> Iterator[str]:
    """The names of codecs, and of those that they call."""
    if isinstance(described, Mapping):
        yield str(described.get("id") or described.get("name"))
        inside = described.get("configuration") or {}
        yield from _codecs([*inside.get("codecs", ()), *inside.get("index_codecs", ())])
    elif isinstance(described, (list, tuple)):
        for one in described:
            yield from _codecs(one)

"""zarr by window: versions, axes, groups, archives, URLs, and what may not be run."""

import json
import os
import pickle
import shutil
import zipfile

import fsspec
import numcodecs
import numpy as np
import pytest
import zarr

from segkit.data.places import place
from segkit.data.rasters import open_raster

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 300, 310
COLORS = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
FIRST = np.moveaxis(COLORS, -1, 0)
EVERYTHING = slice(0, HEIGHT), slice(0, WIDTH)


def write(path, array, chunks=None, **options):
    """Writes an array as zarr."""
    made = zarr.create_array(
        path,
        shape=array.shape,
        dtype=array.dtype,
        chunks=chunks or tuple(min(64, edge) for edge in array.shape),
        **options,
    )
    made[...] = array
    return path


def same(path, expected=COLORS, channels=3):
    with open_raster(path, channels) as raster:
        assert raster.by_window and raster.shape == expected.shape[:2]
        np.testing.assert_array_equal(raster.read(*EVERYTHING), expected)
        window = slice(63, 257), slice(250, 310)
        found = raster.read(*window)
        assert found.dtype == expected.dtype and found.flags.c_contiguous
        np.testing.assert_array_equal(found, expected[window])


STORES = {
    "version 3": lambda path: write(path, COLORS),
    "version 2": lambda path: write(path, COLORS, zarr_format=2),
    "shards": lambda path: write(path, COLORS, (32, 32, 3), shards=(128, 64, 3)),
    "bands first": lambda path: write(path, FIRST),
    "named": lambda path: write(path, FIRST.swapaxes(1, 2), dimension_names=("c", "x", "y")),
    "times": lambda path: write(path, FIRST[None, :, None], dimension_names=tuple("tczyx")),
    "single axes": lambda path: write(path, COLORS[None, None]),
    "xarray": lambda path: write(
        path, FIRST, zarr_format=2, attributes={"_ARRAY_DIMENSIONS": ["band", "y", "x"]}
    ),
    "delta": lambda path: write(
        path, COLORS, zarr_format=2, filters=[numcodecs.Delta("u1")], compressors=numcodecs.LZ4()
    ),
    "rows": lambda path: write(path, COLORS, (1, WIDTH, 3)),
    "one chunk": lambda path: write(path, COLORS, COLORS.shape),
}


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
def test_stores(tmp_path, make):
    same(make(tmp_path / "a.zarr"))
    (tmp_path / "a.zarr").rename(tmp_path / "a")  # a folder of any name
    same(tmp_path / "a")


def test_values_are_those_of_other_files(tmp_path):
    grey = COLORS[..., 0]
    same(write(tmp_path / "g.zarr", grey), np.repeat(grey[..., None], 3, -1))
    deep = grey.astype(np.uint16) * 257
    same(write(tmp_path / "d.zarr", deep), (grey / np.float32(255)).astype("f4")[..., None], 1)
    ten = RNG.random((10, HEIGHT, WIDTH), np.float32)
    same(write(tmp_path / "t.zarr", ten), np.moveaxis(ten, 0, -1).copy(), 10)
    with pytest.raises(ValueError, match=r"t\.zarr must hold one image.*\(10, 300, 310\)"):
        open_raster(tmp_path / "t.zarr").__enter__()
    write(tmp_path / "four.zarr", np.dstack([COLORS, grey]))
    with pytest.raises(ValueError, match=r"four\.zarr must have 3 channels.*4 \(bands\)"):
        open_raster(tmp_path / "four.zarr").__enter__()
    wrong = write(tmp_path / "n.zarr", np.full((9, 9), np.nan))
    with open_raster(wrong, 1) as raster:
        with pytest.raises(ValueError, match=r"n\.zarr holds NaN or infinity in 9 of 9 pixels"):
            raster.read(slice(2, 3), slice(0, 9))


OME = [{"datasets": [{"path": "big"}, {"path": "small"}], "axes": [{"name": n} for n in "cyx"]}]
GROUPS = {
    "OME 0.4": (2, {"multiscales": OME}, "big"),
    "OME 0.5": (3, {"ome": {"multiscales": OME}}, "big"),
    "OME 0.3": (2, {"multiscales": [OME[0] | {"axes": ["c", "y", "x"]}]}, "big"),
    "without attributes": (3, {}, "0"),
}


@pytest.mark.parametrize("version, attributes, name", GROUPS.values(), ids=GROUPS)
def test_the_largest_level_of_a_group(tmp_path, version, attributes, name):
    path = tmp_path / "a.zarr"
    zarr.create_group(path, zarr_format=version, attributes=attributes)
    write(path / "small", FIRST[:, ::2, ::2], zarr_format=version)
    write(path / name, FIRST, zarr_format=version)
    same(path)
    same(path / name)


def test_a_group_that_does_not_say(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(path)
    with pytest.raises(ValueError, match=r"a\.zarr is a zarr group .*Received: no arrays"):
        open_raster(path).__enter__()
    write(path / "x", COLORS)
    same(path)  # the only one
    write(path / "y", COLORS)
    with pytest.raises(ValueError, match=r"Received: x, y\. Name the array: .*a\.zarr/NAME"):
        open_raster(path).__enter__()


@pytest.mark.parametrize("inside", ["", "a.zarr/"])
@pytest.mark.parametrize("version", [2, 3])
def test_archives(tmp_path, inside, version):
    write(tmp_path / "a.zarr", COLORS, zarr_format=version)
    with zipfile.ZipFile(tmp_path / "a.zarr.zip", "w") as archive:
        for path in (tmp_path / "a.zarr").rglob("*"):
            if path.is_file():
                archive.write(path, inside + str(path.relative_to(tmp_path / "a.zarr")))
    shutil.rmtree(tmp_path / "a.zarr")
    same(tmp_path / "a.zarr.zip")
    fsspec.filesystem("memory").put(str(tmp_path / "a.zarr.zip"), "memory://zips/a.zarr.zip")
    same(place("memory://zips/a.zarr.zip"))


@pytest.mark.parametrize("version", [2, 3])
def test_urls(tmp_path, version):
    write(tmp_path / "a.zarr", COLORS, zarr_format=version)
    url = f"memory://stores/{version}/a.zarr"
    fsspec.filesystem("memory").put(str(tmp_path / "a.zarr"), url, recursive=True)
    same(place(url))


def test_damage_is_named(tmp_path):
    path = write(tmp_path / "a.zarr", COLORS)
    chunk = path / "c/4/4/0"
    chunk.write_bytes(chunk.read_bytes()[:100])
    with open_raster(path) as raster:
        raster.read(slice(0, 256), slice(0, WIDTH))
        with pytest.raises(ValueError, match=r"a\.zarr cannot be read as an image: .*Restore"):
            raster.read(*EVERYTHING)
    for text in ("", "{}", "[]", '{"zarr_format": 3, "node_type": "array"}', "hello"):
        (path / "zarr.json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.zarr cannot be read as an image"):
            open_raster(path).__enter__()
    (path / "zarr.json").unlink()
    with pytest.raises(OSError, match=r"There is no .*a\.zarr"):
        open_raster(path).__enter__()
    (tmp_path / "b.zarr.zip").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(ValueError, match=r"b\.zarr\.zip cannot be read as an image"):
        open_raster(tmp_path / "b.zarr.zip").__enter__()
    with zipfile.ZipFile(tmp_path / "c.zarr.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"c\.zarr\.zip .* holds no zarr store"):
        open_raster(tmp_path / "c.zarr.zip").__enter__()


class Payload:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


PICKLE, DELTA = {"id": "pickle"}, {"id": "delta", "dtype": "|u1"}


@pytest.mark.parametrize(
    "change",
    [
        {"compressor": PICKLE},
        {"filters": [PICKLE]},
        {"filters": [DELTA], "compressor": PICKLE},
        {"filters": [DELTA, PICKLE]},
        {"dtype": "|O", "filters": [PICKLE], "fill_value": None},
    ],
)
def test_what_would_run_code_is_refused(tmp_path, change):
    path = write(tmp_path / "a.zarr", COLORS[:9, :9], zarr_format=2, compressors=None)
    described = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(described | change))
    (path / "0.0.0").write_bytes(pickle.dumps(Payload(tmp_path / "trace")))
    with pytest.raises(ValueError, match=r"a\.zarr .*pickle"):
        with open_raster(path) as raster:
            raster.read(slice(0, 9), slice(0, 9))
    assert not (tmp_path / "trace").exists()


def test_strange_codecs_are_named(tmp_path):
    path = write(tmp_path / "a.zarr", COLORS, zarr_format=2)
    described = json.loads((path / ".zarray").read_text())
    described["filters"] = [DELTA, {"id": "base64"}]
    (path / ".zarray").write_text(json.dumps(described))
    with pytest.raises(ValueError, match=r"a\.zarr is stored with the codec base64.*run code"):
        open_raster(path).__enter__()


def test_a_chunk_that_would_fill_the_memory_is_refused(tmp_path):
    path = write(tmp_path / "a.zarr", COLORS, zarr_format=2)
    described = json.loads((path / ".zarray").read_text())
    change = {"shape": [10**6, 10**6, 3], "chunks": [10**5, 10**5, 3]}
    (path / ".zarray").write_text(json.dumps(described | change))
    with pytest.raises(ValueError, match=r"a\.zarr .*100,000 x 100,000 pixels"):
        open_raster(path).__enter__()

"""Ids, planes and overlays in strips: what is read back, what is left after an error."""

import errno
import json
import os
import resource

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from upath import UPath

from segkit.data.class_folders import class_files
from segkit.data.listing import entries
from segkit.data.rasters import (
    ID_SUFFIXES,
    PLANE_SUFFIXES,
    open_raster,
    saving,
    tiff_sink,
    write_class_files,
    write_ids,
    write_overlay,
    write_planes,
)
from segkit.data.rasters.saving import writing
from segkit.data.readers import read_mask
from segkit.data.readers.class_files import read_class_files
from segkit.labels import LabelSpace

RNG = np.random.default_rng(0)
LABELS = LabelSpace(
    ["background", "Zelle", "Kern ü"], palette=[(0, 0, 0), (255, 0, 0), (0, 9, 250)]
)
HEIGHT, WIDTH = 150, 70
IDS = RNG.integers(0, 3, (HEIGHT, WIDTH))
PLANES = RNG.random((HEIGHT, WIDTH, 3), np.float32)
IMAGE = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
STRIPS = (1, 40, 7, 100, 2)  # heights


def push(writer, *values):
    """Writes strips of several heights."""
    top = 0
    for height in STRIPS:
        rows = slice(top, top + height)
        writer.write(rows, *(part[rows] for part in values))
        top += height


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """So that these images have several rows of them."""
    monkeypatch.setattr(tiff_sink, "_TILE", 32)


def described(path):
    """The description in a file."""
    if path.suffix == ".png":
        with Image.open(path) as picture:
            return json.loads(picture.info["Description"])
    if path.suffix == ".zarr":
        return dict(zarr.open(path, mode="r").attrs)
    with tifffile.TiffFile(path) as tiff:
        return json.loads(tiff.pages[0].description)


@pytest.mark.parametrize("suffix", ID_SUFFIXES)
def test_ids(tmp_path, suffix):
    path = tmp_path / f"new/folder/a.b{suffix.upper()}"
    with write_ids(path, IDS.shape, LABELS, metadata={"runs": ["r"]}) as writer:
        push(writer, IDS)
        assert not path.exists()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    if suffix == ".zarr":
        found = zarr.open(path, mode="r")
        assert found.metadata.dimension_names == ("y", "x")
        np.testing.assert_array_equal(found[:], IDS)
        assert found.dtype == np.uint8
    else:
        np.testing.assert_array_equal(read_mask(path, LABELS), IDS)
    if suffix != ".npy":
        expected = {"labels": LABELS.to_dict(), "runs": ["r"]}
        assert described(path.rename(tmp_path / f"a{suffix}")) == expected


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_ids_are_shown_in_the_colours_of_their_classes(tmp_path, suffix):
    with write_ids(tmp_path / f"a{suffix}", IDS.shape, LABELS) as writer:
        push(writer, IDS)
    with Image.open(tmp_path / f"a{suffix}") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(picture.convert("RGB"), np.array(LABELS.palette)[IDS])


@pytest.mark.parametrize("suffix", ID_SUFFIXES)
def test_more_classes_than_colours(tmp_path, suffix):
    labels = LabelSpace([f"c{c}" for c in range(300)], ignore_index=None)
    ids = np.arange(HEIGHT * WIDTH).reshape(IDS.shape) % 300
    with write_ids(tmp_path / f"a{suffix}", ids.shape, labels) as writer:
        push(writer, ids)
    if suffix == ".zarr":
        np.testing.assert_array_equal(zarr.open(tmp_path / "a.zarr", mode="r")[:], ids)
    else:
        np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}", labels), ids)


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
@pytest.mark.parametrize("suffix", PLANE_SUFFIXES)
def test_planes(tmp_path, suffix, dtype):
    path, planes = tmp_path / f"a{suffix}", (PLANES > 0.5) if dtype == "uint8" else PLANES
    with write_planes(path, IDS.shape, LABELS, dtype, metadata={"x": None}) as writer:
        push(writer, planes)
    if suffix == ".npy":
        found = np.load(path)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, planes.astype(dtype))
    else:
        assert described(path) == {"labels": LABELS.to_dict(), "x": None}
    with open_raster(path, 3) as raster:
        found = raster.read(slice(0, HEIGHT), slice(0, WIDTH))
    expected = planes.astype(dtype)
    np.testing.assert_array_equal(found, expected if dtype == "uint8" else expected.astype("f4"))
    if dtype != "uint8":
        np.testing.assert_allclose(found, planes, atol=0.00025 if dtype == "float16" else 0)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_planes_of_independent_classes(tmp_path, classes):
    labels = LabelSpace([f"c{c}" for c in range(classes)], background=None, exclusive=False)
    planes = RNG.random((HEIGHT, WIDTH, classes), np.float32)
    for suffix in PLANE_SUFFIXES:
        with write_planes(tmp_path / f"a{suffix}", IDS.shape, labels, "float32") as writer:
            push(writer, planes)
        with open_raster(tmp_path / f"a{suffix}", classes) as raster:
            found = raster.read(slice(0, HEIGHT), slice(0, WIDTH))
        np.testing.assert_array_equal(found, planes)


@pytest.mark.parametrize("compression", [None, "zlib"])  # by window, and decoded whole
def test_tiff_keeps_resolution_and_georeference(tmp_path, compression):
    scale, tie = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 4e5, 5e6, 0.0)
    tags = [(33550, "d", 3, scale, True), (33922, "d", 6, tie, True)]
    tags.append((34735, "H", 4, (1, 1, 0, 0), True))
    options = {"resolution": (300, 300), "resolutionunit": "INCH", "photometric": "rgb"}
    options["compression"] = compression
    tifffile.imwrite(tmp_path / "image.tif", IMAGE, extratags=tags, **options)
    with open_raster(tmp_path / "image.tif") as raster:
        with write_ids(tmp_path / "ids.tif", IDS.shape, LABELS, like=raster) as writer:
            push(writer, IDS)
    with tifffile.TiffFile(tmp_path / "ids.tif") as tiff:
        found = tiff.pages[0].tags
        assert tiff.pages[0].is_tiled and tiff.pages[0].compression.name == "ADOBE_DEFLATE"
        assert tuple(found[33550].value) == scale and tuple(found[33922].value) == tie
        assert tuple(found[34735].value) == (1, 1, 0, 0)
        assert found[282].value == (300, 1) and found[296].value.name == "INCH"


def test_large_tiffs_have_large_offsets(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_sink, "_CLASSIC", 1000)
    with write_ids(tmp_path / "a.tif", IDS.shape, LABELS) as writer:
        push(writer, IDS)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_bigtiff
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif", LABELS), IDS)


WRITERS = [(write_ids, suffix, (IDS,)) for suffix in ID_SUFFIXES if suffix != ".tiff"]
WRITERS += [(write_planes, suffix, (PLANES,)) for suffix in (".tif", ".zarr", ".npy")]
WRITERS += [(write_overlay, suffix, (IMAGE, IDS)) for suffix in (".png", ".jpg")]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("write, suffix, values", WRITERS)
def test_nothing_half_is_left(tmp_path, write, suffix, values, old):
    path = tmp_path / f"a{suffix}"
    if old:
        with write(path, IDS.shape, LABELS) as writer:
            push(writer, *values)
    with pytest.raises(KeyError, match="of the caller"):
        with write(path, IDS.shape, LABELS) as writer:
            writer.write(slice(0, 99), *(part[:99] for part in values))
            raise KeyError("of the caller")
    with pytest.raises(ValueError, match=rf"a\{suffix} needs 150 rows\. Received: 99"):
        with write(path, IDS.shape, LABELS) as writer:
            writer.write(slice(0, 99), *(part[:99] for part in values))
    assert list(tmp_path.iterdir()) == [path] * old
    with write(path, IDS.shape, LABELS) as writer:  # what is there is replaced
        push(writer, *values)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write, suffix, values", WRITERS)
def test_strips_follow_each_other(tmp_path, write, suffix, values):
    def strip(top, bottom):
        return slice(top, bottom), *(part[top:bottom] for part in values)

    with pytest.raises(KeyError):
        with write(tmp_path / f"a{suffix}", IDS.shape, LABELS) as writer:
            writer.write(*strip(0, 10))
            for top, bottom in [(0, 10), (11, 12), (10, 10)]:
                with pytest.raises(
                    ValueError, match=rf"a\{suffix} must follow each .*row 10 comes"
                ):
                    writer.write(*strip(top, bottom))
            with pytest.raises(ValueError, match="row 0 to 150"):
                writer.write(slice(10, 160), *values)
            with pytest.raises(ValueError, match="need 5 rows of values"):
                writer.write(slice(10, 15), *values)
            with pytest.raises(ValueError, match=r"needs strips.*69"):
                writer.write(slice(10, 15), *(part[10:15, 1:] for part in values))
            raise KeyError


def test_wrong_ids_are_refused(tmp_path):
    for wrong in (IDS + 1, IDS - 1):
        with pytest.raises(ValueError, match=r"a\.png needs ids in 0\.\.2.*Received: "):
            with write_ids(tmp_path / "a.png", IDS.shape, LABELS) as writer:
                writer.write(slice(0, HEIGHT), wrong)
    with pytest.raises(ValueError, match=r"strips of ids.*float64"):
        with write_ids(tmp_path / "a.png", IDS.shape, LABELS) as writer:
            writer.write(slice(0, HEIGHT), IDS * 1.0)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"a\.bmp must end with one of \.png, .*ids.*\.bmp"):
        write_ids(tmp_path / "a.bmp", IDS.shape, LABELS)
    with pytest.raises(ValueError, match=r"a must end with .*Received: no ending"):
        write_planes(tmp_path / "a", IDS.shape, LABELS)
    with pytest.raises(ValueError, match=r"a\.tif must end with one of \.png, \.jpg.*overlays"):
        write_overlay(tmp_path / "a.tif", IDS.shape, LABELS)
    with pytest.raises(ValueError, match="dtype must be one of float16.*'float64'"):
        write_planes(tmp_path / "a.tif", IDS.shape, LABELS, dtype="float64")
    with pytest.raises(ValueError, match=r"opacity must lie in \[0, 1\]. Received: 2"):
        write_overlay(tmp_path / "a.png", IDS.shape, LABELS, opacity=2)
    with pytest.raises(ValueError, match=r"a\.png would have 30,000 x 30,000.*Write \.tif or"):
        write_ids(tmp_path / "a.png", (30_000, 30_000), LABELS)
    with pytest.raises(ValueError, match="folders of this computer. Received: memory://a.png"):
        write_ids(UPath("memory://a.png"), IDS.shape, LABELS).__enter__()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"file/a\.png cannot be written: .*file: File exists"):
        write_ids(tmp_path / "file/a.png", IDS.shape, LABELS).__enter__()


@pytest.mark.parametrize("write, suffix, values", WRITERS)
def test_a_write_that_fails_names_the_file(tmp_path, write, suffix, values):
    path = tmp_path / f"a{suffix}"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(OSError, match=rf"a\{suffix} cannot be written: File too large\. .*place"):
        try:
            with write(path, IDS.shape, LABELS) as writer:
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
                push(writer, *values)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_from_other_failures(tmp_path):
    with pytest.raises(
        OSError, match=r"a\.png cannot be written: .*\. Free some space, or"
    ) as caught:
        with writing(tmp_path / "a.png"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.errno == errno.ENOSPC


def test_errors_of_reading_are_not_taken_for_errors_of_writing(tmp_path):
    with pytest.raises(OSError, match="^the image is gone$"):
        with write_ids(tmp_path / "a.tif", IDS.shape, LABELS):
            raise OSError("the image is gone")


def test_what_a_killed_process_left_is_replaced(tmp_path):
    (tmp_path / ".a.png.unfinished").write_text("half")
    (tmp_path / ".a.zarr.unfinished").mkdir()
    for suffix in (".png", ".zarr"):
        with write_ids(tmp_path / f"a{suffix}", IDS.shape, LABELS) as writer:
            push(writer, IDS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "a.zarr"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".zarr"])
def test_two_processes_do_not_write_into_one_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with write_ids(path, IDS.shape, LABELS) as writer:
        writer.write(slice(0, 40), IDS[:40])
        with pytest.raises(OSError, match=rf"a\{suffix} is being written by another process"):
            write_ids(path, IDS.shape, LABELS).__enter__()
        writer.write(slice(40, HEIGHT), IDS[40:])
    with open_raster(path, 1, [0, 2]) as raster:
        found = raster.read(slice(0, HEIGHT), slice(0, WIDTH))
    if suffix == ".zarr":
        np.testing.assert_array_equal(2 * found[..., 0], IDS)
    else:
        np.testing.assert_array_equal(read_mask(path, LABELS), IDS)


def blended(image, ids, opacity):
    """What an overlay without contours should be, pixel by pixel."""
    colors = np.array(LABELS.palette, float)[ids]
    mixed = image + opacity * (colors - image)
    return np.where(ids[..., None] == 0, image, mixed)


def overlay(path, image, ids, labels=LABELS, **options):
    with write_overlay(path, image.shape[:2], labels, **options) as writer:
        push(writer, image, ids)
    with Image.open(path) as picture:
        return np.array(picture).astype(int)


def test_an_overlay_blends(tmp_path):
    found = overlay(tmp_path / "a.png", IMAGE, IDS, opacity=0.3, contours=False)
    np.testing.assert_allclose(found, blended(IMAGE, IDS, 0.3), atol=0.51)
    floats = IMAGE.astype(np.float32) / 255
    np.testing.assert_array_equal(
        overlay(tmp_path / "b.png", floats, IDS, opacity=0.3, contours=False), found
    )
    grey = overlay(tmp_path / "c.png", IMAGE[..., :1], IDS, opacity=0, contours=False)
    np.testing.assert_array_equal(grey, np.repeat(IMAGE[..., :1], 3, -1))
    smooth = np.full_like(IMAGE, 90)
    jpeg = overlay(tmp_path / "d.jpg", smooth, np.ones_like(IDS), contours=False)
    np.testing.assert_allclose(jpeg[4:-4, 4:-4], np.full((142, 62, 3), [172, 45, 45]), atol=6)


def test_an_overlay_of_classes_that_overlap(tmp_path):
    labels = LabelSpace(
        ["a", "b"], background=None, exclusive=False, palette=[(200, 0, 0), (0, 100, 0)]
    )
    planes = RNG.integers(0, 2, (HEIGHT, WIDTH, 2), np.uint8)
    found = overlay(tmp_path / "a.png", IMAGE, planes, labels, opacity=1.0)
    expected = IMAGE.astype(int)
    for bits, color in {(1, 0): (200, 0, 0), (0, 1): (0, 100, 0), (1, 1): (100, 50, 0)}.items():
        expected[(planes == bits).all(-1)] = color
    np.testing.assert_array_equal(found, expected)


def test_contours_lie_inside_of_what_they_surround(tmp_path):
    ids = np.zeros_like(IDS)
    ids[20:60, 10:40] = 1
    ids[30:60, 30:40] = 2
    found = overlay(tmp_path / "a.png", IMAGE, ids, opacity=0.0)
    drawn = (found != IMAGE).any(-1)
    assert drawn[20:60, 10].all() and drawn[20, 10:40].all() and drawn[30:60, 30].all()
    assert not drawn[22:28, 12:28].any() and not drawn[ids == 0].any()
    np.testing.assert_array_equal(found[45, 10], LABELS.palette[1])
    np.testing.assert_array_equal(found[45, 30], LABELS.palette[2])


@pytest.mark.parametrize("contours", [False, True])
def test_large_overlays_are_made_smaller(tmp_path, contours):
    large = np.kron(IMAGE[:75, :35], np.ones((2, 2, 1), np.uint8))
    ids = np.kron(IDS[:75, :35], np.ones((2, 2), int))
    found = overlay(tmp_path / "a.png", large, ids, largest=75, opacity=0.5, contours=contours)
    exact = overlay(tmp_path / "b.png", large, ids, opacity=0.5, contours=contours)[::2, ::2]
    if not contours:
        np.testing.assert_array_equal(found, exact)
    assert found.shape == (75, 35, 3)
    third = overlay(tmp_path / "c.png", IMAGE, IDS, largest=60, opacity=0.0, contours=False)
    assert third.shape == (50, 24, 3)
    np.testing.assert_allclose(third[0, 0], IMAGE[:3, :3].mean((0, 1)), atol=0.51)
    np.testing.assert_allclose(third[49, 23], IMAGE[147:150, 69:].mean((0, 1)), atol=0.51)


def test_what_another_process_begins_behind_this_one_is_left_alone(tmp_path, monkeypatch):
    replace = saving._replace

    def and_another(unfinished, path):
        replace(unfinished, path)
        unfinished.write_bytes(b"theirs")

    monkeypatch.setattr(saving, "_replace", and_another)
    with write_ids(tmp_path / "a.npy", (2, 3), LABELS) as writer:
        writer.write(slice(0, 2), np.zeros((2, 3), "uint8"))
    assert (tmp_path / ".a.npy.unfinished").read_bytes() == b"theirs"


def overlapping(names):
    return LabelSpace(names, background=None, exclusive=False)


def test_class_files_are_black_and_white_and_read_back(tmp_path):
    labels = overlapping(["cell", "a/b: 50%", ".hidden", "ends.", "void"])
    planes = (RNG.random((HEIGHT, WIDTH, 5)) < 0.3).astype(np.uint8)
    planes[..., 4] = 0
    folder = tmp_path / "masks" / "slide.v2"
    for there in (False, True):  # what is there is replaced
        with write_class_files(folder, (HEIGHT, WIDTH), labels, {"runs": ["r"]}) as writer:
            push(writer, planes)
            assert folder.exists() == there
    assert [path.name for path in folder.parent.iterdir()] == ["slide.v2"]
    names = {path.name for path in folder.iterdir()}
    assert names == {"cell.png", "a%2Fb%3A 50%25.png", "%2Ehidden.png", "ends%2E.png", "void.png"}
    for c, name in enumerate(("cell", "a%2Fb%3A 50%25", "%2Ehidden", "ends%2E", "void")):
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.mode == "1"
            np.testing.assert_array_equal(np.asarray(picture), planes[..., c] == 1)
            assert json.loads(picture.info["Description"])["class"] == labels.names[c]
    problems = []
    found = class_files(folder.parent, entries(folder.parent), ["slide.v2"], labels, problems)
    assert not problems and set(found["slide.v2"]) == set(labels.names)
    read = read_class_files(found["slide.v2"], labels, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(read, planes)


@pytest.mark.parametrize(
    "names, words",
    [
        (["Cell", "cell"], "The class 'cell' and 'Cell' would share the name of a file.*masks=tif"),
        (["a/b", "a%2Fb"], "The class 'a/b' and 'a%2Fb' would share the name"),
        (["x" * 300], "The class 'xxx.*' is too long for the name of a file"),
    ],
)
def test_names_that_no_files_can_have_are_refused(tmp_path, names, words):
    with pytest.raises(ValueError, match=words):
        write_class_files(tmp_path / "a", (2, 2), overlapping(names))


def test_many_classes_hold_no_file_open(tmp_path):
    labels, limits = overlapping([f"class {c}" for c in range(300)]), resource.RLIMIT_NOFILE
    before = resource.getrlimit(limits)
    resource.setrlimit(limits, (128, before[1]))
    try:
        with write_class_files(tmp_path / "a", (8, 8), labels) as writer:
            writer.write(slice(0, 8), np.eye(8, 300, dtype=np.uint8)[:, None].repeat(8, 1))
    finally:
        resource.setrlimit(limits, before)
    assert len(list((tmp_path / "a").iterdir())) == 300


def test_class_files_that_are_not_finished_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="a needs 4 rows. Received: 2"):
        with write_class_files(tmp_path / "a", (4, 4), overlapping(["cell"])) as writer:
            writer.write(slice(0, 2), np.ones((2, 4, 1), np.uint8))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("classes", [1, 3, 20])
def test_planes_read_back_as_a_mask(tmp_path, suffix, classes):
    labels = overlapping([f"class {c}" for c in range(classes)])
    planes = (RNG.random((HEIGHT, WIDTH, classes)) < 0.3).astype(np.uint8)
    with write_planes(tmp_path / f"a{suffix}", (HEIGHT, WIDTH), labels, "uint8") as writer:
        push(writer, planes)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}", labels), planes)

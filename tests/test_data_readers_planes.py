"""Planes of classes that overlap, and one file a class."""

import numpy as np
import pytest
from PIL import Image
from test_data_readers_masks import COLORS, IDS, NAMES, PLAIN, PLANES, write

from segkit.data.readers import read_class_files, read_mask
from segkit.labels import LabelSpace

LAYERS = LabelSpace(["cell", "nucleus"], background=None, ignore_index=2, exclusive=False)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("most", [1, 255])
def test_planes(tmp_path, suffix, most):
    options = {"photometric": "minisblack", "planarconfig": "contig"} if suffix == ".tif" else {}
    planes = PLANES * np.uint8(most)
    planes[0, 0] = 2
    found = read_mask(write(tmp_path / f"a{suffix}", planes, **options), LAYERS)
    np.testing.assert_array_equal(found, np.where(planes == 2, 2, PLANES))
    assert found.dtype == np.uint8


def test_planes_in_other_forms(tmp_path):
    path = write(tmp_path / "a.tif", np.moveaxis(PLANES, -1, 0), photometric="minisblack")
    np.testing.assert_array_equal(read_mask(path, LAYERS), PLANES)
    path = write(tmp_path / "a.npy", PLANES.astype(bool))
    np.testing.assert_array_equal(read_mask(path, LAYERS), PLANES)
    three = LabelSpace(["a", "b", "c"], None, None, exclusive=False)
    planes = np.dstack([PLANES, PLANES[..., :1]])
    path = write(tmp_path / "b.tif", planes)  # which calls them red, green, blue
    np.testing.assert_array_equal(read_mask(path, three), planes)
    single = LabelSpace(["a"], background=None, ignore_index=None, exclusive=False)
    path = write(tmp_path / "c.png", PLANES[..., 0] * np.uint8(255))
    np.testing.assert_array_equal(read_mask(path, single), PLANES[..., :1])


WRONG_PLANES = {
    "too few": (PLANES[..., :1], 2, r"\(H, W, 2\).*2x4 with 1 bands"),
    "ids": (PLANES * 3, 2, "0 and 1 .or 0 and 255., and 2 where.*Received also: 3"),
    "both": (PLANES * 254 + 1, 2, "Received also: 255"),
    "16 bits": (PLANES.astype("uint16") * 300, 2, "Received also: 300"),
    "ignored or there": (PLANES * 255, 255, "255 may mean a class or, as ignore_index"),
}


@pytest.mark.parametrize("planes, ignore, words", WRONG_PLANES.values(), ids=WRONG_PLANES)
def test_what_are_no_planes_is_named(tmp_path, planes, ignore, words):
    labels = LabelSpace(LAYERS.names, background=None, ignore_index=ignore, exclusive=False)
    with pytest.raises(ValueError, match=rf"a\.npy .*{words}"):
        read_mask(write(tmp_path / "a.npy", planes), labels)


def test_a_png_has_no_planes(tmp_path):
    labels = LabelSpace(["a", "b", "c"], None, None, exclusive=False)
    with pytest.raises(ValueError, match=r"a\.png must hold one plane a class.*3 bands \(RGB\)"):
        read_mask(write(tmp_path / "a.png", COLORS), labels)


# One file a class


def class_files(tmp_path, cell, nucleus, suffix=".png"):
    return {
        "cell": write(tmp_path / f"cell{suffix}", cell),
        "nucleus": write(tmp_path / f"nucleus{suffix}", nucleus),
    }


FORMS = {
    "255": lambda plane: plane * np.uint8(255),
    "1": lambda plane: plane * np.uint8(1),
    "bool": lambda plane: plane,
    "colours": lambda plane: plane[..., None] * np.array([255, 0, 7], np.uint8),
    "opaque": lambda plane: np.dstack(
        [plane * np.uint8(9)] * 3 + [np.full(plane.shape, 255, np.uint8)]
    ),
    "16 bits": lambda plane: plane * np.uint16(65_535),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_one_file_a_class(tmp_path, form):
    files = class_files(tmp_path, form(IDS == 1), form(IDS == 2))
    expected = np.where(IDS == 255, 0, IDS)
    ids = read_class_files(files, PLAIN, (2, 4))
    np.testing.assert_array_equal(ids, expected)
    assert ids.dtype == np.uint8
    without = LabelSpace(NAMES, background=None)
    np.testing.assert_array_equal(
        read_class_files(files, without, (2, 4)), np.where(expected == 0, 255, expected)
    )


def test_the_order_of_a_palette_does_not_matter(tmp_path):
    """A program that makes PNGs small may store black as 1 and white as 0."""
    picture = Image.fromarray((IDS != 1).astype(np.uint8))
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "a.png")
    ids = read_class_files({"cell": tmp_path / "a.png"}, PLAIN, (2, 4))
    np.testing.assert_array_equal(ids, IDS == 1)


def test_classes_without_a_file_are_nowhere(tmp_path):
    path = write(tmp_path / "a.npy", IDS == 2)
    planes = read_class_files({"nucleus": path}, LAYERS, (2, 4))
    np.testing.assert_array_equal(planes, np.stack([IDS * 0, IDS == 2], -1))
    assert planes.dtype == np.uint8
    assert (read_class_files({}, PLAIN, (2, 4)) == 0).all()


def test_files_may_overlap_where_classes_may(tmp_path):
    files = class_files(tmp_path, IDS > 0, IDS == 2)
    np.testing.assert_array_equal(read_class_files(files, LAYERS, (2, 4)), PLANES)
    words = (
        r"cell\.png and .*nucleus\.png claim the same 3 pixels, one of them in row 0, column 2"
        r".*\"exclusive\": false"
    )
    with pytest.raises(ValueError, match=words):
        read_class_files(files, PLAIN, (2, 4))


WRONG_FILES = {
    "ids": (IDS, r"cell\.png must be the mask of one class.*3 others \(1, 2, 255\).*threshold"),
    "size": (IDS[:1] * 0, r"cell\.png must be as large as its image, 2x4.*Received: 1x4"),
    "clear": (np.dstack([COLORS, IDS]), r"cell\.png is transparent in 7 of 8"),
    "smooth": (
        np.arange(8, dtype=np.uint8).reshape(2, 4),
        r"7 others \(1, 2, 3, 4, 5, \.\.\.\)",
    ),
    "colours": (COLORS, r"3 others \(\(0, 128, 255\), \(9, 9, 9\), \(255, 0, 0\)\)"),
}


@pytest.mark.parametrize("array, words", WRONG_FILES.values(), ids=WRONG_FILES)
def test_what_is_not_binary_is_named(tmp_path, array, words):
    files = {"cell": write(tmp_path / "cell.png", array)}
    with pytest.raises(ValueError, match=words):
        read_class_files(files, PLAIN, (2, 4))


def test_other_wrong_class_files(tmp_path):
    floats = {"cell": write(tmp_path / "a.npy", IDS / 255)}
    with pytest.raises(ValueError, match=r"a\.npy must be the mask of one class.*float64, 1 bands"):
        read_class_files(floats, PLAIN, (2, 4))
    Image.fromarray(IDS).save(tmp_path / "b.png", "JPEG")
    with pytest.raises(ValueError, match=r"b\.png .*is a JPEG"):
        read_class_files({"cell": tmp_path / "b.png"}, PLAIN, (2, 4))
    with pytest.raises(ValueError, match="no class 'cat'. The classes are: background, cell"):
        read_class_files({"cat": tmp_path / "a.png"}, PLAIN, (2, 4))
    nothing = LabelSpace(NAMES, background=None, ignore_index=None)
    path = write(tmp_path / "c.png", IDS == 1)
    with pytest.raises(ValueError, match=r'c\.png leaves open.*"background"'):
        read_class_files({"cell": path}, nothing, (2, 4))

"""Mask files -> ids, from values and from colours."""

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from test_data_readers import two_bits

from segkit.data.readers import read_mask
from segkit.labels import LabelSpace

NAMES = ["background", "cell", "nucleus"]
PALETTE = [[0, 0, 0], [255, 0, 0], [0, 128, 255]]
LABELS = LabelSpace(NAMES, palette=PALETTE, ignore_color=(9, 9, 9))
PLAIN = LabelSpace(NAMES)
IDS = np.array([[0, 1, 2, 255], [2, 2, 0, 1]], np.uint8)
PLANES = np.stack([IDS > 0, IDS == 2], -1).astype(np.uint8)
COLORS = np.array([*PALETTE, *[[9, 9, 9]] * 253], np.uint8)[IDS]


def write(path, array, **options):
    """Writes a mask in the format of its suffix."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array, **options)
    elif array.dtype == np.uint16:
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int64"])
def test_ids_are_read_as_stored(tmp_path, suffix, dtype):
    if (suffix, dtype) == (".png", "int64"):
        dtype = "uint16"
    ids = read_mask(write(tmp_path / f"a{suffix}", IDS.astype(dtype)), PLAIN)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8
    wide = IDS.astype("uint16") * 257
    found = read_mask(write(tmp_path / f"b{suffix}", wide), PLAIN)
    np.testing.assert_array_equal(found, wide)
    assert found.dtype == np.uint16


def test_few_bits_are_not_stretched(tmp_path):
    (tmp_path / "a.png").write_bytes(two_bits(IDS & 3))
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", PLAIN), IDS & 3)
    for suffix in (".png", ".npy"):
        path = write(tmp_path / f"b{suffix}", IDS > 0)
        np.testing.assert_array_equal(read_mask(path, PLAIN), IDS > 0)
    path = write(tmp_path / "b.tif", IDS > 0, photometric="minisblack")
    np.testing.assert_array_equal(read_mask(path, PLAIN), IDS > 0)


def test_the_index_of_a_palette_is_the_id(tmp_path):
    picture = Image.fromarray(IDS)
    picture.putpalette([200, 0, 0, 0, 0, 0, 10, 20, 30] + [40] * 759)
    picture.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", PLAIN), IDS)
    colors = np.zeros((3, 256), np.uint16)
    path = write(tmp_path / "a.tif", IDS, photometric="palette", colormap=colors)
    np.testing.assert_array_equal(read_mask(path, PLAIN), IDS)


def test_masks_are_turned_like_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "a.png", IDS, exif=exif)
    np.testing.assert_array_equal(read_mask(path, PLAIN), np.rot90(IDS, -1))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("opaque", [False, True])
def test_colours_become_ids(tmp_path, suffix, opaque):
    clear = np.full((2, 4, 1), 255, np.uint8)
    colors = np.concatenate([COLORS, clear], -1) if opaque else COLORS
    options = {"extrasamples": ["unassalpha"]} if opaque and suffix == ".tif" else {}
    ids = read_mask(write(tmp_path / f"a{suffix}", colors, **options), LABELS)
    np.testing.assert_array_equal(ids, IDS)
    assert ids.dtype == np.uint8


def test_colours_of_many_classes(tmp_path):
    names = [f"class {c}" for c in range(300)]
    labels = LabelSpace(names, ignore_index=65_535, ignore_color=[1, 2, 3])
    colors = np.array([[labels.palette[299], (1, 2, 3), labels.palette[0]]], np.uint8)
    ids = read_mask(write(tmp_path / "a.png", colors), labels)
    assert ids.tolist() == [[299, 65_535, 0]] and ids.dtype == np.uint16


def test_the_colour_of_ignored_pixels():
    """Some tools list it behind those of the classes."""
    description = {"names": NAMES, "background": 0, "palette": [*PALETTE, [9, 9, 9]]}
    assert LabelSpace.from_dict(description) == LABELS
    assert LabelSpace.from_dict(LABELS.to_dict()) == LABELS
    given = LabelSpace.from_dict(description | {"ignore_color": [7, 7, 7]})
    assert given.ignore_color == (7, 7, 7)
    assert LabelSpace.from_dict(description | {"ignore_index": None}).ignore_color is None
    with pytest.raises(ValueError, match=r"ignore_color must be \(red.*Received: \[1, 2\]"):
        LabelSpace(NAMES, ignore_color=[1, 2])
    with pytest.raises(ValueError, match=r"ignore_color is that of pixels.*Received: \(1, 2, 3\)"):
        LabelSpace(NAMES, ignore_index=None, ignore_color=(1, 2, 3))


def stained(*colors):
    array = COLORS.copy()
    for place, color in enumerate(colors):
        array.reshape(-1, 3)[place] = color
    return array


def test_a_stray_colour_is_named(tmp_path):
    path = write(tmp_path / "a.png", stained([250, 3, 0], [250, 3, 0], [8, 9, 9]))
    words = (
        r"a\.png may hold only the colours of the palette. Received also: \(250, 3, 0\) in 2 "
        r"pixels \(nearest: 'cell' \(255, 0, 0\)\); \(8, 9, 9\) in 1 pixels \(nearest: 'ignored "
        r"pixels' \(9, 9, 9\)\)\. Correct.*JPEG"
    )
    with pytest.raises(ValueError, match=words):
        read_mask(path, LABELS)
    many = write(tmp_path / "b.png", stained(*([9, 9, c] for c in range(20, 25))))
    with pytest.raises(ValueError, match=r"b\.png.*; and 2 colours more"):
        read_mask(many, LABELS)


@pytest.mark.parametrize("index, more", [(255, ""), (None, ' and "ignore_index": 255')])
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255)])
def test_black_or_white_may_be_what_nobody_judged(tmp_path, color, index, more):
    palette = [[200, 120, 0], [255, 0, 0], [0, 128, 255]]
    labels = LabelSpace(NAMES, palette=palette, ignore_index=index)
    colors = np.array([*palette, color], np.uint8)[[[0, 1, 2, 3, 3, 3]]]
    path = write(tmp_path / "a.png", colors)
    with pytest.raises(ValueError, match=r"a\.png may hold only the colours of the") as caught:
        read_mask(path, labels)
    text = str(caught.value)
    assert f'judged, add "ignore_color": {list(color)}{more} to classes.json' in text
    assert "nearest" not in text and "save one channel" not in text
    with pytest.raises(ValueError, match=f'"ignore_color": .*{more} to classes.json'):
        read_mask(write(tmp_path / "b.png", colors[:, 3:]), labels)  # nothing but it
    given = LabelSpace(NAMES, palette=palette, ignore_color=(90, 90, 90))
    with pytest.raises(ValueError, match=r"in 3 pixels\. Correct the mask"):
        read_mask(path, given)


def test_a_rare_colour_far_from_the_palette_may_be_unjudged(tmp_path):
    labels = LabelSpace(NAMES, palette=PALETTE)
    colors = np.zeros((10, 10, 3), np.uint8)
    colors[0, :4] = 90, 200, 90
    with pytest.raises(ValueError, match=r'add "ignore_color": \[90, 200, 90\] to'):
        read_mask(write(tmp_path / "a.png", colors), labels)
    colors[:5] = 90, 200, 90
    with pytest.raises(ValueError, match=r"\(90, 200, 90\) in 50 pixels\. Correct the mask"):
        read_mask(write(tmp_path / "a.png", colors), labels)


def test_ids_in_three_channels_are_told_from_colours(tmp_path):
    path = write(tmp_path / "a.png", np.stack([IDS & 1] * 3, -1))
    with pytest.raises(ValueError, match=r"\(1, 1, 1\) in .*If the values are ids, save one chan"):
        read_mask(path, LABELS)


WRONG = {
    "jpeg": ("a.jpg", COLORS, "is a JPEG .*smears.*as PNG"),
    "half clear": (
        "a.png",
        np.dstack([COLORS, IDS]),
        "is transparent in 7 of 8 pixels.*background or that nobody looked",
    ),
    "grey alpha": ("a.png", np.dstack([IDS, IDS]), "grey values and transparency.*Remove the alp"),
    "deep colours": ("a.png", COLORS * np.uint16(257), "colours of 8 bits.*Received: uint16"),
    "planes": ("a.npy", PLANES, r"one id a pixel.*2x4 with 2 bands.*argmax.*\"exclusive\": false"),
    "colours in npy": ("a.npy", COLORS, "one id a pixel.*with 3 bands"),
    "floats": ("a.npy", IDS / 2, r"whole numbers. Received: dtype float64.*astype\('uint8'\)"),
    "float tiff": ("a.tif", IDS.astype("float32"), "whole numbers. Received: dtype float32"),
    "negative": ("a.npy", IDS.astype(int) - 1, "ids from 0 to 65535. Received: -1 to 254"),
    "large": ("a.tif", IDS.astype("int32") * 300, "ids from 0 to 65535. Received: 0 to 76500"),
    "bands": ("a.npy", np.zeros((2, 4, 5), int), "one id a pixel.*with 5 bands"),
}


@pytest.mark.parametrize("name, array, words", WRONG.values(), ids=WRONG)
def test_what_are_no_ids_is_named(tmp_path, name, array, words):
    path = write(tmp_path / name, array)
    if name == "a.jpg":
        path = path.rename(tmp_path / "a.png")
    with pytest.raises(ValueError, match=rf"{path.name} .*{words}"):
        read_mask(path, LABELS)


def test_tiffs_that_smear_or_are_read_in_two_ways(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((16, 16), np.uint8), compression="jpeg")
    with pytest.raises(ValueError, match=r"a\.tif is compressed as JPEG.*without loss"):
        read_mask(path, PLAIN)
    with pytest.raises(ValueError, match="zeros are white.*programs disagree"):
        read_mask(write(path, IDS, photometric="miniswhite"), PLAIN)


def test_a_palette_with_a_colour_twice_reads_no_colours(tmp_path):
    labels = LabelSpace(NAMES, palette=[[0, 0, 0], [1, 1, 1], [0, 0, 0]])
    path = write(tmp_path / "a.png", COLORS)
    with pytest.raises(ValueError, match=r"a\.png .*\(0, 0, 0\) to 'background' and to 'nucleus'"):
        read_mask(path, labels)
    np.testing.assert_array_equal(read_mask(write(path, IDS), labels), IDS)


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\x93NUMPY", b"text"])
def test_damaged_masks_are_named(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png cannot be read as a mask: "):
        read_mask(tmp_path / "a.png", PLAIN)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_value_is_no_answer(tmp_path, mode):
    """Transparency by a colour key, which leaves no alpha channel behind."""
    picture = Image.new(mode, (3, 2))
    picture.save(tmp_path / "a.png", transparency=0 if mode == "L" else (0, 0, 0))
    with pytest.raises(ValueError, match=r"a\.png declares one of its values transparent"):
        read_mask(tmp_path / "a.png", LabelSpace(["background", "cell"]))

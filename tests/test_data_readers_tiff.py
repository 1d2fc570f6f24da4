"""TIFF files -> images: precision, bands in every order, stacks, colours."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.data.readers import image_size, read_image
from segkit.data.readers.bands import upright

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (4, 6, 3), np.uint8)
GREY = COLORS[..., 0].copy()
FIVE = RNG.normal(size=(4, 6, 5)).astype("float32")


@pytest.fixture
def write(tmp_path):
    """Writes a TIFF and returns its path."""

    def write(array, **options):
        tifffile.imwrite(tmp_path / "a.tif", array, **options)
        return tmp_path / "a.tif"

    return write


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "zstd"])
def test_precision(write, dtype, compression):
    array = (GREY / 255).astype(dtype) if dtype[0] == "f" else (GREY * 100.0).astype("int16")
    array = array.astype(dtype)
    path = write(array, compression=compression, predictor=compression is not None)
    image = read_image(path, 1)
    assert image.dtype == (dtype if dtype in ("uint8", "uint16") else "float32")
    np.testing.assert_array_equal(image[..., 0], array.astype(image.dtype))
    assert image_size(path) == (4, 6)


ORDERS = {
    "interleaved": lambda write: write(FIVE, photometric="minisblack", planarconfig="contig"),
    "planar": lambda w: w(np.moveaxis(FIVE, -1, 0), photometric="minisblack", planarconfig=2),
    "pages": lambda write: write(np.moveaxis(FIVE, -1, 0)),
    "pages called C": lambda write: write(np.moveaxis(FIVE, -1, 0), metadata={"axes": "CYX"}),
    "pages of nothing else": lambda w: w(np.moveaxis(FIVE, -1, 0), metadata=None),
    "tiles": lambda w: w(FIVE, photometric="minisblack", planarconfig=1, tile=(16, 16)),
    "ImageJ": lambda w: w(np.moveaxis(FIVE, -1, 0), imagej=True, metadata={"axes": "CYX"}),
    "OME": lambda w: w(np.moveaxis(FIVE, -1, 0), ome=True, metadata={"axes": "CYX"}),
    "big, other end": lambda w: w(np.moveaxis(FIVE, -1, 0), bigtiff=True, byteorder=">"),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_bands_in_every_order(write, order):
    path = order(write)
    image = read_image(path, 5)
    np.testing.assert_array_equal(image, FIVE)
    assert image.flags.c_contiguous and image.dtype.isnative and image_size(path) == (4, 6)
    with pytest.raises(ValueError, match=r"a\.tif must have 3.*5 \(bands\).*data.channels=5"):
        read_image(path)


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_slices_and_times_are_no_bands(write, axes):
    path = write(np.moveaxis(FIVE, -1, 0), metadata={"axes": axes})
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=rf"a\.tif is a stack.*5 pages.*{axes}.*file of its"):
            read(path)


def test_pages_of_other_sizes_or_colours_are_no_bands(tmp_path, write):
    with tifffile.TiffWriter(tmp_path / "b.tif") as tiff:
        tiff.write(GREY)
        tiff.write(GREY[:3])
    for path in (tmp_path / "b.tif", write(np.stack([COLORS] * 2), photometric="rgb")):
        with pytest.raises(ValueError, match=r"is a stack of images.*2 pages"):
            read_image(path)


def test_overviews_are_passed_over(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(COLORS, photometric="rgb")
        tiff.write(COLORS[::2, ::2], photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLORS)


def test_colours(write):
    np.testing.assert_array_equal(read_image(write(COLORS)), COLORS)
    planar = write(np.moveaxis(COLORS, -1, 0), photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(planar), COLORS)
    clear = np.dstack([COLORS, GREY])
    np.testing.assert_array_equal(read_image(write(clear, extrasamples=["unassalpha"])), COLORS)
    np.testing.assert_array_equal(read_image(write(clear), 4), clear)
    infrared = write(clear, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(read_image(infrared, 4), clear)
    with pytest.raises(ValueError, match=r"Received: 4 \(bands\)"):  # not to be dropped
        read_image(infrared, 3)


def test_colours_of_other_spaces(tmp_path, write):
    smooth = np.zeros((16, 16, 3), np.uint8) + np.array([200, 60, 30], np.uint8)
    jpeg = read_image(write(smooth, compression="jpeg"))
    np.testing.assert_allclose(jpeg, smooth, atol=8)
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "c.tif")
    np.testing.assert_allclose(read_image(tmp_path / "c.tif"), smooth, atol=2)
    Image.fromarray(smooth).convert("LAB").save(tmp_path / "l.tif")
    with pytest.raises(ValueError, match=r"l\.tif holds colours of the space CIELAB.*to RGB"):
        read_image(tmp_path / "l.tif")


@pytest.mark.parametrize("wide", [False, True])
def test_a_palette_gives_its_colours(write, wide):
    colors = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    path = write(GREY, photometric="palette", colormap=colors * (257 if wide else 1))
    np.testing.assert_array_equal(read_image(path), np.moveaxis(colors[:, GREY], 0, -1))


def test_white_may_be_zero(write):
    found = read_image(write(GREY, photometric="miniswhite"), 1)
    np.testing.assert_array_equal(found[..., 0], 255 - GREY)
    bits = read_image(write(GREY > 99, photometric="minisblack"), 1)
    np.testing.assert_array_equal(bits[..., 0], 255 * (GREY > 99))
    with pytest.raises(ValueError, match="zeros are white.*float32.*MINISBLACK"):
        read_image(write(FIVE[..., 0], photometric="miniswhite"), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_honoured(write, orientation):
    path = write(COLORS, extratags=[(274, 3, 1, orientation, True)])
    expected = upright(COLORS, orientation)
    np.testing.assert_array_equal(read_image(path), expected)
    assert image_size(path) == expected.shape[:2]


def test_an_image_of_1x1(write):
    path = write(np.full((1, 1), 0.5, "float32"))
    assert read_image(path).tolist() == [[[0.5] * 3]] and image_size(path) == (1, 1)

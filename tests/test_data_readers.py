"""Image files -> arrays: formats, precision, channels, orientation."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from segkit.data.readers import image_size, read_image
from segkit.data.readers.bands import upright

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 6), np.uint8)
COLORS = RNG.integers(0, 256, (4, 6, 3), np.uint8)
CLEAR = RNG.integers(0, 256, (4, 6, 4), np.uint8)
LUMA = np.array(Image.fromarray(COLORS).convert("L"))


def saved(path, array, **options):
    """Writes pixels of 8 bits, 16-bit colours or .npy."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif array.dtype == np.uint16:
        path.write_bytes(imagecodecs.png_encode(array))
    else:
        Image.fromarray(array).save(path, **options)
    return path


def deep(bands):
    """16-bit values whose low bytes matter."""
    return RNG.integers(0, 65_536, (4, 6) if bands == 1 else (4, 6, bands)).astype(np.uint16)


CHANNELS = {
    "grey as colours": (GREY, 3, np.stack([GREY] * 3, -1)),
    "grey": (GREY, 1, GREY[..., None]),
    "colours": (COLORS, 3, COLORS),
    "luma": (COLORS, 1, LUMA[..., None]),
    "alpha dropped": (CLEAR, 3, CLEAR[..., :3]),
    "alpha kept": (CLEAR, 4, CLEAR),
    "luma of clear": (np.dstack([COLORS, GREY]), 1, LUMA[..., None]),
    "grey and alpha": (CLEAR[..., :2], 2, CLEAR[..., :2]),
    "grey of two": (CLEAR[..., :2], 1, CLEAR[..., :1]),
    "colours of two": (CLEAR[..., :2], 3, CLEAR[..., [0, 0, 0]]),
}


@pytest.mark.parametrize("array, channels, expected", CHANNELS.values(), ids=CHANNELS)
def test_channels(tmp_path, array, channels, expected):
    path = saved(tmp_path / "a.png", array)
    image = read_image(path, channels)
    np.testing.assert_array_equal(image, expected)
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image_size(path) == (4, 6)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_16_bits_stay_16_bits(tmp_path, bands):
    array = deep(bands)
    image = read_image(saved(tmp_path / "a.png", array), bands)
    np.testing.assert_array_equal(image, array.reshape(4, 6, bands))
    assert image.dtype == np.uint16
    colors = read_image(tmp_path / "a.png")
    assert colors.dtype == np.uint16
    np.testing.assert_array_equal(colors[..., 2], array.reshape(4, 6, -1)[..., (bands > 2) * 2])


def test_luma_of_16_bits_and_of_floats(tmp_path):
    wide = COLORS.astype(np.uint16) * 257
    white = np.full((1, 1, 3), 65_535, np.uint16)
    assert read_image(saved(tmp_path / "w.png", white), 1).item() == 65_535
    found = read_image(saved(tmp_path / "a.png", wide), 1)
    np.testing.assert_allclose(found[..., 0] / 257, LUMA, atol=0.6)
    saved(tmp_path / "a.npy", (COLORS / 255).astype("float32"))
    luma = read_image(tmp_path / "a.npy", 1)
    np.testing.assert_allclose(luma[..., 0] * 255, LUMA, atol=0.6)
    assert luma.dtype == np.float32


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_gives_its_colours(tmp_path, transparent):
    palette, index = RNG.integers(0, 256, (8, 3), np.uint8), GREY % 8
    picture = Image.fromarray(index)
    picture.putpalette(palette.ravel().tolist())
    options = {"transparency": bytes(range(8))} if transparent else {}
    picture.save(tmp_path / "a.png", **options)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), palette[index])
    if transparent:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", 4)[..., 3], index)


def test_one_bit(tmp_path):
    saved(tmp_path / "a.png", GREY > 99)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 1)[..., 0], 255 * (GREY > 99))


def test_jpeg(tmp_path):
    Image.fromarray(COLORS).save(tmp_path / "a.jpg")
    expected = np.array(Image.open(tmp_path / "a.jpg"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), expected)
    Image.fromarray(GREY).save(tmp_path / "g.jpg")
    assert read_image(tmp_path / "g.jpg").shape == (4, 6, 3)
    red = np.zeros((8, 8, 3), np.uint8) + np.array([250, 0, 0], np.uint8)
    Image.fromarray(red).convert("CMYK").save(tmp_path / "c.jpg")
    np.testing.assert_allclose(read_image(tmp_path / "c.jpg"), red, atol=8)


def test_the_content_counts_not_the_suffix(tmp_path):
    saved(tmp_path / "a.png", COLORS).rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), COLORS)


@pytest.mark.parametrize("orientation", range(1, 10))
def test_upright_is_what_pillow_calls_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.dstack([GREY] * 3)
    for suffix in (".png", ".jpg"):
        path = tmp_path / f"a{suffix}"
        Image.fromarray(stored).save(path, exif=exif)
        with Image.open(path) as picture:
            expected = np.array(ImageOps.exif_transpose(picture))
        np.testing.assert_array_equal(read_image(path), expected)
        assert image_size(path) == expected.shape[:2] == ((6, 4) if 4 < orientation < 9 else (4, 6))
    np.testing.assert_array_equal(upright(stored, orientation), read_image(tmp_path / "a.png"))


def test_an_orientation_in_xmp_turns_image_and_size_alike(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", "not this")
    info.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    Image.fromarray(GREY).save(tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 1)[..., 0], np.rot90(GREY, -1))
    assert image_size(tmp_path / "a.png") == (6, 4)


NUMBERS = {
    "uint8": (GREY, np.uint8),
    "big endian": (GREY.astype(">u2") * 256, np.uint16),
    "int16": (GREY.astype(np.int16) - 128, np.float32),
    "uint32": (GREY.astype(np.uint32) + 2**23, np.float32),
    "float16": ((GREY / 255).astype(np.float16), np.float32),
    "float64": (GREY / 255, np.float32),
}


@pytest.mark.parametrize("array, dtype", NUMBERS.values(), ids=NUMBERS)
def test_numpy_files(tmp_path, array, dtype):
    path = saved(tmp_path / "a.npy", array)
    image = read_image(path, 1)
    assert image.dtype == dtype and image.dtype.isnative and image_size(path) == (4, 6)
    np.testing.assert_array_equal(image[..., 0], array.astype(dtype))
    five = np.stack([array] * 5, -1)
    np.testing.assert_array_equal(read_image(saved(path, five), 5), five.astype(dtype))
    np.testing.assert_array_equal(  # in the order of Fortran
        read_image(saved(path, np.asfortranarray(five)), 5), five.astype(dtype)
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".npy"])
def test_an_image_of_1x1(tmp_path, suffix):
    path = saved(tmp_path / f"a{suffix}", np.full((1, 1, 3), 7, np.uint8))
    assert read_image(path).tolist() == [[[7, 7, 7]]] and image_size(path) == (1, 1)


WRONG_BANDS = {
    "colours": ("a.png", COLORS, 4, r"4 channels.*Received: 3 \(RGB\)"),
    "alpha": ("a.png", CLEAR, 5, r"5 channels.*Received: 4 \(RGBA\)"),
    "grey": ("a.png", GREY, 2, r"2 channels.*Received: 1 \(grey\), 4x6 pixels"),
    "first": ("a.npy", np.zeros((5, 8, 9)), 5, r"9 \(bands\).*np\.moveaxis\(array, 0, -1\)"),
    "as colours": ("a.npy", np.zeros((4, 6, 4)), 3, r"3 channels.*Received: 4 \(bands\)"),
    "as grey": ("a.npy", np.zeros((4, 6, 2)), 1, r"1 channel, as.*Received: 2 \(bands\)"),
}


@pytest.mark.parametrize("name, array, channels, words", WRONG_BANDS.values(), ids=WRONG_BANDS)
def test_other_numbers_of_bands_are_named(tmp_path, name, array, channels, words):
    saved(tmp_path / name, array)
    with pytest.raises(ValueError, match=rf"{name} must have .*{words}") as error:
        read_image(tmp_path / name, channels)
    assert f"Set data.channels={array.reshape(*array.shape[:2], -1).shape[-1]}" in str(error.value)


def test_channels_are_a_number(tmp_path):
    with pytest.raises(ValueError, match="channels must be a whole number from 1 on. Received: 0"):
        read_image(tmp_path / "a.png", 0)


def test_grey_of_2_bits_is_stretched_for_the_eye(tmp_path):
    pixels = (GREY & 3).reshape(4, 6)
    (tmp_path / "a.png").write_bytes(two_bits(pixels))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 1)[..., 0], pixels * 85)


def two_bits(pixels):
    """A grey PNG of 2 bits, which Pillow does not write."""
    padded = np.pad(pixels, ((0, 0), (0, -pixels.shape[1] % 4)))
    rows = (padded.reshape(len(pixels), -1, 4) << np.array([6, 4, 2, 0])).sum(-1).astype(np.uint8)
    header = struct.pack(">IIBBBBB", pixels.shape[1], len(pixels), 2, 0, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = (b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )

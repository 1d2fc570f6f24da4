"""Damaged image files: an error that names the file, and a cheap look that sees the same."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.data.readers import image_size, read_image, require_whole

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(suffix, **options):
    buffer = io.BytesIO()
    if suffix == ".npy":
        np.save(buffer, NOISE)
    elif suffix == ".tif":
        tifffile.imwrite(buffer, NOISE, **options)
    else:
        Image.fromarray(NOISE).save(buffer, "PNG" if suffix == ".png" else "JPEG", **options)
    return buffer.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(height, width, *more):
    """A PNG of a few bytes that claims a size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = (*more, chunk(b"IDAT", zlib.compress(b"\0" * 100)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(parts)


FILES = {
    "JPEG": (".jpg", {}),
    "JPEG in steps": (".jpg", {"progressive": True}),
    "JPEG with a preview": (".jpg", {"comment": b"\xff\xd8\xff\xd9" * 9}),
    "PNG": (".png", {}),
    "TIFF": (".tif", {}),
    "TIFF in strips": (".tif", {"rowsperstrip": 7, "compression": "deflate"}),
    "TIFF in tiles": (".tif", {"tile": (16, 16), "compression": "lzw"}),
    "npy": (".npy", {}),
}


@pytest.mark.parametrize("suffix, options", FILES.values(), ids=FILES)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_what_is_cut_short_is_named(tmp_path, suffix, options, share):
    path, data = tmp_path / f"a{suffix}", encoded(suffix, **options)
    path.write_bytes(data)
    require_whole(path)
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=rf"a\{suffix} (cannot be read as an image|is cut short)"):
        require_whole(path)
    with pytest.raises(ValueError, match=rf"a\{suffix} (cannot be read as an image|is cut short)"):
        read_image(path)
    if share > 0.5:
        with pytest.raises(ValueError, match=r"is cut short.*Received: [\d,]+.*Restore the file"):
            require_whole(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".npy"])
def test_what_follows_the_end_is_left_alone(tmp_path, suffix):
    """Cameras append videos."""
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(suffix) + b"video" * 30_000)
    require_whole(path)
    assert read_image(path).shape == (40, 60, 3)


def test_the_last_page_may_be_missing(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tiff:
        for band in range(3):
            tiff.write(NOISE[..., band])
    with tifffile.TiffFile(path) as tiff:
        last = tiff.pages[2].offset
    require_whole(path)
    path.write_bytes(path.read_bytes()[: last - 1])
    with pytest.raises(ValueError, match=r"a\.tif is cut short"):
        require_whole(path)


OTHER_FILES = {
    "empty": (b"", r"the file is empty \(0 bytes\). Restore the file, or remove the pair"),
    "text": (b"hello, world", r"holds no JPEG, PNG, TIFF or \.npy.*begins with b'hello, w'"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS.*git lfs pull"),
    "gif": (b"GIF89a....", "begins with b'GIF89a"),
}


@pytest.mark.parametrize("data, words", OTHER_FILES.values(), ids=OTHER_FILES)
@pytest.mark.parametrize("read", [read_image, image_size, require_whole])
def test_what_is_no_image_is_named(tmp_path, data, words, read):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.png cannot be read as an image: .*{words}"):
        read(tmp_path / "a.png")


def bomb_npy():
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (50000, 50000), }"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"


def bomb_jpeg():
    data = encoded(".jpg")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 50_000, 50_000) + data[at + 4 :]


@pytest.mark.parametrize("make", [lambda: png(50_000, 50_000), bomb_jpeg], ids=["PNG", "JPEG"])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_a_bomb_is_not_unpacked(tmp_path, make, read):
    (tmp_path / "a.png").write_bytes(make())
    with pytest.raises(ValueError, match=r"a\.png says it is 50,000 x 50,000 pix.*at most 400,000"):
        read(tmp_path / "a.png")


def test_a_bomb_of_numpy(tmp_path):
    (tmp_path / "a.npy").write_bytes(bomb_npy())
    with pytest.raises(ValueError, match=r"a\.npy says it is 50,000 x 50,000 pixels"):
        image_size(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"is cut short: its header promises 2,500,000,0"):
        read_image(tmp_path / "a.npy")


def test_a_bomb_of_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", NOISE[..., 0])
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        places = [tiff.pages[0].tags[tag].valueoffset for tag in (256, 257)]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for place in places:
        data[place : place + 2] = struct.pack("<H", 50_000)
    (tmp_path / "a.tif").write_bytes(data)
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"a\.tif says it is 50,000 x 50,000 pixels"):
            read(tmp_path / "a.tif")


def test_large_images_are_no_bombs_below_the_limit(tmp_path, monkeypatch):
    """Pillow would warn from 89 million pixels on, and refuse from 179 million on."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "a.png").write_bytes(encoded(".png"))
    assert read_image(tmp_path / "a.png").shape == (40, 60, 3)
    assert image_size(tmp_path / "a.png") == (40, 60)


@pytest.mark.parametrize("size", [(0, 6), (4, 0)])
def test_no_pixels(tmp_path, size):
    np.save(tmp_path / "a.npy", np.zeros(size, np.uint8))
    with pytest.raises(ValueError, match=rf"holds no pixels. Received: {size[0]}x{size[1]}"):
        read_image(tmp_path / "a.npy")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"a\.png is an animation.*Received: 2 frames"):
            read(tmp_path / "a.png")


def holding(value):
    array = np.zeros((4, 6, 3), "float32")
    array[1, 2], array[3, 0, 1] = value, value
    return array


WRONG_NUMBERS = {
    "NaN": (holding(np.nan), "NaN or infinity in 2 of 24 pixels, the first in row 1, column 2"),
    "infinity": (holding(-np.inf), "NaN or infinity in 2 of 24 pixels"),
    "too large": (np.full((4, 6), 1e300), "NaN or infinity in 24 of 24"),
    "bool": (NOISE > 9, "must hold numbers.*Received: dtype bool"),
    "complex": (np.zeros((4, 6), complex), "must hold numbers.*Received: dtype complex128"),
    "text": (np.full((4, 6), "a"), "must hold numbers.*Received: dtype <U1"),
    "large": (np.full((4, 6), 2**24 + 1), "float32 would round.*16,777,217 to 16,777,217"),
    "negative": (np.full((4, 6), -(2**24) - 1), "float32 would round.*Subtract an offset"),
    "objects": (np.full((4, 6), None), "holds Python objects.*astype"),
    "one axis": (np.zeros(6), r"must hold an array \(H, W\).*shape \(6,\)"),
    "four axes": (np.zeros((1, 4, 6, 3)), "Save one image a file"),
}


@pytest.mark.parametrize("array, words", WRONG_NUMBERS.values(), ids=WRONG_NUMBERS)
def test_what_are_no_numbers_is_named(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=rf"a\.npy .*{words}"):
        read_image(tmp_path / "a.npy")


def test_nan_in_a_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", holding(np.nan)[..., 0])
    with pytest.raises(ValueError, match=r"a\.tif holds NaN or infinity in 1 of 24 pixels"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("deep", [False, True])
def test_other_chunks_of_a_png_change_nothing(tmp_path, capfd, deep):
    """A bad colour profile, a colour that counts as clear, a gamma, a background."""
    array = NOISE * np.uint16(257) if deep else NOISE
    data = imagecodecs.png_encode(array)
    color = struct.pack(">HHH", *array[0, 0].tolist())
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(b"nonsense"))
    gamma, other = chunk(b"gAMA", struct.pack(">I", 9)), chunk(b"tRNS", color)
    more = profile + gamma + chunk(b"bKGD", color) + other
    (tmp_path / "a.png").write_bytes(data[:33] + more + data[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), array)
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed(tmp_path, capfd):
    """Decoders in C write what they think of damage to stderr."""
    for suffix in (".jpg", ".png", ".tif"):
        for share in (0.1, 0.5, 0.9):
            data = encoded(suffix)
            (tmp_path / f"a{suffix}").write_bytes(data[: int(share * len(data))])
            with pytest.raises(ValueError):
                read_image(tmp_path / f"a{suffix}")
    assert capfd.readouterr() == ("", "")


def test_pages_in_a_circle_are_no_endless_loop(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(NOISE[..., 0])
        tiff.write(NOISE[..., 1])
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        first, last = (page.offset for page in tiff.pages)
        entries = len(tiff.pages[1].tags)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    struct.pack_into("<I", data, last + 2 + 12 * entries, first)
    (tmp_path / "a.tif").write_bytes(data)
    for read in (read_image, image_size, require_whole):
        with pytest.raises(ValueError, match=r"a\.tif is damaged: .* in a circle"):
            read(tmp_path / "a.tif")

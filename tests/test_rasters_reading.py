"""Windows of images hold what the whole image holds, and decode no more than they need."""

from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.data.rasters import open_raster
from segkit.data.readers import read_image
from segkit.data.scaling import to_unit

RNG = np.random.default_rng(0)
HEIGHT, WIDTH = 70, 90
SMOOTH = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))
COLORS = np.stack([SMOOTH, 2 * SMOOTH % 256, 255 - SMOOTH], -1).astype(np.uint8)
GREY = COLORS[..., 0].copy()
DEEP = COLORS.astype(np.uint16) * 257 + RNG.integers(0, 99, COLORS.shape, np.uint16)
FLOATS = RNG.random((HEIGHT, WIDTH, 5), np.float32)
PLANES = np.moveaxis(FLOATS, -1, 0).copy()

RGB = {"photometric": "rgb"}
TILES = {"tile": (32, 16)}
BAND = {"photometric": "minisblack"}
PALETTE = RNG.integers(0, 65_536, (3, 256)).astype(np.uint16)

# What is written, how, the channels it is read with, and whether it is read by window.
TIFFS = {
    "tiles": (COLORS, RGB | TILES, 3, True),
    "deflate, predictor": (DEEP, RGB | TILES | {"compression": "deflate", "predictor": 2}, 3, True),
    "LZW": (COLORS, RGB | TILES | {"compression": "lzw", "predictor": True}, 3, True),
    "zstd strips": (GREY, {"rowsperstrip": 7, "compression": "zstd"}, 3, True),
    "JPEG tiles": (COLORS, RGB | {"tile": (32, 32), "compression": "jpeg"}, 3, True),
    "JPEG, YCbCr": (
        COLORS,
        {"photometric": "ycbcr", "tile": (32, 32), "compression": "jpeg", "subsampling": (2, 2)},
        3,
        True,
    ),
    "one JPEG": (COLORS, RGB | {"compression": "jpeg"}, 3, False),
    "one strip, deflate": (COLORS, RGB | {"compression": "deflate"}, 3, False),
    "strips as they are": (COLORS, RGB | {"rowsperstrip": 9}, 3, True),
    "one piece": (COLORS, RGB, 1, True),
    "other end, BigTIFF": (DEEP, RGB | {"bigtiff": True, "byteorder": ">"}, 3, True),
    "floats": (FLOATS, BAND | TILES | {"planarconfig": 1, "compression": "lzw"}, 5, True),
    "float16": (FLOATS.astype("float16"), BAND | TILES | {"planarconfig": 1}, 5, True),
    "planar tiles": (PLANES, BAND | TILES | {"planarconfig": 2, "compression": "zlib"}, 5, True),
    "planar, one piece": (PLANES, BAND | {"planarconfig": 2}, 5, True),
    "pages": (PLANES, TILES | {"compression": "deflate", "predictor": 3}, 5, True),
    "pages as they are": (PLANES, {"byteorder": ">"}, 5, True),
    "OME": (PLANES, TILES | {"ome": True, "metadata": {"axes": "CYX"}}, 5, True),
    "ImageJ": (PLANES, {"imagej": True, "metadata": {"axes": "CYX"}}, 5, True),
    "palette": (GREY, TILES | {"photometric": "palette", "colormap": PALETTE}, 3, True),
    "white is zero": (GREY, TILES | {"photometric": "miniswhite"}, 1, True),
    "black or white": (GREY > 90, TILES | {"photometric": "minisblack"}, 3, True),
    "4 bits": (GREY // 16, TILES | {"bitspersample": 4}, 1, True),
    "alpha": (np.dstack([COLORS, GREY]), TILES | {"extrasamples": ["unassalpha"]}, 3, True),
    "int32": (GREY.astype("int32") - 40, BAND | TILES, 1, True),
}


def same_windows(raster, expected):
    """Compares windows at the edges, across segments, of one pixel, and everything."""
    height, width = expected.shape[:2]
    assert raster.shape == (height, width)
    rows = [(0, height), (0, 1), (5, min(41, height)), (height - 1, height)]
    columns = [(0, width), (0, 1), (min(13, width - 1), min(50, width)), (width - 1, width)]
    for top, bottom in rows:
        for left, right in columns:
            found = raster.read(slice(top, bottom), slice(left, right))
            assert found.dtype == expected.dtype and found.flags.c_contiguous
            np.testing.assert_array_equal(found, expected[top:bottom, left:right])


@pytest.mark.parametrize("array, options, channels, by_window", TIFFS.values(), ids=TIFFS)
def test_tiff(tmp_path, array, options, channels, by_window):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, **options)
    value_range = [-40, 300] if array.dtype == np.int32 else None
    expected = to_unit(read_image(path, channels), value_range, path)
    with open_raster(path, channels, value_range) as raster:
        assert raster.by_window == by_window and raster.path == path
        same_windows(raster, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("options", [{}, TILES, {"compression": "deflate"}])
def test_a_lying_tiff_is_read_upright(tmp_path, orientation, options):
    path = tmp_path / "a.tif"
    tag = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(path, COLORS, extratags=tag, **RGB, **options)
    with open_raster(path) as raster:
        same_windows(raster, read_image(path))


def test_the_largest_level_of_a_pyramid(tmp_path):
    for name, options in {"sub": {"subifds": 1}, "pages": {}}.items():
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as tiff:
            tiff.write(COLORS, **RGB, **TILES, **options)
            tiff.write(COLORS[::2, ::2], **RGB, **TILES, subfiletype=1)
        with open_raster(tmp_path / f"{name}.tif") as raster:
            same_windows(raster, COLORS)


def test_the_largest_level_of_a_slide(tmp_path):
    """Aperio's SVS calls its levels, the thumbnail and the label images like others."""
    aperio = {"description": "Aperio Image Library v1", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(COLORS, **RGB, tile=(32, 32), **aperio)
        tiff.write(COLORS[::5, ::5], **RGB, **aperio)
        tiff.write(COLORS[::2, ::2], **RGB, tile=(32, 32), **aperio)
    with open_raster(tmp_path / "a.tif") as raster:
        same_windows(raster, COLORS)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), COLORS)


def test_what_is_too_large_to_be_decoded_whole_is_read_by_window(tmp_path):
    path, edge = tmp_path / "a.tif", 20_480
    tiles = (None if n else np.full((512, 512), 7, np.uint8) for n in range(40 * 40))
    tifffile.imwrite(path, tiles, shape=(edge, edge), dtype="uint8", tile=(512, 512))
    with pytest.raises(ValueError, match=r"a\.tif says it is 20,480 x 20,480 pixels"):
        read_image(path, 1)
    with open_raster(path, 1) as raster:
        assert raster.shape == (edge, edge)
        found = raster.read(slice(0, 600), slice(500, edge))
        assert found[:512, :12].min() == 7 and found[512:].max() == 0 == found[:, 12:].max()
    tifffile.imwrite(path, shape=(edge, edge), dtype="uint8", rowsperstrip=edge)
    with open_raster(path, 1) as raster:  # in one piece, but as it is
        assert raster.read(slice(20_470, edge), slice(0, edge)).max() == 0


def test_tiles_that_were_left_out_are_empty(tmp_path):
    path = tmp_path / "a.tif"
    tiles = [GREY[:16, :16], None, GREY[16:32, :16], None]
    tifffile.imwrite(path, iter(tiles), shape=(32, 32), dtype="uint8", tile=(16, 16))
    expected = np.where(np.arange(32) < 16, GREY[:32, :32], 0)[..., None]
    with open_raster(path, 1) as raster:
        same_windows(raster, expected)
    np.testing.assert_array_equal(read_image(path, 1), expected)


FILES = {
    "PNG": lambda path: Image.fromarray(COLORS).save(path, "PNG"),
    "PNG of 16 bits": lambda path: path.write_bytes(imagecodecs.png_encode(DEEP)),
    "JPEG": lambda path: Image.fromarray(COLORS).save(path, "JPEG"),
    "npy": lambda path: np.save(path, DEEP),
    "npy, other end": lambda path: np.save(path, FLOATS[..., :3].astype(">f8")),
    "npy, Fortran": lambda path: np.save(path, np.asfortranarray(COLORS)),
    "npy of one column": lambda path: np.save(path, np.asfortranarray(GREY[:, :1])),
}


@pytest.mark.parametrize("write", FILES.values(), ids=FILES)
def test_other_files(tmp_path, write):
    path = tmp_path / "a.npy"
    write(path)
    with open_raster(path) as raster:
        same_windows(raster, to_unit(read_image(path), None, path))
        raster.read(slice(0, 1), slice(0, 1))[:] = 0  # what was read is the caller's own
        same_windows(raster, to_unit(read_image(path), None, path))


def test_a_lying_jpeg_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(COLORS).save(tmp_path / "a.jpg", exif=exif)
    with open_raster(tmp_path / "a.jpg") as raster:
        assert raster.shape == (WIDTH, HEIGHT)
        same_windows(raster, read_image(tmp_path / "a.jpg"))


def test_segments_are_decoded_once(tmp_path, monkeypatch):
    path, read = tmp_path / "a.tif", []
    image = RNG.integers(0, 256, (256, 128), np.uint8)
    tifffile.imwrite(path, image, tile=(32, 32), compression="deflate")
    found = tifffile.TiffPage.decode.func
    monkeypatch.setattr(tifffile.TiffPage, "decode", property(lambda page: counted(found(page))))

    def counted(decode):
        return lambda data, index, **more: (read.append(index), decode(data, index, **more))[1]

    with open_raster(path, 1, cache=3 * 128 * 32) as raster:  # three rows of tiles
        for top in range(0, 256, 20):  # strips that overlap their neighbours
            rows = slice(max(0, top - 10), min(256, top + 30))
            np.testing.assert_array_equal(raster.read(rows, slice(0, 128))[..., 0], image[rows])
    assert sorted(read) == list(range(8 * 4))
    read.clear()
    with open_raster(path, 1, cache=1) as raster:  # a cache that keeps one segment still works
        same_windows(raster, image[..., None])
    assert len(read) > 32


def test_several_threads_may_read(tmp_path):
    path = tmp_path / "a.tif"
    image = RNG.integers(0, 256, (512, 300, 3), np.uint8)
    tifffile.imwrite(path, image, tile=(32, 32), compression="lzw", **RGB)

    def right(top):
        return np.array_equal(
            raster.read(slice(top, top + 70), slice(9, 300)), image[top:][:70, 9:]
        )

    with open_raster(path, cache=2**16) as raster, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, RNG.integers(0, 442, 60)))


def test_what_is_not_touched_is_not_read(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLORS, tile=(16, 16), compression="deflate", **RGB)
    with tifffile.TiffFile(path) as tiff:
        at = tiff.pages[0].dataoffsets[-1]
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(data)
    with open_raster(path) as raster:
        np.testing.assert_array_equal(raster.read(slice(0, 64), slice(0, 80)), COLORS[:64, :80])
        with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: .*Restore"):
            raster.read(slice(0, HEIGHT), slice(0, WIDTH))


def test_windows_must_lie_inside(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    with open_raster(tmp_path / "a.npy") as raster:
        for rows in (slice(0, 71), slice(-1, 3), slice(3, 3), slice(0, 4, 2)):
            with pytest.raises(ValueError, match=r"rows must be a slice.* 70 rows of .*a\.npy"):
                raster.read(rows, slice(0, 9))


def test_floats_are_judged_where_they_are_read(tmp_path):
    wrong = FLOATS[..., 0].copy()
    wrong[40, 7], wrong[60, 0] = np.nan, 3
    np.save(tmp_path / "a.npy", wrong)
    with open_raster(tmp_path / "a.npy", 1) as raster:
        raster.read(slice(0, 40), slice(0, WIDTH))
        words = (
            r"a\.npy holds NaN or infinity in 1 of 900 pixels of rows 35 to 44.*row 40, column 7"
        )
        with pytest.raises(ValueError, match=words):
            raster.read(slice(35, 45), slice(0, WIDTH))
        with pytest.raises(ValueError, match=r"a\.npy must hold values in \[0, 1\].*to 3\."):
            raster.read(slice(50, 70), slice(0, WIDTH))


REFUSED = {
    "bands": (FLOATS, 3, "must have 3 channels.*5 .bands., 70x90 pixels.*data.channels=5"),
    "bands first": (np.moveaxis(FLOATS, -1, 0), 5, "must have 5 .*5x70 pixels.*bands come first"),
    "bool": (GREY > 3, 1, "must hold numbers.*dtype bool"),
    "objects": (np.array([[{}]]), 1, "holds Python objects"),
    "empty": (GREY[:0], 1, "holds no pixels.*0x90"),
    "volume": (FLOATS[None], 5, r"must hold an array \(H, W\)"),
}


@pytest.mark.parametrize("array, channels, words", REFUSED.values(), ids=REFUSED)
def test_what_the_reader_of_images_refuses_is_refused_when_it_is_opened(
    tmp_path, array, channels, words
):
    path = tmp_path / "a.npy"
    np.save(path, array)
    for read in (read_image, lambda *args: open_raster(*args).__enter__()):
        with pytest.raises(ValueError, match=rf"a\.npy {words}"):
            read(path, channels)


def test_tiffs_that_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FLOATS, planarconfig=1, **BAND)
    with pytest.raises(ValueError, match=r"a\.tif must have 3 channels.*5 \(bands\), 70x90 pixels"):
        open_raster(path).__enter__()
    tifffile.imwrite(path, PLANES, metadata={"axes": "ZYX"})
    with pytest.raises(ValueError, match=r"a\.tif is a stack of images"):
        open_raster(path, 5).__enter__()


@pytest.mark.parametrize("options", [TILES, TILES | {"compression": "lzw"}, {"rowsperstrip": 5}])
def test_a_tiff_that_is_cut_short_is_named_before_hours_are_spent(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLORS, **RGB, **options)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"a\.tif is cut short: .*Received: [\d,]+\. Restore"):
        open_raster(path).__enter__()


def test_a_tile_that_is_not_listed_is_no_black_tile(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLORS, tile=(16, 16), compression="deflate", **RGB)
    with tifffile.TiffFile(path) as tiff:
        tag = tiff.pages[0].tags[324]  # TileOffsets
    data = bytearray(path.read_bytes())
    data[tag.offset + 4 : tag.offset + 8] = (tag.count - 1).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.tif is damaged: .* 30 tiles lie. Received: 29"):
        open_raster(path).__enter__()


@pytest.mark.parametrize("compression", [None, "deflate", "lzw", "jpeg"])
def test_whatever_is_damaged_is_an_error_that_names_the_file(tmp_path, compression):
    """Cut anywhere, or with bytes changed, a file is read or refused; nothing else happens."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLORS, tile=(32, 32), compression=compression, **RGB)
    data, refused = path.read_bytes(), 0
    rng = np.random.default_rng(1)
    for trial in range(60):
        wrong = bytearray(data)
        if trial % 2:
            wrong = wrong[: rng.integers(1, len(data))]
        else:
            for at in rng.integers(0, len(data), 3):
                wrong[at] = rng.integers(256)
            for at in rng.integers(0, 400, 2):  # the header
                wrong[at] = rng.integers(256)
        path.write_bytes(wrong)
        try:
            with open_raster(path) as raster:
                height, width = raster.shape
                raster.read(slice(0, min(height, 99)), slice(0, min(width, 99)))
        except (ValueError, OSError) as error:
            refused += 1
            assert "a.tif" in str(error)
    assert refused > 30


def test_what_is_no_image(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"hello, world")
    with pytest.raises(ValueError, match=r"a\.tif cannot be read as an image: it holds no JPEG"):
        open_raster(tmp_path / "a.tif").__enter__()
    with pytest.raises(FileNotFoundError, match=r"There is no file .*b\.tif"):
        open_raster(tmp_path / "b.tif").__enter__()
    with pytest.raises(OSError, match=r"is a folder"):
        open_raster(tmp_path).__enter__()

"""Reading folder data sets: files, sizes, splits."""

import pickle
import struct
import zlib

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit import targets
from segkit.data.folder import BadData, Folder, reading, splits
from segkit.data.folder.reading import Reader
from segkit.data.layout import find_pairs
from segkit.data.readers import image_size
from segkit.labels import LabelSpace

LABELS = LabelSpace(folder_data.NAMES)


def one(directory, labels=LABELS, **options):
    """A Folder of everything in `directory`, all annotated."""
    problems = []
    pairs = find_pairs(directory, "", labels, problems)
    assert not problems
    return Folder(pairs, Reader(labels, **options), np.ones((len(pairs), labels.num_classes)))


def grey_png(path, ids, depth):
    """A grey PNG of 1, 2 or 4 bits, which Pillow does not write."""
    per_byte = 8 // depth
    rows = ids.reshape(len(ids), -1, per_byte) << np.arange(8 - depth, -1, -depth)
    raw = b"".join(b"\0" + row.sum(-1).astype(np.uint8).tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", ids.shape[1], ids.shape[0], depth, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d))
            for k, d in chunks
        )
    )


def test_a_sample_is_what_lies_on_disk(tmp_path):
    pixels, ids = folder_data.image(1), folder_data.mask(2)
    folder_data.add(tmp_path, "b", pixels, ids)
    folder_data.add(tmp_path, "a")
    folder = one(tmp_path)
    sample = folder[1]
    assert (len(folder), folder.names, folder.labels) == (2, ["a", "b"], LABELS)
    np.testing.assert_array_equal(sample.image, pixels)
    np.testing.assert_array_equal(sample.mask, ids)
    assert (sample.image.dtype, sample.mask.dtype) == (np.uint8, np.uint8)
    assert sample.annotated.tolist() == [True, True, True] and sample.truth is None
    assert sample.name == "b"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_image_has_three_channels(tmp_path, mode):
    grey = np.where(folder_data.mask() == 1, 255, 0).astype(np.uint8)
    folder_data.add(tmp_path, "a")
    suffix = ".jpg" if mode == "CMYK" else ".png"
    if suffix == ".jpg":
        (tmp_path / "images/a.png").unlink()
    Image.fromarray(grey).convert(mode).save(tmp_path / f"images/a{suffix}")
    pixels = one(tmp_path)[0].image
    assert pixels.shape == (4, 6, 3)
    np.testing.assert_allclose(
        pixels, np.repeat(grey[..., None], 3, -1), atol=40 * (mode == "CMYK")
    )


def test_a_transparent_palette_image_opens_without_a_warning(tmp_path):
    folder_data.add(tmp_path, "a")
    picture = Image.fromarray(folder_data.mask())
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "images/a.png", transparency=b"\0\1\2")
    expected = folder_data.mask()[..., None] * 30 + np.array([10, 20, 30])
    np.testing.assert_array_equal(one(tmp_path)[0].image, expected)


def test_images_are_turned_upright(tmp_path):
    """Orientation 6: the camera lay on its side; upright, the image is as large as its mask."""
    upright = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[:, None], 16, 1)
    folder_data.add(tmp_path, "a", ids=folder_data.mask(size=(32, 16)))
    (tmp_path / "images/a.png").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "images/a.jpg", exif=exif)
    folder = one(tmp_path)
    np.testing.assert_allclose(folder[0].image[..., 0], upright, atol=8)
    assert image_size(tmp_path / "images/a.jpg") == (32, 16)  # from the header


@pytest.mark.parametrize("kind", ["1 bit", "2 bits", "4 bits", "palette", "16 bits"])
def test_ids_are_read_as_stored(tmp_path, kind):
    """In particular Pillow's stretching of 2-bit grey (id 1 -> 85) is undone."""
    ids = np.array([[0, 1, 2, 1, 0, 2, 2, 1]], np.uint8).repeat(2, 0)
    folder_data.add(tmp_path, "a", folder_data.image(size=(2, 8)), ids)
    path = tmp_path / "masks/a.png"
    if kind == "palette":
        picture = Image.fromarray(ids)
        picture.putpalette([200, 0, 0, 0, 0, 0, 10, 20, 30])
        picture.save(path)
    elif kind == "16 bits":
        Image.fromarray(ids.astype(np.uint16)).save(path)
    else:
        ids = ids % 2 if kind == "1 bit" else ids
        grey_png(path, ids, int(kind[0]))
    sample = one(tmp_path)[0]
    np.testing.assert_array_equal(sample.mask, ids)
    assert sample.mask.dtype == np.uint8


def test_many_classes_make_16_bit_masks(tmp_path):
    ids = np.array([[0, 299, 256, 65_000]], np.uint16)
    folder_data.add(tmp_path, "a", folder_data.image(size=(1, 4)), ids)
    labels = LabelSpace([f"c{i}" for i in range(300)], ignore_index=65_000)
    folder = one(tmp_path, labels)
    assert folder[0].mask.tolist() == ids.tolist() and folder[0].mask.dtype == np.uint16
    assert np.flatnonzero(folder.reader.mask(folder.pairs[0]).pixels).tolist() == [0, 256, 299, 300]


def test_the_truth_comes_along(tmp_path):
    folder_data.add(tmp_path, "a")
    folder_data.add(tmp_path, "b")
    (tmp_path / "truth").mkdir()
    Image.fromarray(folder_data.mask(9)).save(tmp_path / "truth/b.png")
    folder = one(tmp_path)
    assert folder[0].truth is None
    np.testing.assert_array_equal(folder[1].truth, folder_data.mask(9))


def test_resizing_takes_the_nearest_id(tmp_path):
    """4 -> 2 rows: the middles of the new pixels lie on the old rows 1 and 3."""
    ids = np.array([[0, 0], [1, 1], [0, 0], [2, 2]], np.uint8)
    pixels = np.array([10, 20, 30, 40], np.uint8)[:, None, None].repeat(2, 1).repeat(3, 2)
    folder_data.add(tmp_path, "a", pixels, ids)
    sample = one(tmp_path, size=(2, 4))[0]
    assert sample.mask.tolist() == [[1] * 4, [2] * 4]
    assert sample.image.shape == (2, 4, 3)
    assert sample.image[0, 0, 0] < 25 < sample.image[1, 0, 0]  # and not a swap of the two axes


def test_cropping_keeps_the_middle_and_ignores_the_padding(tmp_path):
    ids = np.arange(3, dtype=np.uint8)[None].repeat(5, 0)  # 5 high, 3 wide
    pixels = ids[..., None].repeat(3, 2) * 50 + np.arange(5, dtype=np.uint8)[:, None, None]
    folder_data.add(tmp_path, "a", pixels, ids)
    labels = LabelSpace(folder_data.NAMES, ignore_index=None)
    folder = one(tmp_path, labels, size=(3, 6), fit="crop")
    sample = folder[0]
    assert folder.labels.ignore_index == 255 and folder.labels.names == labels.names
    assert sample.mask.tolist() == [[255, 0, 1, 2, 255, 255]] * 3
    assert sample.image[:, :, 0].tolist() == [[r, r, 50 + r] + [100 + r] * 3 for r in (1, 2, 3)]
    target = targets.encode(sample.mask[None], sample.annotated[None], folder.labels)
    assert (target[0, :, 0] == -1).all()


def test_an_id_that_only_padding_has_is_stray_in_a_file(tmp_path):
    folder_data.add(tmp_path, "a", ids=np.full((4, 6), 255, np.uint8))
    labels = LabelSpace(folder_data.NAMES, ignore_index=None)
    with pytest.raises(ValueError, match=r"a\.png may hold the ids 0, 1, 2.*also: 255"):
        one(tmp_path, labels, size=8, fit="crop")[0]


# Splits


def test_split_folders_are_the_splits(tmp_path):
    folder_data.make(tmp_path, "abc", ("train", "val", "test"))
    found = splits(tmp_path)
    assert list(found) == ["train", "val", "test"]
    assert found["test"].names == ["a", "b", "c"] and found["test"][0].image.shape == (128, 128, 3)


@pytest.mark.parametrize("part", ["", "train"])
def test_val_is_drawn_where_there_is_none(tmp_path, part):
    stems = [f"{i:02d}" for i in range(20)]
    folder_data.make(tmp_path, stems, [part])
    quarter = {"val": 0.25}
    found = splits(tmp_path, split=quarter, seed=3)
    assert {name: len(folder) for name, folder in found.items()} == {"train": 15, "val": 5}
    assert sorted(found["train"].names + found["val"].names) == stems
    assert found["val"].names == splits(tmp_path, split=quarter, seed=3)["val"].names
    assert found["val"].names != splits(tmp_path, split=quarter, seed=4)["val"].names
    assert list(splits(tmp_path, split={"val": 0.0})) == ["train"]


def test_limit_draws_nested_samples(tmp_path):
    stems = [f"{i:02d}" for i in range(20)]
    folder_data.make(tmp_path, stems)
    few, more = (splits(tmp_path, limit=n)["train"].names for n in (4, 9))
    assert len(few) == 4 and set(few) < set(more) and len(more) == 9
    assert few != stems[:4]
    assert splits(tmp_path, limit=99)["train"].names == stems


def test_images_are_decoded_when_they_are_asked_for(tmp_path):
    """Unless there is a cache to keep them, where all are read at once."""
    folder_data.make(tmp_path)
    path = tmp_path / "train/images/a.png"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    path.write_bytes(damaged)
    train = splits(tmp_path)["train"]
    with pytest.raises(ValueError, match=r"a\.png cannot be read"):
        train[0]
    with pytest.raises(BadData, match=r"a\.png cannot be read"):
        splits(tmp_path, cache="memory")


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_with_a_cache_nothing_is_decoded_twice(tmp_path, monkeypatch, cache):
    folder_data.make(tmp_path / "data")
    options = {"cache": cache, "cache_folder": str(tmp_path / "cache"), "size": 8}
    plain, train = (splits(tmp_path / "data", **o)["train"] for o in ({"size": 8}, options))
    expected, decoded = list(plain), []
    for name in ("read_image", "read_mask"):
        monkeypatch.setattr(reading, name, lambda path, *_: decoded.append(path))
    for ours, theirs in zip(train, expected):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.mask, theirs.mask)
    again = splits(tmp_path / "data", **options) if cache == "disk" else None
    assert decoded == [] and (again is None or len(again["train"]) == 5)


def test_a_folder_can_be_sent_to_another_process(tmp_path):
    folder = splits(folder_data.make(tmp_path))["val"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(folder))[2].image, folder[2].image)


@pytest.mark.parametrize(
    "name, classes, ignore_index, counts",
    [("wbc", 3, None, (319, 80)), ("larynx", 6, 255, (414, 106)), ("camvid", 11, 11, (367, 101))],
)
def test_real_data_sets(real_data, name, classes, ignore_index, counts):
    found = splits(real_data / name, size=64)
    assert (len(found["train"]), len(found["val"])) == counts
    labels = found["train"].labels
    assert (labels.num_classes, labels.ignore_index) == (classes, ignore_index)
    sample = found["train"][0]
    assert sample.image.shape == (64, 64, 3) and sample.image.std() > 10
    assert len(np.unique(sample.mask)) > 1


def test_a_cache_knows_what_the_ids_mean(tmp_path):
    """Cropped, both label spaces have an ignore index; only in one may files hold it."""
    root = folder_data.make(tmp_path / "data", "ab")
    for stem in "ab":
        folder_data.add(root / "train", stem, ids=np.full((4, 6), 255, np.uint8))
    options = {"fit": "crop", "cache": "disk", "cache_folder": str(tmp_path / "cache")}
    assert len(splits(root, **options)["train"]) == 2
    folder_data.classes(root, ignore_index=None)
    with pytest.raises(BadData, match="Received also: 255"):
        splits(root, **options)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_a_file_that_is_replaced_is_read_anew(tmp_path, cache):
    root = folder_data.make(tmp_path / "data", "ab")
    options = {"cache": cache, "cache_folder": str(tmp_path / "cache"), "size": None}
    train = splits(root, **options)["train"]
    folder_data.add(root / "train", "a", folder_data.image(99))
    np.testing.assert_array_equal(train[0].image, folder_data.image(99))
    np.testing.assert_array_equal(splits(root, **options)["train"][0].image, folder_data.image(99))


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_nobody_writes_into_a_sample(tmp_path, cache):
    options = {"cache": cache, "cache_folder": str(tmp_path / "cache")}
    sample = splits(folder_data.make(tmp_path / "data"), **options)["train"][0]
    for array in (sample.image, sample.mask):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0

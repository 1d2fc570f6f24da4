"""Whatever is wrong with a folder data set is an error that names the file, before training."""

import io
import os
import struct
import zlib

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit.data import places
from segkit.data.folder import BadData, examine, splits


def truncate(path):
    path.write_bytes(path.read_bytes()[:60])


def as_jpeg(path):
    buffer = io.BytesIO()
    Image.open(path).save(buffer, format="JPEG")
    path.write_bytes(buffer.getvalue())


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


def short_jpeg(path):
    """Noise of 200 x 200 pixels, cut in the middle; decoders fill the rest with grey."""
    noise = folder_data.image(size=(200, 200))
    save(path.with_name("a.jpg"), noise)
    path.with_name("a.jpg").write_bytes(path.with_name("a.jpg").read_bytes()[:20_000])
    path.unlink()
    save(path.parents[1] / "masks/a.png", folder_data.mask(size=(200, 200)))


def bomb(path, side=50_000):
    """A PNG of a few bytes that says it is 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")
    parts = (
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def not_numbers(path):
    values = folder_data.image().astype("float32") / 255
    values[1, 2, 0] = np.nan
    np.save(path.with_suffix(".npy"), values)
    path.unlink()


def link_out(path):
    outside = path.parents[3] / "outside.png"
    path.rename(outside)
    path.symlink_to(outside)


WRONG_LAYOUT = {
    "no masks": (lambda t: (t / "masks").rename(t / "mask"), "no folder .*masks.*Received.*mask"),
    "empty": (lambda t: [p.unlink() for p in (t / "masks").iterdir()], "masks is empty"),
    "no mask": (lambda t: (t / "masks/a.png").unlink(), r"images/a\.png needs a mask of the same"),
    "no image": (lambda t: (t / "images/b.png").unlink(), r"masks/b\.png needs an image of the"),
    "stray truth": (
        lambda t: save(t / "truth/z.png", folder_data.mask()),
        r"z\.png needs an image",
    ),
    "twice": (
        lambda t: save(t / "images/a.jpg", folder_data.image()),
        "stem 'a' twice: a.jpg and a.png",
    ),
    "other file": (lambda t: (t / "images/x.gif").touch(), r"only \.jpg, .*Received: x.gif"),
    "folder": (lambda t: (t / "images/more.png").mkdir(), "Received: more.png"),
    "look-alike": (
        lambda t: (t.parent / "validation/images").mkdir(parents=True),
        "passed over: validation",
    ),
    "both": (lambda t: (t.parent / "images").mkdir(), "which of them is meant"),
    "link": (
        lambda t: link_out(t / "images/a.png"),
        r"a\.png leads out .*outside.png.*follow_links",
    ),
    "split": (
        lambda t: [p.unlink() for p in (*t.glob("*/*.png"),)],
        "images is empty(.|\n)*masks is empty",
    ),
}


@pytest.mark.parametrize("harm, words", WRONG_LAYOUT.values(), ids=WRONG_LAYOUT)
def test_a_wrong_layout_is_named(tmp_path, harm, words):
    harm(folder_data.make(tmp_path / "data") / "train")
    with pytest.raises(BadData, match=words):
        splits(tmp_path / "data")


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    folder_data.make(tmp_path, "abcdefghi")
    for stem in "abcdef":
        (tmp_path / f"train/masks/{stem}.png").unlink()
    truncate(tmp_path / "train/images/g.png")
    (tmp_path / "train/masks/h.png").write_bytes(b"")
    with pytest.raises(BadData, match=r"has 8 problems:\n.*a\.png(.|\n)* and 3 more") as error:
        splits(tmp_path)
    found = {(p.kind, p.path.rpartition("train/")[2]) for p in error.value.problems}
    assert found == {("image without mask", f"images/{stem}.png") for stem in "abcdef"} | {
        ("image that cannot be used", "images/g.png"),
        ("mask that cannot be used", "masks/h.png"),
    }
    rest = examine(tmp_path)
    assert [rest.pairs[i].name for i in rest.splits["train"]] == ["i"]


def test_links_may_be_followed(tmp_path):
    folder_data.make(tmp_path / "data")
    link_out(tmp_path / "data/train/images/a.png")
    assert len(splits(tmp_path / "data", follow_links=True)["train"]) == 5
    (tmp_path / "data/val/masks").rename(tmp_path / "elsewhere")
    (tmp_path / "data/val/masks").symlink_to(tmp_path / "elsewhere")
    found = examine(tmp_path / "data").problems
    assert [p.path.rpartition("data/")[2] for p in found] == ["train/images/a.png", "val/masks"]


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._a.png"])
def test_files_of_the_system_are_left_alone(tmp_path, name):
    folder_data.make(tmp_path)
    (tmp_path / "train/images" / name).touch()
    assert splits(tmp_path)["train"].names == list("abcde")


def test_names_may_be_written_in_two_ways(tmp_path):
    """macOS decomposes an umlaut, a mask made elsewhere has it as one character."""
    folder_data.make(tmp_path, ["a", "b"])
    (tmp_path / "train/images/a.png").rename(tmp_path / "train/images/Gef\u0061\u0308\u00df.png")
    (tmp_path / "train/masks/a.png").rename(tmp_path / "train/masks/Gef\u00e4\u00df.png")
    lines = "image,annotated\nGef\u0061\u0308\u00df,cell\n"
    (tmp_path / "train/annotations.csv").write_text(lines, encoding="utf-8")
    with pytest.warns(UserWarning, match="nucleus, declared unannotated"):
        train = splits(tmp_path)["train"]
    assert train.names == ["Gef\u00e4\u00df", "b"]
    assert train.annotated.tolist() == [[True, True, False], [True] * 3]


# Damage that a look at the header, the end and the mask finds.
WRONG_FILES = {
    "truncated image": ("images", truncate, r"images/a\.png.*cut short"),
    "truncated jpeg": ("images", short_jpeg, r"images/a\.jpg.*cut short"),
    "empty image": ("images", lambda p: p.write_bytes(b""), r"images/a\.png.*0 bytes"),
    "no image": ("images", lambda p: p.write_text("text"), r"images/a\.png cannot be read"),
    "bomb": ("images", bomb, r"images/a\.png.*50,?000 ?x ?50,?000"),
    "truncated mask": ("masks", truncate, r"masks/a\.png"),
    "empty mask": ("masks", lambda p: p.write_bytes(b""), r"masks/a\.png.*0 bytes"),
    "mask bomb": ("masks", bomb, r"masks/a\.png.*50,?000 ?x ?50,?000"),
    "jpeg as png": ("masks", as_jpeg, r"masks/a\.png cannot be read"),
    "strange colours": (
        "masks",
        lambda p: save(p, folder_data.image()),
        r"masks/a\.png.*palette",
    ),
    "size": (
        "masks",
        lambda p: save(p, folder_data.mask(size=(6, 4))),
        r"masks/a\.png must be as large.*images/a\.png, 4x6.*Received: 6x4",
    ),
    "id 77": (
        "masks",
        lambda p: save(p, np.where(folder_data.mask() == 1, 77, 0).astype(np.uint8)),
        r"masks/a\.png may hold the ids 0, 1, 2, 255\. Received also: 77\. .*classes\.json",
    ),
}


@pytest.mark.parametrize("cache", ["none", "memory"])
@pytest.mark.parametrize("part, harm, words", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_damaged_file_is_named(tmp_path, part, harm, words, cache):
    folder_data.make(tmp_path)
    harm(tmp_path / "train" / part / "a.png")
    with pytest.raises(BadData, match=words):
        splits(tmp_path, cache=cache)
    rest = examine(tmp_path)
    assert [rest.pairs[i].name for i in rest.splits["train"]] == list("bcde")


# Damage that only decoding finds: with a cache at the start, without one at the image.
DEEP = {
    "not a number": (not_numbers, r"images/a\.npy.*NaN"),
    "out of range": (
        lambda p: (np.save(p.with_suffix(".npy"), np.full((4, 6, 3), -1000.0)), p.unlink()),
        r"images/a\.npy.*-1000.*data\.value_range",
    ),
    "channels": (
        lambda p: (np.save(p.with_suffix(".npy"), np.zeros((4, 6, 5))), p.unlink()),
        r"images/a\.npy.*5.*data\.channels",
    ),
}


@pytest.mark.parametrize("harm, words", DEEP.values(), ids=DEEP)
def test_damage_inside_an_image(tmp_path, harm, words):
    folder_data.make(tmp_path)
    harm(tmp_path / "train/images/a.png")
    with pytest.raises(BadData, match=words):
        splits(tmp_path, cache="memory")
    assert any("images/a.npy" in p.path for p in examine(tmp_path, deep=True).problems)
    train = splits(tmp_path)["train"]
    with pytest.raises(ValueError, match=words):
        train[0]
    assert train[1].name == "b"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    """As root, who may read everything, the system's refusal is played."""
    folder_data.make(tmp_path)
    (tmp_path / "train/images/a.png").chmod(0)

    def refusing(path, *options, **more):
        if str(path).endswith("train/images/a.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, *options, **more)

    if os.geteuid() == 0:
        monkeypatch.setattr(places, "open", refusing, raising=False)
    with pytest.raises(BadData, match=r"train/images/a\.png may not be read.*chmod u\+r"):
        splits(tmp_path, cache="memory")


def test_images_of_one_pixel(tmp_path):
    folder_data.make(tmp_path, "ab")
    for stem in "ab":
        folder_data.add(
            tmp_path / "train",
            stem,
            folder_data.image(ord(stem), (1, 1)),
            np.ones((1, 1), np.uint8),
        )
    train = splits(tmp_path, size=8)["train"]
    assert train[0].image.shape == (8, 8, 3) and (train[0].mask == 1).all()
    assert (splits(tmp_path, size=None)["train"][1].mask == 1).all()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"annotated": "some"}, "one of all, manifest, present. Received: 'some'"),
        ({"fit": "squeeze"}, "one of resize, crop. Received: 'squeeze'"),
        ({"size": 0}, "positive.*Received: 0"),
        ({"size": (3, 4, 5)}, r"Received: \(3, 4, 5\)"),
        ({"channels": 0}, "channels must be a whole number from 1 on. Received: 0"),
        ({"value_range": [5, 1]}, "value_range.*5.*1"),
        ({"split": {"valid": 0.2}}, "split may have the keys by, val, .*Received: .*valid"),
        ({"split": {"val": 1}}, "val.*Received"),
        ({"split": {"group": "("}}, r"group"),
        ({"cache": "ram"}, "none.*memory.*disk.*Received: 'ram'"),
        ({"limit": 0}, "limit.*Received: 0"),
    ],
)
def test_options_are_checked(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        splits(folder_data.make(tmp_path), **options)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(BadData, match="There is no folder .*nowhere"):
        splits(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(BadData, match="expected train/.*Received: pictures"):
        splits(tmp_path)
    folder_data.add(tmp_path, "a")
    with pytest.raises(BadData, match="no .*classes.json"):
        splits(tmp_path)
    (tmp_path / "classes.json").write_text("{names: cell}")
    with pytest.raises(BadData, match="classes.json is not valid JSON"):
        splits(tmp_path)


def test_one_image_alone(tmp_path):
    folder_data.make(tmp_path, "a", [""])
    with pytest.raises(BadData, match="(?i)val"):
        splits(tmp_path)
    assert len(splits(tmp_path, split={"val": 0.0})["train"]) == 1


def test_a_manifest_that_says_nothing_of_annotations(tmp_path):
    folder_data.make(tmp_path)
    (tmp_path / "annotations.csv").write_text("image,weight\ntrain/a,0.5\n")
    with pytest.raises(BadData, match="annotated='manifest' needs .*columns image and annotated"):
        splits(tmp_path, annotated="manifest")


def test_weights_that_leave_nothing(tmp_path):
    folder_data.make(tmp_path, "ab")
    (tmp_path / "train/annotations.csv").write_text("image,weight\na,0\nb,0\n")
    with pytest.raises(BadData, match="every image of train has the weight 0"):
        splits(tmp_path)
    (tmp_path / "train/annotations.csv").write_text("image,weight\na,0\nb,0.5\n")
    train = splits(tmp_path)["train"]
    assert train.weights.tolist() == [0, 0.5] and [s.weight for s in train] == [0, 0.5]


def test_a_binary_mask_is_told_from_a_stray_id(tmp_path):
    folder_data.make(tmp_path, ignore_index=None)
    save(tmp_path / "train/masks/a.png", np.array([[0, 255] * 3] * 4, np.uint8))
    with pytest.raises(BadData, match=r"Received also: 255\. It looks binary: write the id"):
        splits(tmp_path)

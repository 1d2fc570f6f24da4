"""Whatever is wrong with a folder data set is an error that names the file."""

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit.data.folder import splits


def truncate(path):
    path.write_bytes(path.read_bytes()[:60])


def as_jpeg(path):
    Image.open(path).save(path, format="JPEG")


def save(path, array):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)


WRONG_LAYOUT = {
    "no masks": (lambda t: (t / "masks").rename(t / "mask"), "no folder .*masks.*Received.*mask"),
    "empty": (lambda t: [p.unlink() for p in (t / "masks").iterdir()], "masks is empty"),
    "no mask": (lambda t: (t / "masks/a.png").unlink(), "image needs a mask.*Without one: a.png"),
    "no image": (lambda t: (t / "images/b.png").unlink(), "mask needs an image.*one: b.png"),
    "stray truth": (lambda t: save(t / "truth/z.png", folder_data.mask()), "truth needs.*z.png"),
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
}


@pytest.mark.parametrize("harm, words", WRONG_LAYOUT.values(), ids=WRONG_LAYOUT)
def test_a_wrong_layout_is_named(tmp_path, harm, words):
    folder_data.make(tmp_path)
    harm(tmp_path / "train")
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        splits(tmp_path)


def test_at_most_five_files_are_listed(tmp_path):
    folder_data.make(tmp_path, "abcdefgh")
    for stem in "abcdefg":
        (tmp_path / f"train/masks/{stem}.png").unlink()
    with pytest.raises(ValueError, match="a.png, b.png, c.png, d.png, e.png and 2 more"):
        splits(tmp_path)


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "._a.png"])
def test_files_of_the_system_are_left_alone(tmp_path, name):
    folder_data.make(tmp_path)
    (tmp_path / "train/images" / name).touch()
    assert splits(tmp_path)["train"].names == list("abcde")


WRONG_FILES = {
    "truncated image": ("images", truncate, r"images/a\.png cannot be read as an image: .*trunc"),
    "no image": ("images", lambda p: p.write_text("text"), r"images/a\.png cannot be read"),
    "16-bit image": (
        "images",
        lambda p: save(p, np.full((4, 6), 1000, np.uint16)),
        r"images/a\.png has more than 8 bits",
    ),
    "truncated mask": ("masks", truncate, r"masks/a\.png cannot be read as a PNG mask: .*trunc"),
    "jpeg as png": ("masks", as_jpeg, r"masks/a\.png cannot be read as a PNG mask"),
    "colours": (
        "masks",
        lambda p: save(p, folder_data.image()),
        r"masks/a\.png holds colours.*palette PNG.*'RGB'",
    ),
    "size": (
        "masks",
        lambda p: save(p, folder_data.mask(size=(6, 4))),
        r"masks/a\.png must be as large.*images/a\.png, 4x6.*Received: 6x4",
    ),
    "stray ids": (
        "masks",
        lambda p: save(p, folder_data.mask() * 7),
        r"masks/a\.png may hold the ids 0, 1, 2, 255\. Received also: 7, 14\. .*classes\.json",
    ),
}


@pytest.mark.parametrize("part, harm, words", WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_damaged_file_is_named(tmp_path, part, harm, words):
    folder_data.make(tmp_path)
    harm(tmp_path / "train" / part / "a.png")
    train = splits(tmp_path, size=None)["train"]
    with pytest.raises(ValueError, match=words):
        train[0]
    assert train[1].name == "b"
    if part == "masks":  # images are not decoded
        with pytest.raises(ValueError, match=r"(?s)1 of 5 images.*" + words):
            train.validate()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"annotated": "some"}, "one of all, manifest, present. Received: 'some'"),
        ({"fit": "squeeze"}, "one of resize, crop. Received: 'squeeze'"),
        ({"size": 0}, "positive.*Received: 0"),
        ({"size": (3, 4, 5)}, r"Received: \(3, 4, 5\)"),
        ({"val_fraction": 1}, r"val_fraction.*Received: 1"),
        ({"limit": 0}, "limit.*Received: 0"),
    ],
)
def test_options_are_checked(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        splits(folder_data.make(tmp_path), **options)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no folder .*nowhere"):
        splits(tmp_path / "nowhere")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match="expected train/.*Received: pictures"):
        splits(tmp_path)
    folder_data.add(tmp_path, "a")
    with pytest.raises(FileNotFoundError, match="no .*classes.json"):
        splits(tmp_path)
    folder_data.classes(tmp_path)
    with pytest.raises(ValueError, match="at least 2 images.*a.png.*val_fraction=0"):
        splits(tmp_path)
    folder_data.classes(tmp_path, exclusive=False, background=None)
    with pytest.raises(ValueError, match="exclude each other.*exclusive=False"):
        splits(tmp_path, val_fraction=0)

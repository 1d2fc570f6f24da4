"""annotations.csv: what it says, for whom, and what happens where it says nothing."""

import warnings

import folder_data
import numpy as np
import pytest

from segkit import targets
from segkit.data.folder import splits

B, BC, BN, ALL = [1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]


@pytest.fixture
def root(tmp_path):
    """Stems a, b, c; b shows no nucleus, c shows nothing."""
    folder_data.make(tmp_path, "abc")
    for part in ("train", "val"):
        folder_data.add(tmp_path / part, "b", ids=folder_data.mask() % 2)
        folder_data.add(tmp_path / part, "c", ids=folder_data.mask() * 0)
    return tmp_path


def annotated(root, policy="all", part="train"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of contradictions, tested below
        return [s.annotated.astype(int).tolist() for s in splits(root, policy, size=None)[part]]


@pytest.mark.parametrize(
    "policy, expected",
    [("all", [ALL, ALL, BN]), ("manifest", [B, B, BN]), ("present", [ALL, BC, BN])],
)
def test_the_policy_decides_for_images_left_out(root, policy, expected):
    (root / "train/annotations.csv").write_text("image,annotated\nc,nucleus\n")
    assert annotated(root, policy) == expected


def test_present_needs_no_file(root):
    assert annotated(root, "present") == [ALL, BC, B]


def test_manifest_needs_one(root):
    with pytest.raises(FileNotFoundError, match="annotated='manifest' needs .*annotations.csv"):
        splits(root, "manifest")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("*", ALL),
        ("", B),
        ("cell", BC),
        ("nucleus;cell", ALL),
        (" cell ; nucleus ", ALL),
        ("background;nucleus", BN),
    ],
)
def test_cells(root, text, expected):
    (root / "train/annotations.csv").write_text(f"image,annotated\nb.png,{text}\n")
    assert annotated(root)[1] == expected


def test_spreadsheets_are_understood(root):
    content = "\ufeffimage,weight,annotated\r\ntrain/a,0.5,cell\r\n\r\nval/a.png,1,\r\n"
    (root / "annotations.csv").write_bytes(content.encode())
    assert annotated(root)[0] == BC
    assert annotated(root, part="val") == [B, ALL, ALL]


def test_drawn_splits_take_their_lines_along(tmp_path):
    folder_data.make(tmp_path, "abcd", [""])
    (tmp_path / "annotations.csv").write_text("image,annotated\na,\nb,\nc,\nd,\n")
    assert annotated(tmp_path, "manifest", "val") == [B]


@pytest.mark.parametrize(
    "content, words",
    [
        (
            "image,annotated\na,cell\nb,cel\n",
            r"train/annotations.csv:3: There is no class 'cel'.*cell, nucleus",
        ),
        ("image,annotated\na,cell;\n", r"train/annotations.csv:2: There is no class ''"),
        ("image,annotated\nz,*\n", r"train/annotations.csv:2: there is no image 'z'.*for example"),
        (
            "image,annotated\na,*\n\na.png,\n",
            r"train/annotations.csv:4: .*'a.png' was already.*csv:2",
        ),
        (
            "image;annotated\na;*\n",
            r"train/annotations.csv:1: .*image and annotated.*Received: 'image;annotated'",
        ),
        ("", r"train/annotations.csv:1: expected a header.*Received: ''"),
        ("image,annotated\na\n", r"train/annotations.csv:2: expected 2 cells.*Received: 1, 'a'"),
        (
            "image,annotated\na,cell,nucleus\n",
            r"train/annotations.csv:2: expected 2 cells.*Received: 3",
        ),
        ('image,annotated\na,"cell\n', r"not a CSV file"),
        (b"image,annotated\n\xff,*\n", r"not a CSV file in UTF-8"),
    ],
)
def test_mistakes_are_named_with_file_and_line(root, content, words):
    data = content if isinstance(content, bytes) else content.encode()
    (root / "train/annotations.csv").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        splits(root)


def test_a_name_in_two_splits_needs_its_split(root):
    (root / "annotations.csv").write_text("image,annotated\na,*\n")
    with pytest.raises(ValueError, match=r"annotations.csv:2: 'a' may be any of .*Write .*train/a"):
        splits(root)


def test_contradictions_are_warned_about_once_and_keep_their_labels(root):
    (root / "train/annotations.csv").write_text("image,annotated\na,\nb,nucleus\n")
    train = splits(root, size=None)["train"]
    with pytest.warns(UserWarning, match=r"masks/a\.png \(cell, nucleus\).*validate") as caught:
        first, second = train[0], train[1]
    assert len(caught) == 1
    assert second.annotated.tolist() == [True, False, True]
    target = targets.encode(first.mask[None], first.annotated[None], train.labels)[0]
    np.testing.assert_array_equal(target[..., 1] == 1, first.mask == 1)
    assert (target[..., 1][first.mask == 0] == -1).all()


def test_validate_finds_all_contradictions(root):
    (root / "train/annotations.csv").write_text("image,annotated\na,\nb,nucleus\nc,\n")
    train = splits(root, size=None)["train"]
    with pytest.warns(UserWarning, match=r"a\.png \(cell, nucleus\); .*b\.png \(cell\)\. "):
        train.validate()
    train[0]  # warned about already


def test_no_contradiction_no_warning(root):
    (root / "train/annotations.csv").write_text("image,annotated\nb,cell\nc,\n")
    train = splits(root)["train"]
    train.validate()
    assert len([sample.name for sample in train]) == 3

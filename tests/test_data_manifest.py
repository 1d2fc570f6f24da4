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
    with pytest.raises(ValueError, match="annotated='manifest' needs .*annotations.csv"):
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


def test_contradictions_are_warned_about_once_and_keep_their_labels(root):
    (root / "train/annotations.csv").write_text("image,annotated\na,\nb,nucleus\nc,\n")
    words = r"masks/a\.png shows cell, nucleus, declared unannotated.*Likewise .*masks/b\.png\."
    with pytest.warns(UserWarning, match=words) as caught:
        train = splits(root, size=None)["train"]
        first, second = train[0], train[1]
    assert len(caught) == 1
    assert second.annotated.tolist() == [True, False, True]
    target = targets.encode(first.mask[None], first.annotated[None], train.labels)[0]
    np.testing.assert_array_equal(target[..., 1] == 1, first.mask == 1)
    assert (target[..., 1][first.mask == 0] == -1).all()


def test_no_contradiction_no_warning(root):
    (root / "train/annotations.csv").write_text("image,annotated\nb,cell\nc,\n")
    assert len([sample.name for sample in splits(root)["train"]]) == 3


def test_the_other_columns_arrive(tmp_path):
    folder_data.make(tmp_path, "abcd", [""])
    rows = "a,train,p,0.5\nb,train,q,\nc,val,r,0\nd,test,s,2\n"
    (tmp_path / "annotations.csv").write_text(f"image,split,group,weight\n{rows}")
    found = splits(tmp_path)
    assert {name: folder.names for name, folder in found.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
    }
    assert [sample.weight for sample in found["train"]] == [0.5, 1.0]


def test_a_bad_line_keeps_the_data_set_from_being_used(root):
    (root / "train/annotations.csv").write_text("image,annotated\nz,*\n")
    with pytest.raises(ValueError, match=r"train/annotations.csv:2: there is no image 'z'"):
        splits(root)


def test_two_groups_of_one_name_in_two_splits_are_a_leak(root):
    rows = "".join(f"{part}/{stem},p\n" for part in ("train", "val") for stem in "abc")
    (root / "annotations.csv").write_text(f"image,group\n{rows}")
    with pytest.raises(ValueError, match=r"The group 'p' is in train \(3 images, a\) and in val"):
        splits(root)

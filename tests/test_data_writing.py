"""Writing a source in the folder format, and reading it back bit for bit."""

import folder_data
import numpy as np
import pytest

from segkit.contract import Sample
from segkit.data import writing
from segkit.data.folder import BadData, splits
from segkit.labels import LabelSpace

LABELS = LabelSpace(folder_data.NAMES)


class Made:
    """A source in memory."""

    def __init__(self, count=4, labels=LABELS, start=0, **changes):
        self.labels = labels
        self._samples = [self._sample(start + i)._replace(**changes) for i in range(count)]

    def _sample(self, seed):
        annotated = np.array([True, seed % 2 == 0, seed % 3 == 0])
        full = folder_data.mask(seed)
        kept = np.where(annotated[full], full, 0).astype(np.uint8)
        return Sample(folder_data.image(seed), kept, annotated, full, f"{seed:03d}")

    def __len__(self):
        return len(self._samples)

    def __getitem__(self, index):
        return self._samples[index]


def assert_same(source, other):
    assert len(source) == len(other)
    for ours, theirs in zip(source, other):
        assert ours.name == theirs.name
        for field in ("image", "mask", "annotated", "truth"):
            a, b = getattr(ours, field), getattr(theirs, field)
            np.testing.assert_array_equal(a, b, err_msg=field)
            assert a is None or a.dtype == b.dtype


@pytest.mark.parametrize("policy", ["all", "manifest", "present"])
def test_what_was_written_is_read_back(tmp_path, policy):
    """Also with equal names in both splits, and whatever the policy: every image has a line."""
    train, val = Made(4), Made(3, start=6)
    writing.write_labels(LABELS, tmp_path)
    writing.write(train, tmp_path / "train")
    writing.write(val, tmp_path / "val")
    found = splits(tmp_path, policy, size=None)
    assert found["train"].labels == LABELS
    assert_same(train, found["train"])
    assert_same(val, found["val"])
    lines = (tmp_path / "annotations.csv").read_text().splitlines()
    assert lines[:3] == ["image,annotated", "train/000,*", "train/001,"] and len(lines) == 8


def test_without_split_folders(tmp_path):
    source = Made(4, truth=None)
    writing.write_labels(LABELS, tmp_path)
    writing.write(source, tmp_path)
    assert_same(source, splits(tmp_path, "manifest", size=None, split={"val": 0.0})["train"])
    assert not (tmp_path / "truth").exists()


def test_many_ids_and_unnamed_grey_samples(tmp_path):
    labels = LabelSpace([f"c{i}" for i in range(300)], ignore_index=65_535)
    ids = np.array([[0, 299, 65_535]], np.int32)
    image = np.array([[[1], [2], [3]]], np.uint8)
    made = Made(1, labels, image=image, mask=ids, annotated=np.ones(300, bool), truth=None, name="")
    writing.write_labels(labels, tmp_path)
    writing.write(made, tmp_path / "train")
    sample = splits(tmp_path, size=None, split={"val": 0.0})["train"][0]
    assert sample.name == "000000" and sample.mask.tolist() == ids.tolist()
    assert sample.image.tolist() == image.repeat(3, -1).tolist()


def test_nothing_is_replaced_unasked(tmp_path):
    writing.write_labels(LABELS, tmp_path)
    writing.write(Made(3), tmp_path / "train")
    with pytest.raises(FileExistsError, match="already holds .*images/.*overwrite=True"):
        writing.write(Made(2), tmp_path / "train")
    writing.write(Made(2, start=7), tmp_path / "train", overwrite=True)
    assert_same(Made(2, start=7), splits(tmp_path, size=None, split={"val": 0.0})["train"])


def test_a_source_may_be_written_over_itself(tmp_path):
    writing.write_labels(LABELS, tmp_path)
    writing.write(Made(3), tmp_path / "train")
    source = splits(tmp_path, size=None, split={"val": 0.0})["train"]
    writing.write(source, tmp_path / "train", overwrite=True)
    assert_same(Made(3), splits(tmp_path, size=None, split={"val": 0.0})["train"])


class Interrupted(Made):
    def __getitem__(self, index):
        if index == 2:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_an_interrupted_write_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        writing.write(Interrupted(), tmp_path / "train")
    assert list(tmp_path.rglob("*.png")) == [] and not (tmp_path / "annotations.csv").exists()
    writing.write(Made(2), tmp_path / "train")


@pytest.mark.parametrize("kept", range(3))
def test_a_write_killed_while_moving_is_noticed(tmp_path, monkeypatch, kept):
    """`kept` of the three folders are in place when the process dies: images come last."""
    writing.write_labels(LABELS, tmp_path)
    moves = iter([True] * (kept + 1))  # one more: annotations.csv
    real = writing.os.replace

    def replace(source, destination):
        if not next(moves, False):
            raise KeyboardInterrupt
        real(source, destination)

    monkeypatch.setattr(writing.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        writing.write(Made(3), tmp_path / "train")
    with pytest.raises(BadData, match="There is no folder .*images"):
        splits(tmp_path)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"name": "a/b"}, "file names.*Received: 'a/b'"),
        ({"name": ".hidden"}, "not hidden.*Received: '.hidden'"),
        ({"name": "same"}, "Received: 'same' twice"),
        ({"image": np.zeros((4, 6, 3), np.float32)}, "uint8 images.*float32.*Scale"),
        ({"image": np.zeros((4, 6, 4), np.uint8)}, r"uint8 images.*\(4, 6, 4\)"),
        ({"mask": np.full((4, 6), -1)}, r"ids in 0\.\.65535.*Received: .*-1\.\.-1"),
        ({"truth": np.zeros((4, 5), np.uint8)}, r"as large as their image.*\(4, 5\)"),
    ],
)
def test_samples_that_do_not_fit_are_named(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        writing.write(Made(2, **changes), tmp_path / "train")
    assert not (tmp_path / "train/images").exists()


def test_an_empty_source(tmp_path):
    with pytest.raises(ValueError, match="source is empty"):
        writing.write(Made(0), tmp_path)


def test_a_manifest_with_more_columns_is_not_overwritten(tmp_path):
    (tmp_path / "annotations.csv").write_text("image,annotated,weight\nval/a,*,2\n")
    with pytest.raises(ValueError, match="annotations.csv needs the columns.*weight"):
        writing.write(Made(1), tmp_path / "train")

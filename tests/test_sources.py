"""From the config group `data` to splits, and what is said and written of them."""

import shutil

import folder_data
import numpy as np
import pytest

from segkit import assembly, sources
from segkit.config import compose

STEMS = [f"seq{s}_{i}" for s in range(5) for i in range(3)]


@pytest.fixture
def config(tmp_path):
    folder_data.make(tmp_path / "data", STEMS, [""])
    options = [f"data.root={tmp_path}/data", "data.split.group='^(seq\\d)_'", "data.size=8"]
    return compose("train", ["data=folder", *options, "data.cache=none"])


def test_the_splits_are_on_record_and_can_be_given_back(config, tmp_path):
    splits = sources.open_splits(config.data)
    sources.write_splits(splits, tmp_path / "splits.csv")
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert lines[0] == "image,split,group" and len(lines) == 16
    assert any(line.startswith("seq0_0,") and line.endswith(",seq0") for line in lines)
    shutil.copy(tmp_path / "splits.csv", tmp_path / "data/annotations.csv")
    config.data.seed = 7
    again = sources.open_splits(config.data)
    assert {s: source.names for s, source in again.items()} == {
        s: source.names for s, source in splits.items()
    }


def test_groups_are_named(config):
    splits = sources.open_splits(config.data)
    counts = sources.survey(splits["val"], config.data).counts
    text = sources.describe("val", splits["val"], counts)
    groups = sorted({name[:4] for name in splits["val"].names})
    assert f"3 images of 1 groups ({groups[0]}), 100% of" in text
    config.data.missing.rate = 0.5  # hidden, the source lies one deeper
    hidden = sources.open_splits(config.data)["val"]
    assert "groups (seq" in sources.describe("val", hidden, counts)


def test_images_that_are_drawn_have_no_names_to_record(tmp_path):
    config = compose("train", ["data.sizes={train: 2, val: 1}", "data.height=8", "data.width=8"])
    sources.write_splits(sources.open_splits(config.data), tmp_path / "splits.csv")
    assert not (tmp_path / "splits.csv").exists()


@pytest.mark.parametrize("size, warned", [(8, True), (4, False)])
def test_a_patch_as_large_as_the_image_is_pointed_out(config, caplog, size, warned):
    config.patches = {"_target_": "segkit.data.patches.Random", "size": size}
    assembly.require_batches(config, sources.open_splits(config.data))
    assert ("every patch is the whole image" in caplog.text) == warned


def test_a_survey_counts_what_a_loop_would(config):
    source = sources.open_splits(config.data)["train"]
    found = sources.survey(source, config.data)
    masks = np.stack([source.annotation(i)[0] for i in range(len(source))])
    assert found.counts.pixels.tolist() == np.bincount(masks.ravel(), minlength=3).tolist()
    assert found.present.tolist() == [[(m == c).any() for c in (1, 2)] for m in masks]


@pytest.mark.parametrize("part, empty", [("val", "train"), ("train", "val"), ("test", "train")])
def test_a_split_that_training_needs_is_missed_first(tmp_path, part, empty):
    folder_data.make(tmp_path, "ab", [part])
    options = ["data=folder", f"data.root={tmp_path}", "data.cache=none", "data.split.val=0.0"]
    config = compose("train", options)
    with pytest.raises(ValueError, match=f"and {empty} has none .*{empty} has 0 images"):
        assembly.require_batches(config, sources.open_splits(config.data))

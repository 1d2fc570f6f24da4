"""Cross-validation folds: each image held once, groups undivided, and nothing else changed."""

import json

import folder_data
import numpy as np
import pytest

from segkit import sources, training
from segkit.config import compose
from segkit.data import folds

SCENES = ["data.sizes={train: 14, val: 6}", "data.height=16", "data.width=16"]


def opened(*options):
    return sources.open_splits(compose("train", list(options)).data)


def held_in_turn(count, *options):
    given = [*options, f"data.fold.count={count}"]
    return [opened(*given, f"data.fold.held={k}") for k in range(count)]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Six patients with three images each, in train/ and val/; the same stems in both."""
    root = tmp_path_factory.mktemp("clinic")
    folder_data.classes(root)
    rows = ["image,annotated,group,weight"]
    for split, patients in (("train", range(4)), ("val", range(4, 6))):
        for patient in patients:
            for i in range(3):
                stem = f"p{patient % 4}_{i}"
                folder_data.add(root / split, stem, ids=folder_data.mask(patient) % (3 - bool(i)))
                rows.append(f"{split}/{stem},{'cell' if i else '*'},patient{patient},0.5")
    (root / "annotations.csv").write_text("\n".join(rows))
    return ["data=folder", f"data.root={root}", "data.size=8", "data.cache=none"]


def contents(source):
    """Each sample as (what is in it), told by its content."""
    samples = [source[i] for i in range(len(source))]
    key = [(s.image.tobytes(), s.mask.tobytes(), tuple(s.annotated), s.weight) for s in samples]
    return sorted(key)


@pytest.mark.parametrize("kind", ["scenes", "folder"])
def test_each_image_is_held_once_and_trained_on_otherwise(kind, clinic):
    options = SCENES if kind == "scenes" else clinic
    whole = opened(*options)
    everything = sorted(contents(whole["train"]) + contents(whole["val"]))
    turns = held_in_turn(3, *options)
    held = [contents(splits["val"]) for splits in turns]
    assert sorted(sum(held, [])) == everything
    for splits, val in zip(turns, held):
        assert sorted(contents(splits["train"]) + val) == everything
    assert max(map(len, held)) - min(map(len, held)) <= 3


def test_what_is_hidden_of_an_image_does_not_hang_on_its_fold():
    whole = opened(*SCENES, "data.missing.rate=0.5")
    samples = [source[i] for source in whole.values() for i in range(len(source))]
    known = {s.image.tobytes(): s for s in samples}
    for splits in held_in_turn(2, *SCENES, "data.missing.rate=0.5"):
        for i in range(len(splits["val"])):
            sample = splits["val"][i]
            before = known[sample.image.tobytes()]
            np.testing.assert_array_equal(sample.mask, before.mask)
            np.testing.assert_array_equal(sample.truth, before.truth)
            np.testing.assert_array_equal(sample.annotated, before.annotated)
            np.testing.assert_array_equal(splits["val"].annotation(i)[1], sample.annotated)


def test_groups_are_not_divided_and_names_stay_apart(clinic):
    for splits in held_in_turn(3, *clinic):
        train, val = splits["train"], splits["val"]
        assert not set(train.groups) & set(val.groups)
        assert len(set(val.names)) == len(val) == 6
        # p0_0 is in train/ and in val/
        assert {n.partition("/")[0] for n in train.names + val.names} == {"train", "val"}
        assert [val[i].name for i in range(len(val))] == val.names
        assert val.sizes == [(8, 8)] * 6 and len(val.keys) == 6 and val.origins == []
        assert list(val.weights) == [val[i].weight for i in range(len(val))]


def test_rare_classes_are_dealt_evenly():
    options = [*SCENES, "data.sizes={train: 30, val: 10}", "data.presence=0.3"]
    shown = [
        [np.isin([1, 2, 3], s["val"].annotation(i)[0]) for i in range(len(s["val"]))]
        for s in held_in_turn(4, *options)
    ]
    counts = np.array([np.sum(rows, axis=0) for rows in shown])
    assert (counts.max(0) - counts.min(0) <= 2).all()


def test_the_deal_hangs_on_its_seed_alone():
    one, again, other = (
        opened(*SCENES, "data.fold.count=2", f"data.fold.seed={seed}")["val"].indices
        for seed in (0, 0, 1)
    )
    assert one == again != other


def test_other_splits_are_left_alone(tmp_path):
    root = folder_data.make(tmp_path, "abcd", ("train", "val", "test"))
    splits = opened("data=folder", f"data.root={root}", "data.cache=none", "data.fold.count=2")
    assert splits["test"].names == list("abcd") and len(splits["train"]) == 4


def test_folds_of_joined_data_know_their_data_set(tmp_path):
    options = ["data=joined", "data.cache=none", "data.fold.count=2", "data.size=8"]
    for name in ("north", "south"):
        folder_data.make(tmp_path / name, [f"{name}{i}" for i in range(4)], [""])
        options.append(f"+data.sources.{name}.root={tmp_path / name}")
    val = opened(*options)["val"]
    assert val.origins == [name.partition("/")[0] for name in val.names]


@pytest.mark.parametrize(
    "options, words",
    [
        (["data.fold.count=1"], "fold.count must be a whole number from 2 on. Received: 1"),
        (["data.fold.count=3", "data.fold.held=3"], r"one of 0\.\.2, .*Received: 3"),
        (["data.fold.held=1"], "one of data.fold.count folds.*Set data.fold.count=5"),
        (["data.fold.count=2", "data.fold.seed=-1"], "fold.seed must be a whole number"),
        (["data.fold.count=21"], "at least 21 images .*Received: 20. Set it to 20 or less"),
        (["+data.fold.folds=3"], "fold may have the keys count, held, seed"),
        (["data.fold=3"], "fold may have the keys count, held, seed. Received: 3"),
    ],
)
def test_numbers_that_do_not_fit_are_explained(options, words):
    with pytest.raises(ValueError, match=words):
        opened(*SCENES, *options)


def test_more_folds_than_groups_are_refused(clinic):
    with pytest.raises(ValueError, match="at least 7 groups of images .*Received: 6"):
        opened(*clinic, "data.fold.count=7")
    assert folds.folded({"train": None}) == {"train": None}


def test_a_run_on_a_fold_records_its_splits(clinic, tmp_path):
    options = [*clinic, "data.fold.count=3", "data.fold.held=1", "model=unet_small"]
    small = ["model.filters=2", "model.depth=1", "trainer.epochs=1", "trainer.batch_size=4"]
    config = compose("train", [*options, *small, "data.size=16", f"output={tmp_path / 'run'}"])
    training.run(config)
    rows = [r.split(",") for r in (tmp_path / "run/splits.csv").read_text().splitlines()[1:]]
    val = opened(*options)["val"]
    assert sorted(name for name, split, _ in rows if split == "val") == sorted(val.names)
    assert len(rows) == 18 and json.loads((tmp_path / "run/metrics.json").read_text())["val"]


def test_a_fold_knows_how_far_its_images_are_trusted(clinic):
    train = opened(*clinic, "data.fold.count=3")["train"]
    assert train.weights == [train[i].weight for i in range(len(train))] == [0.5] * len(train)
    assert opened(*SCENES, "data.fold.count=2")["train"].weights is None


def test_without_train_and_val_there_is_nothing_to_deal():
    with pytest.raises(ValueError, match="dealt from the splits train and val.*audit.folds=0"):
        folds.Pool({})

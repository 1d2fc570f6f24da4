"""Splits: by folder, by declaration, drawn; groups whole, classes evenly shared out."""

import itertools

import numpy as np
import pytest

from segkit.data.splitting import assign, groups_of, stratification


def draw(count, groups=None, present=None, annotated=None, keys=None, order=None, **options):
    """`assign` of images 0, 1, ... in one folder; returns {split: set of names}."""
    names = [f"im{i}" for i in range(count)]
    groups = groups_of(names, None, groups or [None] * count)
    present = np.ones((count, 2), bool) if present is None else present
    annotated = np.ones_like(present) if annotated is None else annotated
    keys, order = keys or [""] * count, list(range(count)) if order is None else list(order)
    taken = [[column[i] for i in order] for column in (names, groups, keys)]
    found = assign(
        *taken[:2],
        *([""] * count, [None] * count),
        present[order],
        annotated[order],
        taken[2],
        **{"by": "drawn"} | options,
    )
    assert sorted(i for indices in found.values() for i in indices) == list(range(count))
    assert all(indices == sorted(indices) for indices in found.values())
    return {split: {names[order[i]] for i in indices} for split, indices in found.items()}


def sizes(found):
    return {split: len(names) for split, names in found.items()}


def random_tables(seed):
    """Groups of very different sizes, and classes that only some of them have."""
    rng = np.random.default_rng(seed)
    count, classes = int(rng.integers(8, 60)), int(rng.integers(1, 5))
    kinds = int(rng.integers(4, 16))
    of = rng.choice(kinds, count, p=rng.dirichlet(np.full(kinds, 0.8)))
    of[:4] = range(4)
    having = rng.random((kinds, classes)) < rng.random(classes)
    present = having[of] & (rng.random((count, classes)) < 0.6)
    annotated = rng.random((count, classes)) < rng.random(classes) + 0.2
    return [f"g{k}" for k in of], present, annotated


@pytest.mark.parametrize("seed", range(100))
@pytest.mark.parametrize("test", [0.0, 0.2])
def test_draws_keep_what_they_promise(seed, test):
    groups, present, annotated = random_tables(seed)
    found = draw(len(groups), groups, present, annotated, seed=seed, test=test)
    shares = {"train": 0.8 - test, "val": 0.2, "test": test}
    inside = {split: {groups[int(name[2:])] for name in names} for split, names in found.items()}
    assert inside.keys() == {split for split, share in shares.items() if share}
    for one, other in itertools.combinations(inside.values(), 2):
        assert not one & other
    largest = max(groups.count(group) for group in groups)
    for split, names in found.items():
        assert abs(len(names) - shares[split] * len(groups)) <= largest + 1e-6
    for c in range(present.shape[1]):
        having = {g for g, cell in zip(groups, (present & annotated)[:, c]) if cell}
        for split in ("train", "val") if len(having) >= 3 else ():
            assert having & inside[split]


@pytest.mark.parametrize("seed", range(100))
def test_no_other_split_of_few_groups_has_more_classes(seed):
    rng = np.random.default_rng(seed)
    units, classes = int(rng.integers(2, 8)), int(rng.integers(1, 4))
    images = rng.integers(1, rng.integers(2, 30), units)
    annotated = rng.integers(0, 2, (units, classes)) * images[:, None]
    present = np.minimum(annotated, rng.integers(0, 4, (units, classes)))

    def missing(homes):
        empty = [not (homes == k).any() for k in range(2)]
        off = np.abs(images[homes == 1].sum() - 0.2 * images.sum())
        lacks = [
            (t.any(0) & ~t[homes == k].any(0)).sum() for t in (present, annotated) for k in (0, 1)
        ]
        return (sum(empty), round(max(0, off - images.max()), 6), *lacks)

    homes = stratification.stratified(images, present, annotated, np.array([0.8, 0.2]))
    everything = (np.array(bits) for bits in itertools.product(range(2), repeat=units))
    assert missing(homes) == min(map(missing, everything))


def unevenness(found, table):
    val = [int(name[2:]) for name in found["val"]]
    used = table[:, table.any(0)]
    return np.abs(used[val].sum(0) / used.sum(0) - 0.2).mean()


@pytest.mark.parametrize("grouped", [True, False])
def test_stratified_draws_are_more_even_than_chance(grouped):
    drawn = {True: [], False: []}
    for seed in range(40):
        groups, present, annotated = random_tables(seed)
        groups = groups if grouped else None
        table = np.concatenate([present & annotated, annotated], 1)
        for stratify in drawn:
            options = {"stratify": stratify, "seed": seed}
            found = draw(len(present), groups, present, annotated, **options)
            drawn[stratify].append(unevenness(found, table))
    assert np.mean(drawn[True]) < 0.7 * np.mean(drawn[False])


@pytest.mark.parametrize("stratify", [True, False])
def test_single_images_meet_the_shares(stratify):
    found = draw(50, val=0.2, test=0.1, stratify=stratify)
    assert sizes(found) == {"train": 35, "val": 10, "test": 5}


def test_a_class_of_two_patients_is_in_train_and_in_val():
    groups = [f"p{i // 10}" for i in range(100)]
    present = np.zeros((100, 2), bool)
    present[:, 0], present[10:14, 1], present[70:80, 1] = True, True, True
    for seed in range(5):
        found = draw(100, groups, present, seed=seed)
        assert sizes(found)["val"] in (10, 20, 30)
        assert ("im10" in found["val"]) != ("im70" in found["val"])


def test_a_rarely_annotated_class_is_in_each_split():
    annotated = np.ones((60, 2), bool)
    annotated[:, 1] = np.isin(np.arange(60), [3, 17, 40])  # and absent in all of them
    present = np.ones((60, 2), bool) & [True, False]
    for seed in range(5):
        found = draw(60, None, present, annotated, seed=seed, test=0.1)
        counts = [len(names & {"im3", "im17", "im40"}) for names in found.values()]
        assert counts == [1, 1, 1]


def test_a_class_of_one_group_is_learned():
    present = np.zeros((20, 2), bool)
    present[4:8, 1] = True
    groups = [f"p{i // 4}" for i in range(20)]
    for seed in range(5):
        assert {"im4", "im7"} <= draw(20, groups, present, seed=seed)["train"]


@pytest.mark.parametrize("stratify", [True, False])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_tiny_data_sets(stratify, count):
    assert sizes(draw(count, stratify=stratify)) == {"train": count - 1, "val": 1}


@pytest.mark.parametrize("stratify", [True, False])
def test_one_huge_group_leaves_the_rest_for_val(stratify):
    groups = ["huge"] * 30 + ["a", "b"]
    found = [sizes(draw(32, groups, stratify=stratify, seed=seed))["val"] for seed in range(6)]
    assert set(found) <= ({2} if stratify else {1, 2, 30, 31})


@pytest.mark.parametrize("stratify", [True, False])
def test_draws_hang_on_names_and_seed_and_not_on_the_order(stratify):
    groups, present, annotated = random_tables(1)
    count, options = len(groups), {"stratify": stratify}
    found = draw(count, groups, present, annotated, **options)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(count)
        again = draw(count, groups, present, annotated, order=order, **options)
        assert again == found
    others = [draw(30, seed=seed, **options)["val"] for seed in range(4)]
    assert len({frozenset(names) for names in others}) == 4


def test_chance_is_a_matter_of_the_stem():
    """A draw that is not stratified adds images as the share grows, and stays for ever."""
    few, many = (draw(20, val=val, stratify=False)["val"] for val in (0.1, 0.3))
    assert few == {"im3", "im6"} and few < many


def test_copies_of_a_file_stay_together_and_tie_their_groups():
    keys = ["same" if i in (0, 7) else f"key{i}" for i in range(12)]
    groups = [f"p{i // 3}" for i in range(12)]
    for seed in range(8):
        for stratify in (True, False):
            val = draw(12, groups, keys=keys, seed=seed, stratify=stratify)["val"]
            assert len(val & {"im0", "im1", "im2", "im6", "im7", "im8"}) in (0, 6)


def in_splits(folders, declared=None, **options):
    count = len(folders)
    names, table = [f"im{i}" for i in range(count)], np.ones((count, 2), bool)
    declared = declared or [None] * count
    return assign(names, names, folders, declared, table, table, [""] * count, **options)


def test_folders_stay_and_a_missing_val_comes_from_train():
    folders = ["test"] * 3 + ["train"] * 10
    found = in_splits(folders)
    assert found["test"] == [0, 1, 2] and len(found["val"]) == 2 and len(found["train"]) == 8
    assert in_splits(folders, val=0) == {"train": list(range(3, 13)), "test": [0, 1, 2]}
    assert in_splits(["val", "train", "val"]) == {"train": [1], "val": [0, 2]}
    assert in_splits(["val", "val"]) == {"val": [0, 1]}


def test_drawn_disregards_folders_and_declarations():
    found = in_splits(["train"] * 2 + ["val"] * 8, ["train"] * 10, by="drawn")
    assert len(found["train"]) == 8


@pytest.mark.parametrize("by", ["auto", "manifest"])
def test_declared_splits(by):
    declared = ["val", "train", "test", "train"]
    assert in_splits([""] * 4, declared, by=by) == {"train": [1, 3], "val": [0], "test": [2]}


def test_declared_splits_may_contradict_folders_if_that_is_said():
    folders, declared = ["train", "train", "val"], ["val", "train", "train"]
    assert in_splits(folders, declared, by="manifest") == {"train": [1, 2], "val": [0]}
    with pytest.raises(
        ValueError, match=r"contradicts the folders.*im0 \(train, declared val\), im2"
    ):
        in_splits(folders, declared)


def test_nothing_declared_and_no_folders_is_drawn():
    assert len(in_splits([""] * 10)["val"]) == 2


@pytest.mark.parametrize(
    "options, words",
    [
        ({"by": "chance"}, "by must be one of auto, folders, manifest, drawn. Received: 'chance'"),
        ({"val": 1.0}, "less than 1. Received: 1.0 and 0.0"),
        ({"val": 0.5, "test": 0.5}, "less than 1. Received: 0.5 and 0.5"),
        ({"val": -0.1}, "from 0 on.*Received: -0.1"),
        ({"val": float("nan")}, "Received: nan"),
        ({"val": "0.2"}, "Received: '0.2'"),
        ({"val": True}, "Received: True"),
        ({"by": "manifest"}, "each image needs one. Without: im0, im1, im2, im3, im4 and 2 more"),
        ({"by": "folders"}, "needs images in train/, val/, test/.*im0.*by=drawn"),
        ({"declared": ["val"] + [None] * 6}, "Without: im1, im2, im3, im4, im5 and 1 more. Add"),
    ],
)
def test_what_cannot_be_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        in_splits([""] * 7, **options)


def test_fewer_groups_than_splits():
    words = r"train and val and test needs at least 3 groups of images.*Received: 2 \(p, q\)"
    with pytest.raises(ValueError, match=words):
        draw(4, ["p", "p", "q", "q"], test=0.2)
    with pytest.raises(ValueError, match=r"at least 2 images.*Received: 1 \(im0\).*split.val=0"):
        draw(1)

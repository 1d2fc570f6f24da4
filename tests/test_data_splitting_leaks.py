"""Groups by pattern and column, their leaks from split to split, and limits."""

import numpy as np
import pytest

from segkit.data.splitting import assign, groups_of, leaks, limited

FRAMES = ["seq1_01", "seq1_02", "seq2_01"]
NOTHING = [None, None, None]


@pytest.mark.parametrize(
    "pattern, expected",
    [
        (r"^(seq\d+)_", ["seq1", "seq1", "seq2"]),
        (r"^seq\d+", ["seq1", "seq1", "seq2"]),
        (r"_(\d)(\d)$", ["0", "0", "0"]),
        (r"(?P<sequence>seq\d)", ["seq1", "seq1", "seq2"]),
    ],
)
def test_patterns(pattern, expected):
    assert groups_of(FRAMES, pattern, NOTHING) == expected


def test_declared_groups_go_before_the_pattern():
    assert groups_of(FRAMES, r"^seq\d", ["p", None, "p"]) == ["p", "seq1", "p"]
    assert groups_of(["odd", *FRAMES], r"^seq\d", ["p", *NOTHING]) == ["p", "seq1", "seq1", "seq2"]


def test_without_pattern_each_image_is_a_group_of_its_own():
    assert groups_of(FRAMES, None, NOTHING) == FRAMES
    assert groups_of(FRAMES, None, [None, "p", "p"]) == ["seq1_01", "p", "p"]
    twice = groups_of(["a", "a", "b", "a"], None, ["b", None, None, None])
    assert twice[0] == "b" and len(set(twice)) == 4  # train/a.png is not val/a.png


def test_forms_of_unicode_are_one_group():
    assert len(set(groups_of(["gerät_1", "gera\u0308t_2"], "^([^_]+)", [None] * 2))) == 1


def test_names_that_are_no_unicode_are_drawn():
    names = [b"\xe4".decode("utf-8", "surrogateescape"), "b"]
    table = np.ones((2, 1), bool)
    found = assign(names, names, [""] * 2, [None] * 2, table, table, [""] * 2)
    assert {split: len(indices) for split, indices in found.items()} == {"train": 1, "val": 1}


@pytest.mark.parametrize(
    "pattern, words",
    [
        (r"^(seq1)_", r"group='\^\(seq1\)_' must find.*finds none in seq2_01. Change the pattern"),
        (r"^seq\d+(_03)?", "finds none in seq1_01, seq1_02, seq2_01"),  # a group that took no part
        (r"x*", "finds none in seq1_01"),  # an empty match is no name
        (r"^(seq", r"must be a regular expression, such as.*Received: '\^\(seq' \(missing \)"),
        (7, "must be a regular expression.*Received: 7"),
    ],
)
def test_patterns_that_find_nothing(pattern, words):
    with pytest.raises(ValueError, match=words):
        groups_of(FRAMES, pattern, NOTHING)


def test_only_the_first_stems_are_named():
    with pytest.raises(ValueError, match=r"in im0, im1, im10, im11, im12 and 95 more\."):
        groups_of([f"im{i}" for i in range(100)], "seq", [None] * 100)


def leaking(groups, keys, splits=None):
    names = [f"im{i}" for i in range(len(groups))]
    splits = splits or {"train": [0, 1, 2], "val": [3, 4]}
    return leaks(splits, names, groups, keys, [f"/data/{name}.png" for name in names])


def test_no_leak():
    assert leaking(list("aaabb"), list("vvxyz")) == []
    assert leaking(list("abcde"), [""] * 5) == []  # unknown content is not the same content


def test_a_group_in_two_splits_is_one_problem():
    (problem,) = leaking(list("aabab"), list("vwxyz"))[:1]
    assert problem.fatal and problem.path == "/data/im3.png"
    assert problem.text.startswith("The group 'a' is in train (2 images, im0) and in val (1, im3)")
    assert "data.split.by=drawn" in problem.text
    assert len(leaking(list("aaaaa"), list("vwxyz"))) == 1


def test_the_same_file_in_two_splits():
    (problem,) = leaking(list("abcde"), list("vwxyw"))
    assert problem.fatal and problem.path == "/data/im4.png"
    assert "/data/im1.png (train) and /data/im4.png (val) are the same file." in problem.text
    (problem,) = leaking(list("abcde"), list("vwwyw"))
    assert "are the same file, with 3 copies." in problem.text


def test_each_pair_of_splits_is_looked_at():
    splits = {"train": [0], "val": [1], "test": [2]}
    assert len(leaking(list("aaa"), list("xyz"), splits)) == 3


def test_a_copied_folder_gives_a_list_that_can_be_read():
    count = 3000
    splits = {"train": list(range(count)), "val": list(range(count, 2 * count))}
    keys = [str(i % count) for i in range(2 * count)]
    found = leaking([str(i) for i in range(2 * count)], keys, splits)
    assert len(found) == 1001
    assert found[-1].text == "and 2000 more problems of the kind: leak between splits."


def test_a_larger_limit_keeps_the_same_and_adds():
    names = [f"im{i}" for i in range(30)]
    indices = list(range(4, 30))
    few, more = (limited(indices, names, limit, 1) for limit in (5, 9))
    assert len(few) == 5 and set(few) < set(more) < set(indices)
    assert few == sorted(few) and few != limited(indices, names, 5, 2)
    assert limited(indices, names, None, 1) == indices == limited(indices, names, 99, 1)

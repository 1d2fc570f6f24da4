"""The label space, and the words of each way to get it wrong."""

import json

import pytest

from segkit.labels import LabelSpace


def test_reads_what_it_writes(tmp_path):
    labels = LabelSpace(
        ["road", "car", "truck"],
        background=None,
        ignore_index=11,
        coarse=[{"name": "vehicle", "id": 20, "members": ["car", "truck"]}],
    )
    labels.to_json(tmp_path / "classes.json")
    assert LabelSpace.from_json(tmp_path / "classes.json") == labels


def test_foreign_keys_and_the_colour_of_void_are_left_alone():
    description = {
        "name": "camvid",
        "names": ["sky", "road"],
        "background": None,
        "ignore_index": 2,
        "ignore_name": "void",
        "palette": [[1, 2, 3], [4, 5, 6], [0, 0, 0]],
    }
    labels = LabelSpace.from_dict(description)
    assert labels.palette == ((1, 2, 3), (4, 5, 6)) and labels.background is None


def test_drawn_palettes_tell_classes_apart():
    colors = LabelSpace([f"class {c}" for c in range(40)]).palette
    assert len(set(colors)) == 40


def test_names_of_real_data_sets(real_data):
    assert LabelSpace.from_json(real_data / "larynx/classes.json").names[1] == "vocal_folds"
    assert LabelSpace.from_json(real_data / "camvid/classes.json").background is None
    assert LabelSpace.from_json(real_data / "wbc/classes.json").ignore_index is None


@pytest.mark.parametrize(
    "change, words",
    [
        ({"names": "cell"}, "names must be a list.*Received: 'cell'"),
        ({"names": []}, "names must be non-empty strings"),
        ({"names": ["a"], "background": None}, "at least two. Received: .'a'"),
        ({"names": ["a", "b;c", "*", " d"]}, r"may not hold ; .*Received: .'b;c', '\*', ' d'"),
        ({"names": ["a", "b\n"]}, "line breaks"),
        ({"names": ["a", ""]}, "names must be non-empty strings.*Received: .'a', ''"),
        ({"names": ["a", "b", "a"]}, "Each class name may stand once. Twice: a"),
        ({"background": 3}, r"background must be one of the ids 0..2 or None. Received: 3"),
        (
            {"background": -1},
            "background must be a whole number from 0 to 65535, or None. Received: -1",
        ),
        ({"ignore_index": 1}, "ignore_index must not be the id of a class.*Received: 1.*'b'"),
        ({"ignore_index": 2.5}, "ignore_index must be a whole number.*Received: 2.5"),
        ({"palette": [[0, 0, 0]]}, "one .red, green, blue. in 0-255 for each of the 3 classes"),
        ({"palette": [[0, 0, 256]] * 3}, "palette must list one"),
        ({"coarse": [{"name": "x"}]}, "keys name, id and members. Received: name"),
        (
            {"coarse": [{"name": "x", "id": 1, "members": ["a", "b"]}]},
            "a name and an id of its own",
        ),
        (
            {"coarse": [{"name": "x", "id": 9, "members": ["a", "z"]}]},
            "at least two of the classes",
        ),
        (
            {"coarse": [{"name": "x", "id": 9, "members": ["a", "a"]}]},
            "at least two of the classes",
        ),
        (
            {"coarse": [{"name": "a", "id": 9, "members": ["a", "b"]}]},
            "a name and an id of its own",
        ),
        ({"coarse": [{"name": "x", "id": 9, "members": "ab"}]}, "must be a list. Received: 'ab'"),
        ({"coarse": [{"name": "x", "id": 70000, "members": ["a", "b"]}]}, "0 to 65535"),
        ({"names": {"0": "a"}}, "names must be a list"),
        ({"exclusive": "no"}, "exclusive must be true or false. Received: 'no'"),
        ({"exclusive": False}, "Independent classes have no background.*Pass background=None"),
        ({"palette": {"a": 1}}, "palette must list one"),
    ],
)
def test_what_does_not_fit_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        LabelSpace(**{"names": ["a", "b", "c"], **change})


def test_a_class_that_is_not_there(labels):
    with pytest.raises(ValueError, match="no class 'square'. The classes are: background, ellipse"):
        labels.index("square")


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "classes.json"
    with pytest.raises(FileNotFoundError, match="There is no .*classes.json. It lists the classes"):
        LabelSpace.from_json(path)
    path.write_text("{names: [")
    with pytest.raises(ValueError, match="classes.json is not valid JSON"):
        LabelSpace.from_json(path)
    path.write_text(json.dumps({"classes": []}))
    with pytest.raises(ValueError, match="classes.json needs an object with the key 'names'"):
        LabelSpace.from_json(path)
    path.write_text(json.dumps({"names": ["a"], "num_classes": 2}))
    with pytest.raises(ValueError, match="num_classes is 2, but 1 names"):
        LabelSpace.from_json(path)
    path.write_text(json.dumps({"names": ["a", "b"]}))
    with pytest.raises(ValueError, match="classes.json must say which id is the background"):
        LabelSpace.from_json(path)
    path.write_text(json.dumps({"names": 5}))
    with pytest.raises(ValueError, match="classes.json: names must be a list.*Received: 5"):
        LabelSpace.from_json(path)
    path.write_text(json.dumps({"names": ["a", "a"], "background": 0}))
    with pytest.raises(ValueError, match="classes.json: Each class name"):
        LabelSpace.from_json(path)


@pytest.mark.parametrize("ignore_index", [0, 1, 300])
def test_planes_cannot_be_ignored_by_what_they_say(ignore_index):
    with pytest.raises(
        ValueError, match=f"absent and there. Received: ignore_index={ignore_index}"
    ):
        LabelSpace(["cell"], background=None, ignore_index=ignore_index, exclusive=False)


@pytest.mark.parametrize(
    "key, meant",
    [("pallete", "palette"), ("ignore", "ignore_index"), ("Background", "background")],
)
def test_misspelt_keys_are_not_passed_over(key, meant):
    with pytest.raises(ValueError, match=f"unknown key '{key}'. Did you mean '{meant}'"):
        LabelSpace.from_dict({"names": ["a", "b"], key: None})


def test_keys_of_other_tools_are():
    extra = {"name": "set", "num_classes": 2, "ignore_name": "void", "source_ids": [3, 4]}
    assert LabelSpace.from_dict({"names": ["a", "b"], "background": 0, **extra}).num_classes == 2

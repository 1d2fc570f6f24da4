"""Whatever is wrong with joined data sets is an error that names the data set."""

import warnings

import folder_data
import pytest

from segkit import sources
from segkit.config import compose
from segkit.data.joined import splits
from segkit.data.joined.mapping import LabelMap
from segkit.labels import LabelSpace

NAMES = ["background", "cell", "nucleus"]


@pytest.fixture
def root(tmp_path):
    for name in "ab":
        folder_data.make(tmp_path / name, "12", ("train", "val"))
    return tmp_path


def two(root, a=None):
    return splits({"a": {"root": root / "a"} | (a or {}), "b": {"root": root / "b"}}, size=None)


@pytest.mark.parametrize(
    "entry, words",
    [
        ({"root": None}, "a needs a root, the folder of a data set. Received: .'root': None"),
        ({"root": 7}, "a needs a root"),
        ({"rooot": "x"}, "a may have annotated, cache, .*value_range. Received also: rooot"),
        ({"ids": ["cell"]}, r"a: ids maps .*{1: liver, cyst: ignore}. Received: \['cell'\]"),
        ({"ids": {9: "cell"}}, r"a: ids may name what .*Received: 9"),
        ({"annotated": "cell"}, "a: annotated must be one of all, .*or a list.*Received: 'cell'"),
        ({"annotated": None}, "a: annotated must be one of .*Received: None"),
        ({"annotated": ["cel"]}, "a: annotated may say .*Received: 'cel'"),
        ({"annotated": "manifest"}, "a: annotated='manifest' needs .*annotations.csv"),
        ({"fit": "squeeze"}, "a: fit must be one of resize, crop"),
        ({"limit": 0}, "a: data.limit must be a whole number from 1 on"),
    ],
)
def test_mistakes_in_an_entry(root, entry, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        two(root, entry)


@pytest.mark.parametrize(
    "given, words",
    [
        ({}, r"sources names the data sets to join.*Received: {}"),
        (None, "Received: None"),
        (["a"], r"Received: \['a'\]"),
        ({"a": "path"}, "a needs a root.*Received: 'path'"),
        ({"../a": {"root": "x"}}, r"without a slash. Received: '\.\./a'"),
        ({"": {"root": "x"}}, "Received: ''"),
        ({"a\nb": {"root": "x"}}, r"on one line .*Received: 'a\\nb'"),
        ({3: {"root": "x"}}, "it is text, .*Received: 3"),
        ({"a": {"root": "nowhere"}}, "a: There is no folder nowhere"),
    ],
)
def test_mistakes_in_the_list(given, words):
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        splits(given)


def test_one_root_twice_is_refused(root):
    (root / "link").symlink_to(root / "a")
    for again in (root / "a", root / "b/../a", root / "link"):
        with pytest.raises(ValueError, match="a and c have one root, .*twice.*Keep one"):
            splits({"a": {"root": root / "a"}, "c": {"root": again}})


def test_what_lies_on_disk_is_named_with_its_data_set(root):
    (root / "b/classes.json").unlink()
    with pytest.raises(ValueError, match="b: There is no .*b/classes.json"):
        two(root)
    folder_data.classes(root / "b")
    (root / "b/annotations.csv").write_text("image,annotated\ntrain/1,cel\n")
    with pytest.raises(ValueError, match="b: .*annotations.csv:2: There is no class 'cel'"):
        two(root)
    for path in (root / "b/train/masks").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="(?s)b: .*masks is empty"):
        two(root)


def test_classes_that_overlap_cannot_be_joined():
    independent = LabelSpace(["cell"], background=None, exclusive=False)
    with pytest.raises(ValueError, match="exclude each other can be joined.*exclusive=False"):
        LabelMap(independent, LabelSpace(NAMES))


def test_a_class_without_a_counterpart(root):
    given = {name: {"root": root / name} for name in "ab"}
    with pytest.raises(ValueError, match="a: The joint data set has background, cell. .*nucleus"):
        splits(given, NAMES[:2])


def test_the_files_of_every_data_set_are_named(root):
    for path in ("a/train/masks/1.png", "b/train/images/2.png", "b/train/masks/1.png"):
        (root / path).write_bytes(b"")
    words = r"(?s)^a: .*a/train/masks/1\.png.*0 bytes.*\nb: .* 2 problems.*masks/1.*images/2\.png"
    with pytest.raises(ValueError, match=words):
        two(root)


def test_an_id_that_the_data_set_does_not_know(root):
    folder_data.add(root / "b/val", "1", ids=folder_data.mask() * 3)
    options = ["data=joined", f"+data.sources.a.root={root}/a", f"+data.sources.b.root={root}/b"]
    with pytest.raises(ValueError, match=r"(?s)b: .*b/val/masks/1\.png.*Received also: 3, 6"):
        sources.open_splits(compose("train", options).data)


def test_contradictions_are_warned_about_by_file(root):
    (root / "b/annotations.csv").write_text("image,annotated\ntrain/1,cell\n")
    with pytest.warns(UserWarning, match=r"b/train/masks/1\.png shows nucleus, .*") as caught:
        train = two(root)["train"]
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len([sample.name for sample in train]) == 4


def test_another_target_inside_a_data_set_is_refused(root):
    value = f"{{a: {{_target_: os.system, root: {root}/a}}}}"
    with pytest.raises(ValueError, match="Received: 'os.system'. Anything else could run any code"):
        sources.open_splits(compose("train", ["data=joined", f"data.sources={value}"]).data)

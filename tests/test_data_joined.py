"""Data sets with different classes, joined: samples, splits, declarations, configuration."""

import json
import pickle

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit import sources, targets, weighting
from segkit.config import compose
from segkit.data import pipeline
from segkit.data.folder import splits as folder_splits
from segkit.data.joined import splits
from segkit.data.problems import BadData
from segkit.synthetic import HiddenAnnotations

NAMES = ["background", "liver", "kidney", "spleen"]


@pytest.fixture
def root(tmp_path):
    """Clinic a outlines livers and calls kidneys "ren", b outlines spleens and kidneys."""
    folder_data.clinic(tmp_path / "a", ["background", "liver", "ren"], "123", ("train", "val"))
    folder_data.clinic(tmp_path / "b", ["spleen", "nothing", "kidney"], "12", background=1)
    return tmp_path


def two(root, a=None, b=None, **options):
    given = {"a": {"root": root / "a", "ids": {2: "kidney"}}, "b": {"root": root / "b"}}
    given["a"] |= a or {}
    given["b"] |= b or {}
    return splits(given, NAMES, **{"size": None} | options)


def rows(source):
    return [source.annotation(i)[1].astype(int).tolist() for i in range(len(source))]


def test_samples_are_those_of_the_data_sets(root):
    train = two(root)["train"]
    assert train.names == ["a/1", "a/2", "a/3", f"b/{train[3].name[2:]}"] and len(train) == 4
    assert [train.origin(i) for i in range(4)] == ["a", "a", "a", "b"]
    assert train.origins == ("a", "b") and train.labels.names == tuple(NAMES)
    own = folder_splits(root / "a", size=None)["train"][1]
    sample = train[1]
    np.testing.assert_array_equal(sample.image, own.image)
    np.testing.assert_array_equal(sample.mask, np.array([0, 1, 2])[own.mask])
    assert sample.mask[0].tolist() == [0, 1, 2, 0, 1, 2] and sample.name == "a/2"
    assert train[3].mask[0].tolist() == [3, 0, 2, 3, 0, 2] and train[-1].name == train[3].name
    assert rows(train) == [[1, 1, 1, 0]] * 3 + [[1, 0, 1, 1]]
    with pytest.raises(IndexError):
        train[4]


def test_an_annotation_is_that_of_the_sample(root):
    for source in two(root, size=5, fit="crop").values():
        for index in range(len(source)):
            sample, (mask, annotated) = source[index], source.annotation(index)
            np.testing.assert_array_equal(sample.mask, mask)
            np.testing.assert_array_equal(sample.annotated, annotated)
            assert (mask == source.labels.ignore_index).any()  # padded


def test_the_target_says_what_each_data_set_knows(root):
    """Background, liver, kidney, spleen, at the first three pixels of each clinic."""
    train = two(root)["train"]
    masks, annotated = zip(*(train.annotation(i) for i in (0, 3)))
    target = targets.encode(np.stack(masks), np.stack(annotated), train.labels)
    assert target[0, 0, :3].tolist() == [[1, 0, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert target[1, 0, :3].tolist() == [[0, 0, 0, 1], [1, -1, 0, 0], [0, 0, 1, 0]]
    ((_, batched),) = pipeline.batches(train, 4)
    np.testing.assert_array_equal(batched[::3], target)


def test_every_split_has_the_same_labels_and_val_is_drawn_where_there_is_none(root):
    found = two(root)
    assert found["val"].names[:3] == ["a/1", "a/2", "a/3"] and len(found["val"]) == 4
    assert found["train"].labels == found["val"].labels
    assert set(found["val"].names) & set(found["train"].names) == {"a/1", "a/2", "a/3"}
    alone = two(root, b={"split": {"val": 0.0}})
    assert [len(source) for source in alone.values()] == [5, 3]
    assert alone["val"].origins == ("a",)


def test_a_data_set_may_serve_for_testing_alone(root):
    folder_data.clinic(root / "c", NAMES, "9", ("test",))
    found = two(root, b={"root": root / "c"})
    assert {name: source.origins for name, source in found.items()} == {
        "train": ("a",),
        "val": ("a",),
        "test": ("b",),
    }
    assert found["test"].names == ["b/9"]


def test_options_are_shared_unless_a_data_set_has_its_own(root):
    found = two(root, a={"limit": 1}, b={"limit": 2}, limit=3, size=8)
    assert [len(part) for part in found.values()] == [2, 2]
    assert found["train"][0].image.shape == (8, 8, 3)
    assert two(root, b={"size": [3, 5]})["train"][3].image.shape == (3, 5, 3)


def test_declarations_are_passed_on(root):
    (root / "a/annotations.csv").write_text("image,annotated\ntrain/1,liver\ntrain/2,\n")
    with pytest.warns(UserWarning, match=r"a/train/masks/1\.png shows ren, declared unannotated"):
        assert rows(two(root)["train"]) == [
            [1, 1, 0, 0],
            [1, 0, 0, 0],
            [1, 1, 1, 0],
            [1, 0, 1, 1],
        ]
    with pytest.warns(UserWarning):
        limited = two(root, a={"annotated": ["kidney", "spleen"]})["train"]
        # a has no spleens in its masks: listed, they were looked for
        assert rows(limited)[:3] == [[1, 0, 0, 1], [1, 0, 0, 1], [1, 0, 1, 1]]


def test_policies_hold_for_one_data_set_or_for_all(root):
    only_livers = np.array([[0, 1, 0, 1, 0, 1]] * 4, np.uint8)
    folder_data.add(root / "a/train", "2", ids=only_livers)
    assert rows(two(root, a={"annotated": "present"})["train"])[1] == [1, 1, 0, 0]
    assert rows(two(root, annotated="present")["train"])[1] == [1, 1, 0, 0]
    assert rows(two(root)["train"])[1] == [1, 1, 1, 0]
    both = two(root, a={"annotated": ["liver", "kidney"]}, annotated="present")["train"]
    assert rows(both)[:2] == [[1, 1, 1, 0], [1, 1, 0, 0]]


def test_a_truth_is_passed_on_only_by_who_knows_all_of_it(root):
    for part in ("a/train", "b"):
        (root / part / "truth").mkdir()
        for path in (root / part / "masks").iterdir():
            Image.fromarray(np.full((4, 6), 2, np.uint8)).save(root / part / "truth" / path.name)
    assert all(sample.truth is None for sample in two(root)["train"])
    full = two(root, a={"annotated": ["liver", "kidney", "spleen"]})["train"]
    assert (full[0].truth == 2).all() and full[3].truth is None


def test_hidden_annotations_on_top(root):
    train = two(root)["train"]
    hidden = HiddenAnnotations(train, rate={"kidney": 1.0})
    assert [s.annotated.astype(int).tolist() for s in hidden][::3] == [[1, 1, 0, 0], [1, 0, 0, 1]]
    assert 2 not in hidden[0].mask and hidden[0].truth is None  # a never knew of spleens


def test_without_names_every_class_is_there(root):
    given = {"a": {"root": root / "a"}, "b": {"root": root / "b", "ids": {"kidney": "ren"}}}
    found = splits(given)["train"]
    assert found.labels.names == ("background", "liver", "ren", "spleen")
    assert found.labels.background == 0


def test_an_image_of_one_data_set_is_not_in_another_split_of_the_other(root):
    (root / "b/images/1.png").write_bytes((root / "a/val/images/2.png").read_bytes())
    with pytest.raises(BadData, match=r"(?s)a/2.*b/1|b/1.*a/2"):
        for seed in range(8):  # in one of them b/1 is drawn for train
            two(root, seed=seed)


def test_weights_come_along(root):
    (root / "a/train/annotations.csv").write_text("image,weight\n2,0.5\n")
    train = two(root)["train"]
    assert train.weights.tolist() == [1, 0.5, 1, 1] and train[1].weight == 0.5


def test_it_can_be_sent_to_another_process(root):
    train = two(root)["train"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(train))[3].mask, train[3].mask)


def test_masks_that_show_what_the_list_leaves_out_are_named(root):
    with pytest.warns(UserWarning, match=r"a: its masks show ren \(6 masks\), which .* leaves out"):
        two(root, a={"annotated": ["liver"]})
    two(root, a={"annotated": ["liver", "kidney"]})  # no warning


def test_real_data_sets(real_data):
    given = {name: {"root": real_data / name} for name in ("wbc", "larynx", "camvid")}
    given["wbc"]["ids"] = {"cytoplasm": "ignore"}
    given["camvid"]["ids"] = {"pavement": "road"}
    train = splits(given, size=48, limit=12)["train"]
    names = train.labels.names
    assert len(train) == 36 and len(names) == 1 + 1 + 5 + 10
    known = {train.origin(i): train.annotation(i)[1] for i in range(36)}
    assert [names[c] for c in np.flatnonzero(known["wbc"])] == ["background", "nucleus"]
    assert "surgical_tool" in [names[c] for c in np.flatnonzero(known["larynx"])]
    for images, target in pipeline.batches(train, 12):
        assert images.shape == (12, 48, 48, 3) and (target.numpy() == 1).any((0, 1, 2)).sum() > 1


# Configuration


def test_from_the_command_line(root):
    options = ["data=joined", f"+data.sources.a.root={root}/a", f"+data.sources.b.root={root}/b"]
    options += ["+data.sources.a.ids.2=kidney", "data.size=8"]
    options += ["data.coarse=[{name: organ, members: [liver, spleen]}]"]
    found = sources.open_splits(compose("train", options).data)
    assert found["train"].labels.names == ("background", "liver", "kidney", "spleen")
    assert found["train"].labels.coarse[0].id == 4
    hidden = sources.open_splits(compose("train", [*options, "data.missing.rate=1.0"]).data)
    assert rows(hidden["val"]) == [[1, 0, 0, 0]] * 4
    written = root / "weights.json"
    weighting.run(compose("weights", [*options, f"output={written}"]))
    unknown = {row["name"]: row["unknown"] for row in json.loads(written.read_text())["classes"]}
    assert unknown == {"background": 0, "liver": 1, "kidney": 0, "spleen": 3}


def test_from_one_value(root):
    value = f"{{a: {{root: {root}/a, ids: {{2: kidney}}, annotated: [liver]}}}}"
    options = ["data=joined", f"data.sources={value}", "data.names=[background,kidney,liver]"]
    with pytest.warns(UserWarning, match="a: its masks show ren"):
        found = sources.open_splits(compose("train", options).data)
    assert rows(found["train"]) == [[1, 0, 1]] * 3

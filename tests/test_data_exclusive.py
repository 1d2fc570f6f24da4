"""labels.exclusive: what a user says over what the data set says, in every verb that reads data."""

import numpy as np
import pytest
import tifffile
from folder_data import classes, clinic, image, make
from PIL import Image

from segkit import run_data, sources
from segkit.config import compose
from segkit.data import joined
from segkit.data.exclusive import with_exclusive
from segkit.data.folder import splits
from segkit.labels import LabelSpace
from segkit.runs import Run


def test_independent_classes_have_no_background():
    labels = LabelSpace(["background", "liver", "tumour"], palette=[[0] * 3, [1] * 3, [2] * 3])
    found = with_exclusive(labels, False)
    assert found.names == ("liver", "tumour") and found.background is None and not found.exclusive
    assert found.palette == ((1, 1, 1), (2, 2, 2)) and found.ignore_index == 255
    back = with_exclusive(found, True)
    assert back.exclusive and back.names == found.names and back.background is None
    assert with_exclusive(labels, None) is labels and with_exclusive(labels, True) is labels


@pytest.mark.parametrize(
    "changes, exclusive, words",
    [
        ({}, "no", "labels.exclusive must be true, false .* or null .*Received: 'no'"),
        ({}, 0, "Received: 0"),
        (
            {"ignore_index": 1000},
            False,
            "x, with labels.exclusive=false: Planes .*ignore_index=1000",
        ),
        (
            {"coarse": [{"name": "c", "id": 9, "members": ["a", "b"]}]},
            False,
            "x: coarse labels are ids .* labels.exclusive=false with c. Take them out",
        ),
    ],
)
def test_what_cannot_be_is_named(changes, exclusive, words):
    labels = LabelSpace(["background", "a", "b"], **changes)
    with pytest.raises(ValueError, match=words):
        with_exclusive(labels, exclusive, "x")


def of_files(root):
    """One binary file a class, which claim the same pixels."""
    classes(root)
    for part in ("train", "val"):
        (root / part / "images").mkdir(parents=True)
        Image.fromarray(image(len(part))).save(root / part / "images" / "a.png")
        for name, columns in (("cell", slice(0, 4)), ("nucleus", slice(1, 3))):
            plane = np.zeros((4, 6), np.uint8)
            plane[:, columns] = 255
            (root / part / "masks" / name).mkdir(parents=True)
            Image.fromarray(plane).save(root / part / "masks" / name / "a.png")
    return root


def test_files_that_overlap_need_no_new_classes_json(tmp_path):
    root = of_files(tmp_path)
    with pytest.raises(ValueError, match="claim the same 8 pixels"):
        splits(root, size=None)
    found = splits(root, size=None, exclusive=False)["train"]
    assert found.labels.names == ("cell", "nucleus")
    assert found[0].mask[0].T.tolist() == [[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0]]
    assert found[0].annotated.all()


def test_bands_are_planes_in_the_order_of_the_classes(tmp_path):
    classes(tmp_path, names=["cell", "nucleus", "debris"], background=None)
    rng, planes = np.random.default_rng(0), {}
    for part in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / part / kind).mkdir(parents=True)
        Image.fromarray(image(len(part))).save(tmp_path / part / "images" / "a.png")
        planes[part] = rng.integers(0, 2, (4, 6, 3), np.uint8)
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(tmp_path / part / "masks" / "a.tif", planes[part], **options)
    found = splits(tmp_path, size=None, exclusive=False)
    np.testing.assert_array_equal(found["train"][0].mask, planes["train"])


def test_ids_are_no_planes(tmp_path):
    with pytest.raises(ValueError, match="must hold one plane a class, .*as the classes may"):
        splits(make(tmp_path), size=None, exclusive=False)


@pytest.mark.parametrize("verb", ["train", "check", "preview", "weights"])
def test_the_key_reaches_the_data_of_each_verb(verb, tmp_path):
    root = of_files(tmp_path)
    given = ["data=folder", f"data.root={root}", "labels.exclusive=false", "data.cache=none"]
    config = compose(verb, given)
    assert config.data.exclusive is False
    assert not sources.open_splits(config.data)["train"].labels.exclusive
    assert compose(verb, given[:2]).data.exclusive is None


def test_a_run_opens_its_data_and_others_as_it_was_trained(tmp_path):
    root = of_files(tmp_path)
    labels = with_exclusive(LabelSpace(["background", "cell", "nucleus"]), False)
    run = Run(tmp_path, {"data": {}}, labels, {}, None)
    config = compose("evaluate", ["run=x", "data=folder", f"data.root={root}", "data.cache=none"])
    assert run_data.as_trained(run, dict(config.data))["exclusive"] is False
    found = run_data.open_data(run, config.data)
    assert found.splits["val"].labels.names == labels.names
    other = Run(tmp_path, {"data": {}}, LabelSpace(["background", "cell"]), {}, None)
    assert run_data.as_trained(other, dict(config.data))["exclusive"] is None


def test_what_has_no_planes_refuses_them(tmp_path):
    config = compose("train", ["labels.exclusive=false"])
    with pytest.raises(ValueError, match="a pixel shows one shape.*data=overlapping"):
        sources.open_splits(config.data)
    entries = {"a": {"root": str(clinic(tmp_path / "a", ["background", "x"], ["1"]))}}
    with pytest.raises(ValueError, match="a: only classes that exclude each other can be joined"):
        joined.splits(entries, exclusive=False)

"""Masks as one binary file a class: the files themselves say what was looked for."""

import folder_data
import numpy as np
import pytest
from PIL import Image

from segkit import targets
from segkit.data.folder import BadData, examine, splits

STEMS = "abc"


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def masks():
    """Cells above, nuclei below; background in the middle."""
    cell, nucleus = np.zeros((2, 4, 6), np.uint8)
    cell[0], nucleus[3] = 255, 255
    return {"cell": cell, "nucleus": nucleus}


@pytest.fixture(params=["by class", "by image"])
def root(request, tmp_path):
    """Image a has both files, b only that of cells, c none; the nuclei of a are empty."""
    folder_data.classes(tmp_path, **({"names": folder_data.NAMES}))
    for stem in STEMS:
        save(tmp_path / f"train/images/{stem}.png", folder_data.image(ord(stem)))
    files = {"a": masks() | {"nucleus": masks()["nucleus"] * 0}, "b": {"cell": masks()["cell"]}}
    for stem, by_class in files.items():
        for name, mask in by_class.items():
            inner = f"{name}/{stem}" if request.param == "by class" else f"{stem}/{name}"
            save(tmp_path / f"train/masks/{inner}.png", mask)
    return tmp_path


def open_train(root, **options):
    return splits(root, size=None, split={"val": 0.0}, **options)["train"]


def test_a_class_without_a_file_was_not_looked_for(root):
    with pytest.warns(UserWarning, match=r"c\.png has no file in .*masks: nothing counts as annot"):
        train = open_train(root)
    assert train.names == list(STEMS)
    assert train.annotated.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert train[0].mask[:, 0].tolist() == [1, 0, 0, 0]
    target = targets.encode(train[1].mask[None], train[1].annotated[None], train.labels)[0]
    assert target[0, 0].tolist() == [0, 1, 0] and target[1, 0].tolist() == [1, 0, -1]


@pytest.mark.filterwarnings("ignore:image without mask", "ignore:contradiction")
def test_annotations_csv_says_otherwise(root):
    (root / "train/annotations.csv").write_text("image,annotated\nb,*\n")
    assert open_train(root).annotated.tolist() == [[1, 1, 1], [1, 1, 1], [1, 0, 0]]
    assert open_train(root, annotated="manifest").annotated[0].tolist() == [1, 0, 0]
    assert open_train(root, annotated="present").annotated[0].tolist() == [1, 1, 0]


def test_overlaps_are_for_independent_classes(tmp_path):
    planes = masks()
    planes["nucleus"][0, :2] = 255
    for stem in STEMS:
        save(tmp_path / f"images/{stem}.png", folder_data.image(ord(stem)))
        for name, mask in planes.items():
            save(tmp_path / f"masks/{name}/{stem}.png", mask)
    folder_data.classes(tmp_path)
    with pytest.raises(
        BadData, match=r"cell/a\.png.*nucleus/a\.png.*2 pixels.*\"exclusive\": false"
    ):
        splits(tmp_path)
    folder_data.classes(tmp_path, names=["cell", "nucleus"], background=None, exclusive=False)
    train = open_train(tmp_path, cache="memory")
    assert train[0].mask.shape == (4, 6, 2) and train[0].mask[0, 0].tolist() == [1, 1]
    assert train[0].mask.sum() == 6 + 8
    resized = splits(tmp_path, size=(2, 3), split={"val": 0.0})["train"]
    assert resized[0].mask.shape == (2, 3, 2)
    facts = examine(tmp_path).facts[0]
    assert facts.pixels == {0: 6, 1: 8} and facts.present.all() and facts.ignored == 0


WRONG = {
    "size": (lambda m: save(m / "cell/a.png", np.zeros((5, 5), np.uint8)), r"cell/a\.png"),
    "values": (
        lambda m: save(m / "cell/a.png", np.arange(24, dtype=np.uint8).reshape(4, 6)),
        r"cell/a\.png",
    ),
    "stranger": (lambda m: save(m / "cell/z.png", masks()["cell"]), r"cell/z\.png needs an image"),
    "folder": (
        lambda m: (m / "cells").mkdir(),
        r"masks/cells must be named after a class: cell, nucleus\. Did you mean 'cell'\? Rename",
    ),
    "file": (lambda m: save(m / "a.png", masks()["cell"]), r"nothing else\. Received also: a\.png"),
}


@pytest.mark.parametrize("harm, words", WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_named(tmp_path, harm, words):
    folder_data.classes(tmp_path)
    for stem in STEMS:
        save(tmp_path / f"images/{stem}.png", folder_data.image(ord(stem)))
        for name, mask in masks().items():
            save(tmp_path / f"masks/{name}/{stem}.png", mask)
    harm(tmp_path / "masks")
    with pytest.raises(BadData, match=words):
        splits(tmp_path)


def test_a_file_that_is_no_class_is_named(tmp_path):
    folder_data.classes(tmp_path)
    save(tmp_path / "images/a.png", folder_data.image())
    save(tmp_path / "masks/a/cel.png", masks()["cell"])
    words = r"a/cel\.png must be named after a class: cell, nucleus\. Did you mean 'cell'\?"
    with pytest.raises(BadData, match=words):
        splits(tmp_path)


@pytest.mark.parametrize("stray, asked", [("Nuclei", "'nucleus'"), ("vessel", None)])
def test_one_stray_folder_is_one_problem(tmp_path, stray, asked):
    """The folders of the classes are read, and nothing is said of what only follows."""
    folder_data.classes(tmp_path)
    for stem in "abcdef":
        save(tmp_path / f"images/{stem}.png", folder_data.image(ord(stem)))
    for stem in "abc":
        save(tmp_path / f"masks/cell/{stem}.png", masks()["cell"])
        save(tmp_path / f"masks/{stray}/{stem}.png", masks()["nucleus"])
    found = examine(tmp_path)
    (problem,) = found.problems
    assert problem.path == str(tmp_path / "masks" / stray) and problem.fatal
    assert ("Did you mean" in problem.text) == bool(asked) and (asked or "cell") in problem.text
    assert found.annotated[:3].tolist() == [[1, 1, 0]] * 3


def test_a_folder_that_is_no_image_is_named(tmp_path):
    folder_data.classes(tmp_path)
    for stem in "ab":
        save(tmp_path / f"images/{stem}.png", folder_data.image(ord(stem)))
        save(tmp_path / f"masks/{stem}/cell.png", masks()["cell"])
    save(tmp_path / "masks/z/cell.png", masks()["cell"])
    (problem,) = examine(tmp_path).problems
    assert problem.text.startswith(f"{tmp_path}/masks/z must be named after an image, or after a")


ENDINGS = {"mask": ("{}", "{}_mask", "masks", "_mask"), "image": ("{}-im", "{}", "images", "-im")}


@pytest.mark.parametrize("image, mask, what, ending", ENDINGS.values(), ids=ENDINGS)
def test_an_ending_of_all_stems_is_one_problem(tmp_path, image, mask, what, ending):
    folder_data.classes(tmp_path)
    for stem in "abcdef":
        save(tmp_path / f"images/{image.format(stem)}.png", folder_data.image(ord(stem)))
        save(tmp_path / f"masks/{mask.format(stem)}.png", masks()["cell"] // 255)
    found = examine(tmp_path)
    (problem,) = found.problems
    assert problem.fatal and problem.path == str(tmp_path / what)
    assert f"The {what} in {tmp_path / what} end in {ending!r}: rename them" in problem.text
    assert len(found.pairs) == 6
    (tmp_path / f"masks/{mask.format('f')}.png").unlink()
    kinds = [problem.kind for problem in examine(tmp_path).problems]
    assert kinds == ["stems that differ", "image without mask"]

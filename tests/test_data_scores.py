"""Masks that hold scores: which files, which bins, what is refused; ordered classes, joined."""

import json

import folder_data
import numpy as np
import pytest
import tifffile
from PIL import Image

from segkit.data.folder import splits
from segkit.data.joined import splits as joined
from segkit.data.readers import read_mask
from segkit.labels import LabelSpace

BINS = {"edges": [0, 1, 2.5, 4]}
SCORES = np.array([[0, 0.5, 1], [2.49, 2.5, 4]], "float32")
IDS = [[0, 0, 1], [1, 2, 2]]


def space(ignore_index=255, **bins):
    return LabelSpace.from_dict(
        {"bins": BINS | bins, "background": None, "ignore_index": ignore_index, "unit": "m"}
    )


def written(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_cut_into_the_bins(tmp_path, suffix, dtype):
    path = written(tmp_path / f"a{suffix}", SCORES.astype(dtype))
    ids = read_mask(path, space())
    assert ids.dtype == np.uint8 and ids.tolist() == IDS


def test_a_png_of_millimetres_is_cut_in_metres(tmp_path):
    edges = [0, 0.3, 0.7, 4]  # 0.3 / 0.001 is 299.99999999999994 or so
    millimetres = np.array([[0, 299, 300], [699, 700, 4000]], "uint16")
    path = written(tmp_path / "a.png", millimetres)
    assert read_mask(path, space(edges=edges, scale=0.001)).tolist() == [[0, 0, 1], [1, 2, 2]]
    hole = space(edges=edges, scale=0.001, no_data=0)
    assert read_mask(path, hole).tolist() == [[255, 0, 1], [1, 2, 2]]
    assert read_mask(path, space(edges=edges, scale=0.001, no_data=-9999)).tolist()[0][0] == 0


def test_nan_and_what_lies_outside_is_ignored_or_clipped(tmp_path):
    path = written(tmp_path / "a.npy", np.array([[np.nan, -1, 5], [np.inf, 0, 3]], "float32"))
    assert read_mask(path, space()).tolist() == [[255, 255, 255], [255, 0, 2]]
    assert read_mask(path, space(outside="clip")).tolist() == [[255, 0, 2], [2, 0, 2]]


def test_a_file_without_any_measurement_is_ignored_as_a_whole(tmp_path):
    path = written(tmp_path / "a.npy", np.full((2, 2), np.nan, "float32"))
    assert (read_mask(path, space()) == 255).all()


@pytest.mark.parametrize(
    "name, array, labels, words",
    [
        ("a.npy", np.full((2, 2), 900.0), space(), "has no pixel in the bins.*900 to 900.*scale"),
        ("a.npy", np.array([[np.nan, 1]]), space(None), "a.npy: Every score must lie.*1 of 2"),
        ("a.npy", np.ones((2, 2), complex), space(), "must hold one score a pixel.*complex128"),
        ("a.png", np.zeros((2, 2, 3), "uint8"), space(), "one score a pixel.*with 3 bands .RGB."),
        ("a.npy", np.zeros((2, 2, 2)), space(), "one score a pixel.*with 2 bands"),
    ],
)
def test_what_is_no_mask_of_scores_is_refused_by_name(tmp_path, name, array, labels, words):
    path = written(tmp_path / name, array)
    with pytest.raises(ValueError, match=words) as error:
        read_mask(path, labels)
    assert str(path) in str(error.value)


def test_a_folder_of_scores_becomes_a_source_of_ids(tmp_path):
    for number in range(4):
        folder = tmp_path / "train" if number < 3 else tmp_path / "val"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "masks").mkdir(exist_ok=True)
        pixels = np.full((2, 3, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        np.save(folder / "masks" / f"{number}.npy", SCORES)
    description = {"bins": BINS, "unit": "m", "background": None, "ignore_index": 255}
    (tmp_path / "classes.json").write_text(json.dumps(description))
    found = splits(tmp_path, size=None)
    assert found["train"][0].mask.tolist() == IDS
    labels = found["val"].labels
    # What comes out of a run are ids, which nobody may cut once more.
    assert labels.bins is None and labels.values == (0.5, 1.75, 3.25) and labels.unit == "m"


def test_joined_classes_stand_for_what_the_data_sets_say(tmp_path):
    given = {}
    for name, values in (("a", [0, 1, 2]), ("b", [0, 1, 2])):
        root = tmp_path / name
        folder_data.clinic(root, ["none", "mild", "severe"], "1234", values=values, unit="grade")
        given[name] = {"root": root}
    labels = joined(given, size=None, background="none")["train"].labels
    assert labels.values == (0, 1, 2) and labels.unit == "grade"
    folder_data.classes(root, names=["none", "mild", "severe"], values=[0, 1, 3], unit="grade")
    with pytest.raises(ValueError, match="a and b say that 'severe' stands for another value"):
        joined(given, size=None, background="none")
    options = {"size": None, "background": "none", "values": [0, 1, 4], "unit": "grade"}
    assert joined(given, **options)["train"].labels.values == (0, 1, 4)
    folder_data.classes(root, names=["none", "mild", "severe"])
    given["b"]["ids"] = {"severe": "worst"}
    assert joined(given, size=None, background="none")["train"].labels.values is None

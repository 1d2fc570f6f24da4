"""Planes as ids of sets of classes: one table for all layers of an image, and nothing lost."""

import numpy as np
import pytest

from segkit.combinations import combine, shown_as_ids
from segkit.labels import LabelSpace


def space(count, ignore_index=255):
    names = [f"class {c}" for c in range(count)]
    return LabelSpace(names, background=None, ignore_index=ignore_index, exclusive=False)


def restored(ids, table, count, ignore_index=255):
    planes = np.zeros((*ids.shape, count), np.uint8)
    for place, entry in enumerate(table):
        where = ids == place
        for c in entry["classes"]:
            planes[where, c] = 1
        for c in entry["ignored"]:
            planes[where, c] = ignore_index
    return planes


def test_by_hand():
    mask = np.array([[[0, 0], [1, 0], [1, 1], [255, 1]]], np.uint8)
    prediction = np.array([[[1, 0], [1, 0], [0, 0], [0, 1]]], bool)
    found = combine({"mask": mask, "truth": None, "prediction": prediction}, space(2))
    assert found.combinations == [
        {"classes": [], "ignored": []},
        {"classes": [0], "ignored": []},
        {"classes": [0, 1], "ignored": []},
        {"classes": [1], "ignored": [0]},
        {"classes": [1], "ignored": []},
    ]
    assert found.layers["mask"].tolist() == [[0, 1, 2, 3]]
    assert found.layers["prediction"].tolist() == [[1, 1, 0, 4]]
    assert found.layers["truth"] is None and found.left_out == []


@pytest.mark.parametrize("count", [1, 7, 8, 9, 300])
def test_planes_come_back_from_their_ids(count):
    rng = np.random.default_rng(count)
    layers = {
        "mask": rng.choice([0, 1, 7], (6, 5, count), p=[0.8, 0.15, 0.05]).astype("uint8"),
        "prediction": rng.random((6, 5, count)) < 0.1,
    }
    found = combine(layers, space(count, 7))
    assert found.combinations[0] == {"classes": [], "ignored": []}
    for name, planes in layers.items():
        again = restored(found.layers[name], found.combinations, count, 7)
        np.testing.assert_array_equal(again, planes)


def test_of_too_many_sets_the_rarest_classes_are_left_out():
    rng = np.random.default_rng(0)
    planes = (rng.random((40, 40, 12)) < np.linspace(0.5, 0.05, 12)).astype("uint8")
    found = combine({"mask": planes}, space(12), most=100)
    assert len(found.combinations) <= 100 and 0 < len(found.left_out) < 12
    kept = planes.copy()
    kept[..., found.left_out] = 0
    np.testing.assert_array_equal(restored(found.layers["mask"], found.combinations, 12), kept)
    often = planes.sum((0, 1))
    assert often[found.left_out].max() <= np.delete(often, found.left_out).min()


def test_classes_that_exclude_each_other_are_ids_already():
    labels, mask = LabelSpace(["background", "cell"]), np.eye(3, dtype="uint8")
    layers, said = shown_as_ids({"mask": mask}, labels)
    assert layers["mask"] is mask and said == {}


def test_what_is_no_plane_is_named():
    with pytest.raises(ValueError, match=r"The truth of .* \(H, W, 2\). Received: \(3, 3\)"):
        combine({"mask": None, "truth": np.eye(3)}, space(2))

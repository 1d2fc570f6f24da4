"""What ordered classes stand for, scores cut into bins, and means of probabilities."""

import json

import numpy as np
import pytest
from matplotlib import colormaps

from segkit import ordered
from segkit.labels import LabelSpace

EDGES = [0, 1, 2.5, 4]


def space(**options):
    return LabelSpace(["low", "middle", "high"], **{"background": None, **options})


def test_scores_are_cut_and_the_answer_is_turned_back_as_in_the_question():
    edges = np.arange(0.5, 11)  # ten classes, 1 to 10
    assert ordered.encode(np.array([4.9, 4.4, 0.5, 10.5]), edges).tolist() == [4, 3, 0, 9]
    p = np.zeros(10)
    p[0], p[3] = 0.1, 0.9
    mean, deviation = ordered.decode(p, range(1, 11))
    assert mean == pytest.approx(3.7) and deviation == pytest.approx(0.9)


def test_edges_belong_to_the_class_above_but_for_the_last():
    scores = np.array([0, 0.999, 1, 2.5, 4])
    assert ordered.encode(scores, EDGES).tolist() == [0, 0, 1, 2, 2]


def test_what_is_outside_is_ignored_or_clipped_and_nan_always_ignored():
    scores = np.array([[-0.1, 4.1], [np.nan, 3]])
    assert ordered.encode(scores, EDGES, 255).tolist() == [[255, 255], [255, 2]]
    assert ordered.encode(scores, EDGES, 255, "clip").tolist() == [[0, 2], [255, 2]]
    with pytest.raises(ValueError, match="lie in 0 to 4.*Received: -0.1, 4.1, nan.*3 of 4 pixels"):
        ordered.encode(scores, EDGES)
    with pytest.raises(ValueError, match="outside must be ignore or clip"):
        ordered.encode(scores, EDGES, outside="drop")


def test_float32_scores_meet_the_edges_in_their_own_precision():
    edges = [0.0, 0.1, 0.3, 0.7, 0.9]
    assert ordered.encode(np.array(edges[:-1], "float32"), edges).tolist() == [0, 1, 2, 3]


def test_tensors_are_coded_as_arrays_are():
    from keras import ops

    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 5, (2, 5)).astype("float32")
    found = ordered.encode(ops.convert_to_tensor(scores), EDGES, 255)
    np.testing.assert_array_equal(found, ordered.encode(scores, EDGES, 255))
    p = rng.dirichlet(np.ones(3), (2, 4)).astype("float32")
    for mine, theirs in zip(
        ordered.decode(ops.convert_to_tensor(p), [0, 1, 5]), ordered.decode(p, [0, 1, 5])
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_a_mean_needs_one_value_a_class():
    with pytest.raises(ValueError, match=r"Each class needs a value.*\(2, 3\), values: 2"):
        ordered.decode(np.ones((2, 3)), [1, 2])
    with pytest.raises(ValueError, match="values: none"):
        ordered.decode(np.ones((2, 3)), None)


def test_bins_give_names_and_values_and_survive_json():
    labels = LabelSpace.from_dict({"bins": EDGES, "unit": "m", "background": None})
    assert labels.names == ("0 to 1 m", "1 to 2.5 m", "2.5 to 4 m")
    assert labels.values == (0.5, 1.75, 3.25) and labels.unit == "m"
    assert LabelSpace.from_dict(json.loads(json.dumps(labels.to_dict()))) == labels


def test_edges_in_the_numbers_of_the_file_are_round_whatever_the_scale():
    for scale, stored in ((0.001, (0, 300, 700)), (1e9, (0, 3e-10, 7e-10))):
        assert ordered.checked_bins({"edges": [0, 0.3, 0.7], "scale": scale}).stored == stored


def test_classes_without_an_order_are_written_as_before():
    assert not {"values", "unit", "bins"} & set(space().to_dict())


def test_values_given_go_before_the_centres():
    assert space(bins=EDGES, values=[0, 2, 4]).values == (0, 2, 4)


def test_ordered_classes_are_drawn_from_dark_to_bright():
    viridis = colormaps["viridis"]
    first, middle, last = space(values=[1, 2, 3]).palette
    assert (first, middle, last) == tuple(viridis(v, bytes=True)[:3] for v in (0.0, 0.5, 1.0))
    assert space(values=[1, 2, 3], background=0).palette == ((0, 0, 0), middle, last)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"values": [1, 2]}, "one number a class, 3 here.*Received: 2"),
        ({"values": [1, 3, 2]}, "values must be a list of numbers, each above"),
        ({"values": [1, 2, True]}, "values must be a list of numbers"),
        ({"values": [1, 2, float("nan")]}, "values must be a list of numbers"),
        ({"values": "123"}, "values must be a list of numbers"),
        ({"values": [None, 1, 2], "background": 0}, "values must be a list of numbers"),
        ({"values": [1, 2, 3], "background": 1}, "the background is the lowest one, id 0"),
        ({"values": [1, 2, 3], "exclusive": False}, "exclude each other.*exclusive=False"),
        ({"unit": "mm"}, "needs values. Received: 'mm'"),
        ({"values": [1, 2, 3], "unit": 3}, "a text such as mm"),
        ({"bins": [0, 1, 2]}, "3 classes have 4 edges of bins. Received: 3"),
        ({"bins": [0, 1, 1, 2]}, "edges of bins must be a list of numbers, each above"),
        ({"bins": EDGES, "values": [0, 1.5, 5]}, "lies in its bin. Received: 5 for class 2"),
        ({"bins": {"edge": EDGES}}, "keys edges, scale, no_data, outside.*Received: edge"),
        ({"bins": {"edges": EDGES, "scale": 0}}, "number above 0. Received: 0"),
        ({"bins": {"edges": EDGES, "outside": "drop"}}, "ignore or clip. Received: 'drop'"),
        ({"bins": {"edges": EDGES, "no_data": "x"}}, "no_data is the number"),
        ({"bins": {"edges": EDGES, "no_data": 0}, "ignore_index": None}, "take the ignore_index"),
        (
            {"bins": EDGES, "coarse": [{"name": "both", "id": 9, "members": ["low", "high"]}]},
            "bins and coarse",
        ),
    ],
)
def test_what_is_no_order_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        space(**options)


def test_nearly_the_keys_are_refused():
    with pytest.raises(ValueError, match="unknown key 'value'. Did you mean 'values'"):
        LabelSpace.from_dict({"names": ["a", "b"], "background": None, "value": [1, 2]})

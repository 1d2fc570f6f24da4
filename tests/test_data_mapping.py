"""Bringing one data set into a joint label space: nothing is claimed that it did not say."""

import numpy as np
import pytest

from segkit import targets
from segkit.data.joined.labels import all_names, joint_labels
from segkit.data.joined.mapping import LabelMap, by_id
from segkit.labels import LabelSpace

JOINT = joint_labels(
    ["background", "liver", "tumour", "kidney"],
    coarse=[{"name": "liver_with_tumour", "members": ["liver", "tumour"]}],
)
CLINIC = LabelSpace(["background", "liver", "spleen"])
EVERYTHING = np.array([True, True, True])


def brought(labels, mask, annotated, **options):
    """The joint target of one mask (H, W)."""
    way = LabelMap(labels, options.pop("joint", JOINT), **options)
    annotated = np.array(annotated, bool)
    masks, known = way.mask(np.array(mask), annotated)[None], way.annotated(annotated)[None]
    return targets.encode(masks, known, way.joint)[0]


def test_a_coarse_label_by_hand():
    """The clinic outlines livers with their tumours, and knows nothing of kidneys."""
    ids = {"liver": "liver_with_tumour", 2: "background"}
    target = brought(CLINIC, [[0, 1, 2, 255]], EVERYTHING, ids=ids)
    # background, liver, tumour, kidney; the spleen may not be a kidney, but nobody said so
    assert target[0].tolist() == [[1, 0, 0, -1], [0, -1, -1, 0], [1, 0, 0, -1], [-1] * 4]
    unlooked = brought(CLINIC, [[0, 1, 2, 255]], [True, False, True], ids=ids)
    assert unlooked[0].tolist() == [[1, -1, -1, -1], [0, -1, -1, 0], [1, -1, -1, -1], [-1] * 4]


@pytest.mark.parametrize(
    "ids, declared, expected",
    [
        ({1: "liver", 2: "kidney"}, [1, 1, 1], [1, 1, 0, 1]),
        ({1: "liver", 2: "kidney"}, [1, 1, 0], [1, 1, 0, 0]),
        ({1: "kidney", 2: "kidney"}, [1, 1, 1], [1, 0, 0, 1]),
        ({1: "kidney", 2: "kidney"}, [1, 1, 0], [1, 0, 0, 0]),
        ({1: "liver", 2: "liver_with_tumour"}, [1, 0, 1], [1, 0, 1, 0]),
        ({1: "liver", 2: "liver_with_tumour"}, [1, 1, 0], [1, 0, 0, 0]),
        ({1: "background", 2: "ignore"}, [1, 1, 1], [1, 0, 0, 0]),
    ],
)
def test_a_joint_class_is_annotated_where_all_that_may_hold_it_were(ids, declared, expected):
    way = LabelMap(CLINIC, JOINT, ids)
    assert way.annotated(np.array(declared, bool)).astype(int).tolist() == expected


@pytest.mark.parametrize(
    "listed, declared, expected",
    [
        (["liver"], [1, 1, 1], [1, 1, 0, 0]),
        (["liver", "kidney"], [1, 0, 1], [1, 0, 0, 1]),
        (["liver_with_tumour"], [1, 1, 1], [1, 1, 1, 0]),
        (["background"], [1, 1, 1], [1, 0, 0, 0]),
        ([], [1, 1, 1], [1, 0, 0, 0]),
    ],
)
def test_a_list_limits_what_is_declared_and_may_name_what_is_never_there(
    listed, declared, expected
):
    """Kidneys are not in the clinic's masks: listed, somebody looked and found none."""
    way = LabelMap(CLINIC, JOINT, {"spleen": "ignore"}, listed)
    assert way.annotated(np.array(declared, bool)).astype(int).tolist() == expected


def possible(labels, joint, goes_to, y, annotated):
    """The joint classes that a pixel with id y may belong to, from the words of `ids` alone."""
    coarse = {entry.name: set(entry.members) for entry in joint.coarse}
    held = {n for c in range(4) for n in coarse.get(goes_to[c], {goes_to[c]})}

    def meaning(name):
        if name == "ignore":
            return set(joint.names)
        if name == "background":
            return {joint.names[0]} | (set(joint.names) - held)
        return coarse.get(name, {name})

    found = meaning(goes_to[y])
    for c in np.flatnonzero(~annotated) if y == labels.background else ():
        found |= meaning(goes_to[c]) if goes_to[c] != "ignore" else set()
    return found


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_ruled_out_that_may_be(seed):
    rng = np.random.default_rng(seed)
    joint = joint_labels(
        ["none", "a", "b", "c", "d"], "none", 9, [{"name": "ab", "members": ["a", "b"]}]
    )
    either = [{"name": "either", "id": 7, "members": ["x", "y"]}]
    labels = LabelSpace(["w", "x", "y", "z"], [0, 3, None][seed % 3], 11, coarse=either)
    words = ["a", "b", "c", "d", "ab", "background", "ignore"]
    goes_to = dict(zip([0, 1, 2, 3, 7], rng.choice(words, 5).tolist()))
    if seed % 2 and labels.background is not None:
        goes_to[labels.background] = "background"
    annotated = rng.random(4) < 0.6
    if labels.background is not None:
        annotated[labels.background] = True
    target = brought(labels, [[0, 1, 2, 3, 7, 11]], annotated, ids=goes_to, joint=joint)[0]
    # What goes to the background loses only that it was not one of the unannotated classes.
    exact = [c for c in goes_to if goes_to[c] == "background"] == [labels.background]
    for y, states in zip(goes_to, target):
        may_be = possible(labels, joint, goes_to, y, annotated)
        left = {joint.names[c] for c in np.flatnonzero(states != 0)}
        assert left >= may_be, (y, goes_to)
        assert may_be >= {joint.names[c] for c in np.flatnonzero(states == 1)}
        assert left == may_be or not exact
    assert (target[-1] == -1).all()


def test_a_background_that_goes_to_a_class_is_one_only_where_all_was_annotated():
    tissue = LabelSpace(["tissue", "vessel", "tool"])
    joint = joint_labels(["tissue", "vessel", "tool"], background=None)
    way = LabelMap(tissue, joint, {"tool": "ignore"})
    for declared, first in (([1, 1, 1], 0), ([1, 0, 1], 255), ([1, 1, 0], 0)):
        assert way.mask(np.array([[0, 1, 2]]), np.array(declared, bool)).tolist() == [
            [first, 1, 255]
        ]


def test_ignored_pixels_stay_ignored_unless_they_are_sent_elsewhere():
    for ids, expected in (({}, 255), ({255: "background"}, 0), ({255: "liver"}, 1)):
        way = LabelMap(CLINIC, JOINT, {"spleen": "kidney"} | ids)
        assert way.mask(np.array([[255, 2]]), EVERYTHING).tolist() == [[expected, 3]]


@pytest.mark.parametrize("largest, dtype", [(255, np.uint8), (300, np.uint16)])
def test_masks_are_as_wide_as_the_joint_ids(largest, dtype):
    joint = joint_labels(["background", "liver", "spleen"], ignore_index=largest)
    mask = LabelMap(CLINIC, joint).mask(np.array([[0, 2, 255]], np.uint8), EVERYTHING)
    assert mask.dtype == dtype and mask.tolist() == [[0, 2, largest]]


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {},
            "has background, liver, tumour, kidney, liver_with_tumour. Received also: spleen. "
            "Say in ids .* class or coarse label .* 'background' .* or to 'ignore'",
        ),
        ({"ids": {7: "liver"}}, r"hold: 0 \(background\), 1 \(liver\), 2 .*Received: 7\."),
        ({"ids": {"spleeen": "liver"}}, r"2 \(spleen\)\. Received: 'spleeen'"),
        ({"ids": {True: "liver"}}, "Received: True"),
        ({"ids": {2: "kidny"}}, "ids may say ignore, .*kidney, .*Received: 'kidny'"),
        ({"ids": {2: 3}}, "one joint name. Received: 2 in {2: 3}"),
        ({"ids": {2: ["kidney", "liver"]}}, "one joint name. Received: 2 in"),
        ({"ids": {2: "kidney", "spleen": "ignore"}}, "one joint name. Received: 'spleen' in"),
        ({"ids": {"2": "kidney", 2: "ignore"}}, "one joint name. Received: 2 in"),
        ({"ids": {2: "ignore"}, "annotated": ["ignore"]}, "annotated may say .*Rec.*'ignore'"),
        ({"ids": {2: "ignore"}, "annotated": ["lung"]}, "annotated may say .*Received: 'lung'"),
        ({"ids": {2: "ignore"}, "annotated": [[1]]}, r"Received: \[1\]"),
    ],
)
def test_mistakes_are_named_with_a_way_out(options, words):
    with pytest.raises(ValueError, match=words):
        LabelMap(CLINIC, JOINT, **options)


def test_a_background_that_is_also_a_class_must_be_decided():
    labels = LabelSpace(["liver", "kidney"])
    with pytest.raises(ValueError, match="'liver' is the background .* 'liver' or 'background'"):
        LabelMap(labels, JOINT)
    LabelMap(labels, JOINT, {0: "background"})
    LabelMap(labels, JOINT, {"liver": "liver"})
    with pytest.raises(ValueError, match="Received also: liver. Say in ids"):
        LabelMap(labels, joint_labels(["kidney", "lung"], background=None))


def test_ids_are_names_numbers_or_numbers_as_the_command_line_gives_them():
    given = {"liver": "a", "2": "b", 0: "c", 255: "ignore"}
    assert by_id(CLINIC, given) == {1: "a", 2: "b", 0: "c", 255: "ignore"}
    assert by_id(LabelSpace(["nothing", "2", "1"]), {"2": "a"}) == {1: "a"}


# The joint label space


def test_coarse_labels_get_ids_that_are_free():
    names = ["background", "a", "b", "c"]
    coarse = [{"name": n, "members": ["a", "b"]} for n in ("x", "y", "z")]
    coarse[1]["id"] = 5
    labels = joint_labels(names, ignore_index=6, coarse=coarse)
    assert [(entry.name, entry.id) for entry in labels.coarse] == [("x", 4), ("y", 5), ("z", 7)]
    assert joint_labels(names, ignore_index=None).ignore_index == 255


@pytest.mark.parametrize("background", ["other", 1])
def test_the_background_is_found_by_name_or_id(background):
    labels = joint_labels(["liver", "other"], background)
    assert labels.background == 1
    mask = LabelMap(CLINIC, labels, {2: "background"}).mask(np.array([[0, 1, 2]]), EVERYTHING)
    assert mask.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize(
    "options, words",
    [
        (
            {"names": "background,a"},
            "names must be a list of class names. Received: 'background,a'",
        ),
        ({"coarse": {"ab": ["a", "b"]}}, r"coarse must be a list such as .*Received: {'ab'"),
        ({"coarse": ["ab"]}, r"coarse must be a list .*Received: \['ab'\]"),
        ({"names": ["liver", "kidney"]}, r"background 'background'. Received: \['liver', .*NAME"),
        ({"names": ["background", "ignore"]}, "'ignore' stands for no class.*background, ignore"),
        ({"names": ["background", "b"], "background": "b"}, "'background' for the background"),
        ({"coarse": [{"members": ["a", "b"]}]}, "keys name, id and members. Received: id, members"),
        ({"coarse": [{"name": "background", "members": ["a", "b"]}]}, "a name .* of its own"),
        ({"coarse": [{"name": "ab", "members": ["a", "d"]}]}, r"of the classes \(background, a, b"),
    ],
)
def test_a_joint_label_space_that_does_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        joint_labels(**{"names": ["background", "a", "b"], **options})


def test_all_names_in_the_order_of_the_data_sets():
    street = LabelSpace(["void", "car", "truck", "vehicle", "sky"], 0)
    other = LabelSpace(["road", "bus", "truck", "van"], None)
    ids = {2: "truck", 3: "car", 1: "ignore"}
    names = all_names([(street, {4: "background"}), (other, ids)], "none", [{"name": "vehicle"}])
    assert names == ["none", "car", "truck", "road"]
    assert all_names([(other, {})], None, []) == ["road", "bus", "truck", "van"]


def test_names_that_look_alike_are_asked_about():
    spaces = [(LabelSpace(["background", name]), {}) for name in ("sign_post", "Sign-post")]
    with pytest.raises(ValueError, match="Are 'sign_post' and 'Sign-post' one class"):
        all_names(spaces, "background", [])
    with pytest.raises(ValueError, match="must be a name, or null. Received: 0"):
        all_names(spaces, 0, [])
    with pytest.raises(ValueError, match="coarse must be a list"):
        all_names(spaces, "background", {"ab": ["a", "b"]})

"""The three-state target: every rule, every error, in NumPy, eagerly and inside tf.data."""

import numpy as np
import pytest
import tensorflow as tf

from segkit.contract import candidates, judged_pixels, require_target
from segkit.labels import LabelSpace
from segkit.targets import encode

COARSE = LabelSpace(
    ["road", "car", "truck"], coarse=[{"name": "vehicle", "id": 7, "members": ["car", "truck"]}]
)
PLANES = LabelSpace(["organ", "tumour"], background=None, exclusive=False)


def in_numpy(masks, annotated, labels):
    return encode(masks, annotated, labels)


def eagerly(masks, annotated, labels):
    return encode(tf.constant(masks), tf.constant(annotated), labels).numpy()


def in_tf_data(masks, annotated, labels):
    data = tf.data.Dataset.from_tensors((masks, annotated))
    return next(iter(data.map(lambda m, a: encode(m, a, labels)))).numpy()


every_way = pytest.mark.parametrize("way", [in_numpy, eagerly, in_tf_data])


@every_way
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64"])
def test_worked_by_hand(way, labels, dtype):
    masks = np.array([[[0, 1, 2, 255]], [[0, 1, 2, 255]]], dtype)
    annotated = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    target = way(masks, annotated, labels)
    assert target.dtype == np.int8
    complete = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [-1, -1, -1, -1]]
    # ellipse and circle unannotated: unknown on background, ruled out where there is a label
    partial = [[1, -1, 0, -1], [0, 1, 0, 0], [0, 0, 1, 0], [-1, -1, -1, -1]]
    np.testing.assert_array_equal(target, [[complete], [partial]])


@every_way
def test_coarse_label(way):
    target = way(np.array([[[0, 2, 7]]]), np.array([[True] * 3]), COARSE)
    np.testing.assert_array_equal(target, [[[[1, 0, 0], [0, 0, 1], [0, -1, -1]]]])


@every_way
def test_independent_classes_each_on_its_own(way):
    planes = np.array([[[[1, 1], [0, 0], [1, 255]]], [[[1, 1], [0, 0], [255, 0]]]], "uint8")
    target = way(planes, np.array([[True, True], [True, False]]), PLANES)
    np.testing.assert_array_equal(
        target, [[[[1, 1], [0, 0], [1, -1]]], [[[1, 1], [0, -1], [-1, -1]]]]
    )


@every_way
def test_without_background_nothing_becomes_unknown(way):
    labels = LabelSpace(["sky", "road"], background=None, ignore_index=None)
    target = way(np.array([[[0, 1]]]), np.array([[True, False]]), labels)
    np.testing.assert_array_equal(target, [[[[1, 0], [0, 1]]]])


@every_way
def test_stray_id(way, labels):
    masks, annotated = np.array([[[0, 77]]]), np.ones((1, 4), bool)
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match="ids 0-3, 255 .4 classes"
    ):
        way(masks, annotated, labels)


def test_stray_ids_are_listed(labels):
    with pytest.raises(ValueError, match=r"Correct the masks.*Received: \[4, 77\]"):
        encode(np.array([[[0, 77, 4]]]), np.ones((1, 4), bool), labels)


@every_way
def test_background_declared_unannotated(way, labels):
    masks, annotated = np.zeros((2, 1, 1), int), np.ones((2, 4), bool)
    annotated[1, 0] = False
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="must be annotated in"):
        way(masks, annotated, labels)


@pytest.mark.parametrize(
    "masks, annotated, words",
    [
        (np.zeros((2, 3, 3)), np.ones((2, 4), bool), "integer ids. Received: dtype float64"),
        (np.zeros((3, 3), int), np.ones((1, 4), bool), r"\(B, H, W\).*Received: \(3, 3\).*masks"),
        (np.zeros((2, 3, 3), int), np.ones((2, 4)), "booleans .B, C.. Received: dtype float64"),
        (np.zeros((2, 3, 3), int), np.ones((2, 3), bool), r"\(2, 4\) here. Received: \(2, 3\)"),
        (np.zeros((2, 3, 3), int), np.ones((1, 4), bool), r"\(2, 4\) here. Received: \(1, 4\)"),
        (np.zeros((2, 3, 3), int), np.ones(4, bool), r"\(2, 4\) here. Received: \(4,\)"),
    ],
)
def test_what_does_not_fit_is_named(labels, masks, annotated, words):
    with pytest.raises(ValueError, match=words):
        encode(masks, annotated, labels)


def test_planes_need_one_channel_a_class():
    with pytest.raises(ValueError, match=r"independent classes.*C = 2. Received: \(1, 3, 3, 4\)"):
        encode(np.zeros((1, 3, 3, 4), int), np.ones((1, 2), bool), PLANES)


def test_trap_9_an_unsigned_target_is_refused(batch):
    """In uint8 the -1 is 255, and a test for -1 never fires."""
    target, logits = batch
    with pytest.raises(ValueError, match="signed target.*Received: dtype uint8.*encode"):
        require_target(target.astype("uint8"), logits, "Loss")
    with pytest.raises(ValueError, match=r"one shape.*target \(4, 6\), logits \(4, 6, 5, 4\)"):
        require_target(target[..., 0, 0], logits, "Loss")


def test_judged_and_candidates(batch):
    target, _ = batch
    assert judged_pixels(target)[3].sum() == 0 and judged_pixels(target)[2].all()
    np.testing.assert_array_equal(candidates(target), target != 0)
    for tensor_way, array_way in ((judged_pixels, judged_pixels), (candidates, candidates)):
        np.testing.assert_array_equal(tensor_way(tf.constant(target)), array_way(target))

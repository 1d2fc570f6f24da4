"""What is said before training: nothing to learn, no evidence, gates that may stay closed."""

import re

import numpy as np
import pytest

from segkit import class_weights, evidence, losses, preflight
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "a", "b"])


def counts(images, at_random=True):
    """From (ids of one row, annotated classes) for each image; the background always is."""
    masks = [np.array([ids]) for ids, _ in images]
    annotated = [np.isin(range(3), [0, *looked]) for _, looked in images]
    return class_weights.count(masks, annotated, LABELS, at_random=at_random)


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_complete_annotations_need_no_words(caplog):
    whole = counts([([0, 1, 2], (1, 2))])
    evidence.check_classes(LABELS, whole)
    evidence.check_evidence(LABELS, whole)
    preflight.check_gates(losses.GatedCrossEntropy(), LABELS, whole)
    assert not caplog.records


@pytest.mark.parametrize(
    "images, words",
    [
        ([([0, 0], ())], "nothing to learn: no class but the background.*Look at annotations.csv"),
        ([([0, 0], (1, 2))], "nothing to learn: no class but the background"),
        ([([0, 1], (2,)), ([0, 0], ())], "The masks do hold a, but only in images where"),
        ([([255, 255], (1, 2))], "nothing to learn"),
    ],
)
def test_nothing_to_learn_is_an_error(images, words):
    with pytest.raises(ValueError, match=words):
        evidence.check_classes(LABELS, counts(images))


@pytest.mark.parametrize(
    "images, words",
    [
        ([([0, 1], (1,))], "^In no training image did anybody look for b: it cannot be learnt"),
        ([([0, 1], (1, 2))], "^No training image shows a pixel of b where it was looked for: it c"),
        ([([0, 1, 2], (1,))], "^Only where it is declared unannotated .* hold b: nothing shows"),
    ],
)
def test_a_class_that_cannot_be_learnt_is_named(caplog, images, words):
    evidence.check_classes(LABELS, counts(images))
    (message,) = said(caplog)
    assert re.search(words, message)


@pytest.mark.parametrize(
    "images, words",
    [
        ([([0, 0], ())], "No class can be scored on the split val: nobody looked for a, b"),
        ([([0, 1], (1,))], "holds no evidence on b, background: the best model is chosen without"),
        ([([0, 1], (1,)), ([0, 2], (2,))], "holds no evidence on background: "),
        ([([0, 1], (1, 2))], "shows no pixel of b where it was looked for"),
    ],
)
def test_what_validation_cannot_tell_is_named(caplog, images, words):
    evidence.check_evidence(LABELS, counts(images))
    (message,) = said(caplog)
    assert words in message


def test_classes_read_off_the_validation_masks(caplog):
    shown = ([0, 1, 2], (1, 2))
    evidence.check_evidence(LABELS, counts([shown], at_random=False))
    assert not caplog.records  # no image is left in which a class might be predicted wrongly
    evidence.check_evidence(LABELS, counts([shown, ([0, 1], (1,))], at_random=False))
    (message,) = said(caplog)
    assert "whether it is predicted wrongly in others; trainer.bounds=true" in message


@pytest.mark.parametrize("background, given", [(0, 2), (None, 0), (2, None)])
def test_exclusion_needs_the_background_of_the_data(background, given):
    space = LabelSpace(["a", "b", "c"], background=background)
    term, right = losses.Exclusion(background=given), losses.Exclusion(background=background)
    name = "null" if background is None else background
    words = rf"of the data, {name}. Received: {given}. Set loss.background={name}, .*1.background="
    for loss in (term, losses.WeightedSum([losses.BCEDice(), term])):
        with pytest.raises(ValueError, match=words):
            preflight.check_exclusion(loss, space)
    for loss in (right, losses.WeightedSum([losses.BCEDice(), right]), losses.SoftDice()):
        preflight.check_exclusion(loss, space)


def annotated_in(share, of=20, row=(0, 0, 1, 2)):
    """Counts of images of which a share has class a annotated, and all of them class b."""
    hidden = [0 if id_ == 1 else id_ for id_ in row]
    known = round(share * of)
    return counts([(row, (1, 2))] * known + [(hidden, (2,))] * (of - known))


@pytest.mark.parametrize(
    "share, weights, opens",
    [
        (0.45, None, False),
        (0.50, None, False),
        (0.55, None, True),
        (0.20, [1, 4, 1], False),
        (0.25, [1, 4, 1], True),
        (0.10, [2, 18, 1], False),
        (0.15, [2, 18, 1], True),
        (0.95, [1, 0, 1], False),
    ],
)
def test_the_bound_of_the_gate(caplog, share, weights, opens):
    """a w_c > (1 - a) w_0, at equality not."""
    preflight.check_gates(losses.GatedCrossEntropy(weights), LABELS, annotated_in(share))
    assert (said(caplog) == []) == opens


def test_a_closed_gate_is_told_with_its_numbers_and_the_remedy(caplog):
    """Class a covers 1 pixel of 20, the background 18: median-frequency weights are 1/18 and 1."""
    part = annotated_in(0.25, row=[0] * 18 + [1, 2])
    preflight.check_gates(losses.GatedCrossEntropy([1, 2, 1]), LABELS, part)
    (message,) = said(caplog)
    assert "gated_cross_entropy may not open for a (annotated in 25% of the images, " in message
    assert "more than 33% needed at weight 2 against 1)" in message
    assert "Take loss=marginal_cross_entropy" in message
    assert "or class_weights=median_frequency, with which the bounds are a 5%" in message


def test_weights_that_would_not_open_it_are_not_offered(caplog):
    """As much of class a as of the background: no frequency tells them apart."""
    preflight.check_gates(losses.GatedCrossEntropy(), LABELS, annotated_in(0.25, row=(0, 1, 2)))
    (message,) = said(caplog)
    assert "which has no such bound." in message and "median_frequency" not in message


def test_gates_are_found_in_sums_and_only_where_they_are(caplog):
    gated = losses.WeightedSum([losses.SoftDice(), losses.GatedCrossEntropy()])
    for loss, warnings in (
        (losses.MarginalCrossEntropy(), 0),
        (losses.WeightedSum([losses.CrossEntropy(), losses.SoftDice()]), 0),
        (gated, 1),
        (losses.WeightedSum([losses.SoftDice(), gated]), 1),
    ):
        caplog.clear()
        preflight.check_gates(loss, LABELS, annotated_in(0.25))
        assert len(said(caplog)) == warnings


@pytest.mark.parametrize("gate, warnings", [("predicted", 1), ("soft", 1), ("everywhere", 0)])
def test_only_gates_of_belief_have_the_bound(caplog, gate, warnings):
    loss = losses.GatedCrossEntropy()
    loss.gate = gate
    preflight.check_gates(loss, LABELS, annotated_in(0.25))
    assert len(said(caplog)) == warnings


def test_a_bound_that_nobody_can_check(caplog):
    part = counts([([0, 1, 2], (1, 2)), ([0, 0, 2], (2,))], at_random=False)
    preflight.check_gates(losses.GatedCrossEntropy([1, 3, 1]), LABELS, part)
    (message,) = said(caplog)
    assert "more than this share of the images that hold it: a 25%. With data.annotated" in message
    assert "nobody can tell" in message


def test_without_a_background_there_is_nothing_to_forgive(caplog):
    space = LabelSpace(["a", "b", "c"], background=None)
    preflight.check_gates(losses.GatedCrossEntropy(), space, annotated_in(0.25))
    assert not caplog.records


class Sized:
    """Two images; the second one has the given size."""

    names = ["a", "b"]

    def __init__(self, size):
        self.sizes = [(4, 6), size]


class Around:
    """A source around another one."""

    def __init__(self, source):
        self.source = source


def test_images_of_one_size_are_needed():
    evidence.require_one_size("val", Around(Sized((4, 6))))
    evidence.require_one_size("val", Around(object()))  # which does not know
    with pytest.raises(
        ValueError, match="of val must have one size.*a with 4x6 and b with 5x6.*pat"
    ):
        evidence.require_one_size("val", Around(Sized((5, 6))))

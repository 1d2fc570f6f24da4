"""Copy-paste: labelled objects move with all that is known about their pixels."""

import folder_data
import numpy as np
import pytest

from segkit import targets
from segkit.contract import LABELLED, UNKNOWN
from segkit.data.copy_paste import CopyPaste
from segkit.labels import LabelSpace

LABELS = LabelSpace(folder_data.NAMES)


def batch(count=4, size=(6, 6), seed=0):
    """Images whose pixels tell which image they are from, and targets of all kinds."""
    rng = np.random.default_rng(seed)
    images = np.broadcast_to(
        np.arange(count, dtype=np.float32)[:, None, None, None], (count, *size, 1)
    )
    masks = rng.choice([0, 0, 1, 2, 255], (count, *size)).astype(np.uint8)
    annotated = np.concatenate([np.ones((count, 1), bool), rng.random((count, 2)) < 0.5], 1)
    return images.copy(), targets.encode(masks, annotated, LABELS)


def pasting(**options):
    return CopyPaste(**{"most": 1.0} | options).bound(LABELS)


def test_by_hand():
    """One labelled pixel in the corner of the second image; nothing known about the first."""
    masks = np.zeros((2, 3, 5), np.uint8)
    masks[1, 0, 0] = 2
    target = targets.encode(masks, np.array([[1, 0, 0], [1, 1, 1]], bool), LABELS)
    images = np.stack([np.full((3, 5, 1), 10, np.uint8), np.full((3, 5, 1), 20, np.uint8)])
    mixed, mixed_target = pasting(partners=1)(images, target, (0, 0, 0))
    (place,) = np.argwhere(mixed[0, ..., 0] == 20)  # one of the four corners, by the mirroring
    assert place[0] in (0, 2) and place[1] in (0, 4)
    assert mixed_target[(0, *place)].tolist() == [0, 0, 1]
    rest = np.ones((3, 5), bool)
    rest[tuple(place)] = False
    assert (mixed[0][rest] == 10).all() and (mixed_target[0][rest] == [1, -1, -1]).all()
    # The first image has no labelled object to give.
    np.testing.assert_array_equal(mixed[1], images[1])
    np.testing.assert_array_equal(mixed_target[1], target[1])


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_what_is_pasted_is_labelled_foreground(size, seed):
    images, target = batch(size=size, seed=seed)
    mixed, mixed_target = pasting()(images, target, (seed, 0, 0))
    pasted = mixed[..., 0] != images[..., 0]
    assert (mixed_target[pasted][:, 1:] == LABELLED).any(-1).all()
    np.testing.assert_array_equal(mixed_target[~pasted], target[~pasted])
    assert mixed.dtype == images.dtype and mixed_target.dtype == target.dtype


@pytest.mark.parametrize("size, views", [((6, 6), 8), ((6, 7), 4)])
def test_squares_have_eight_views_and_others_four(size, views):
    images, target = batch(count=2, size=size)
    target[:] = UNKNOWN
    target[1, 0, 1] = [0, 1, 0]
    paste = pasting(partners=1)
    seen = {
        tuple(np.argwhere(paste(images, target, (0, 0, step))[0][0, ..., 0])[0])
        for step in range(200)
    }
    assert len(seen) == views


def test_classes_are_drawn():
    images, target = batch(count=8, size=(16, 16))
    labelled = (target[..., 1:] == LABELLED).any(-1).sum()
    counts = [
        (pasting(probability=p, partners=1)(images, target, (0, 0, 0))[0] != images).sum()
        for p in (0, 0.5, 1)
    ]
    assert counts[0] == 0 < counts[1] < counts[2] <= labelled


def test_without_a_background_all_classes_are_objects():
    images, target = batch()
    target = targets.encode(np.zeros((4, 6, 6), int), np.ones((4, 3), bool), LABELS)
    assert (pasting()(images, target, (0, 0, 0))[0] == images).all()
    everything = CopyPaste(most=1.0).bound(LabelSpace(folder_data.NAMES, background=None))
    assert (everything(images, target, (0, 0, 0))[0] != images).all()


@pytest.mark.parametrize("most", [0, 0.1, 0.3])
def test_no_more_than_a_share_of_an_image_is_pasted_over(most):
    images, target = batch(count=8, size=(20, 20))
    pasted = (pasting(most=most, partners=4)(images, target, (0, 0, 0))[0] != images).mean((1, 2))
    assert pasted.max() <= most
    assert (pasted.max() > 0) == (most == 0.3)  # each class covers about a fifth


def test_what_does_not_fit_makes_way_for_what_does():
    masks = np.zeros((2, 10, 10), np.uint8)
    masks[1, :5], masks[1, 9, 9] = 1, 2
    target = targets.encode(masks, np.ones((2, 3), bool), LABELS)
    mixed = pasting(most=0.3, partners=1)(
        np.arange(2.0)[:, None, None, None] + 0 * target[..., :1], target, (0, 0, 0)
    )[1]
    assert (mixed[0, ..., 2] == LABELLED).sum() == 1 and not (mixed[0, ..., 1] == LABELLED).any()


def test_function_of_the_arguments():
    images, target = batch(count=6, size=(12, 12))
    before = images.copy(), target.copy()
    first, again, other = (pasting()(images, target, (0, 1, s))[0] for s in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(target, before[1])


@pytest.mark.parametrize("count", [1, 2])
def test_small_batches(count):
    images, target = batch(count=count)
    mixed, _ = pasting(partners=3)(images, target, (0, 0, 0))
    assert mixed.shape == images.shape
    assert (mixed != images).any() == (count > 1)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"probability": 1.5}, "probability must be a number from 0 to 1"),
        ({"partners": 0}, "partners must be a whole number from 1 on"),
        ({"most": -1}, "most must be a number from 0 to 1"),
    ],
)
def test_numbers_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        CopyPaste(**options)

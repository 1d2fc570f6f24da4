"""Label dropout: what is forgotten, how often, and that nothing else changes."""

import pickle

import folder_data
import numpy as np
import pytest

from segkit import targets
from segkit.config import build, compose
from segkit.contract import Sample
from segkit.data.augment import Augmentation
from segkit.data.label_dropout import LabelDropout
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace

albumentations = pytest.importorskip("albumentations")

LABELS = LabelSpace(["background", "a", "b", "c"])
PLANES = LabelSpace(["a", "b", "c"], background=None, exclusive=False)
MASK = np.array([[0, 1, 2, 3, 255], [3, 2, 1, 0, 0]], np.uint8)
SEEDS = [(0, 0, index) for index in range(2000)]


def sample(annotated=(1, 1, 1, 1), mask=MASK):
    image = np.zeros((*mask.shape[:2], 3), np.uint8)
    return Sample(image, mask, np.array(annotated, bool), mask, "case")


def kept(rate, annotated=(1, 1, 1, 1), seeds=SEEDS):
    """What stays annotated, one row a seed."""
    dropout = LabelDropout(rate, LABELS)
    return np.stack([dropout(sample(annotated), seed).annotated for seed in seeds])


def test_the_target_is_that_of_an_image_in_which_nobody_looked():
    """Pixels of a dropped class are the background or that class; all others are as before."""
    dropout, seen = LabelDropout(0.5, LABELS), set()
    before = targets.encode(MASK[None], np.ones((1, 4), bool), LABELS)[0]
    for seed in SEEDS[:50]:
        after = dropout(sample(), seed)
        gone = ~after.annotated
        seen.add(tuple(gone.tolist()))
        target = targets.encode(after.mask[None], after.annotated[None], LABELS)[0]
        background = (MASK == 0) | np.isin(MASK, np.flatnonzero(gone))
        assert (target[background] == np.where(gone, -1, [1, 0, 0, 0])).all()
        np.testing.assert_array_equal(target[~background], before[~background])
        np.testing.assert_array_equal(after.truth, MASK)
        assert after.name == "case" and after.mask.dtype == MASK.dtype
    assert len(seen) == 7  # every subset but the one of all three


def test_nothing_else_changes():
    given, mask = sample(), MASK.copy()
    LabelDropout(1.0, LABELS)(given, (0, 0, 0))
    np.testing.assert_array_equal(given.mask, mask)
    assert given.annotated.all()


def test_classes_are_dropped_independently_at_the_rate():
    """With three classes at rate 0.3 a class goes with 0.3, less a third of 0.3^3 for the last."""
    dropped = ~kept(0.3)[:, 1:]
    expected = 0.3 - 0.3**3 / 3
    np.testing.assert_allclose(dropped.mean(0), expected, atol=4 * np.sqrt(0.21 / 2000))
    both = (dropped[:, 0] & dropped[:, 1]).mean()
    assert abs(both - (0.3**2 - 0.3**3 / 3)) < 4 * np.sqrt(0.08 / 2000)
    assert kept(0.3)[:, 0].all()  # the background


def test_a_higher_rate_drops_what_a_lower_one_drops():
    low, high = kept(0.2), kept(0.6)
    assert (high <= low).all() and (high < low).any()


@pytest.mark.parametrize("annotated", [(1, 1, 1, 1), (1, 0, 1, 1), (1, 0, 0, 1), (1, 0, 0, 0)])
def test_one_class_stays_and_none_is_made_up(annotated):
    left = kept(1.0, annotated, SEEDS[:200])
    assert (left <= np.array(annotated, bool)).all()
    assert (left[:, 1:].sum(1) == min(1, sum(annotated[1:]))).all()
    assert (left.any(0) == np.array(annotated, bool)).all()  # any of them may be the one


def test_absent_classes_are_dropped_as_present_ones():
    dropout = LabelDropout(0.5, LABELS)
    empty = [dropout(sample(mask=MASK * 0), seed).annotated for seed in SEEDS[:100]]
    np.testing.assert_array_equal(empty, kept(0.5, seeds=SEEDS[:100]))


def test_every_part_of_the_seed_counts():
    changes = [
        kept(0.5, seeds=[tuple(np.array(s) + offset) for s in SEEDS[:50]])
        for offset in ((0, 0, 0), (1, 0, 0), (0, 1, 0))
    ]
    assert len({change.tobytes() for change in changes}) == 3


def test_planes_and_label_spaces_without_background():
    planes = np.ones((2, 2, 3), np.uint8)
    after = LabelDropout(1.0, PLANES)(sample((1, 1, 1), planes), (0, 0, 0))
    assert after.mask.sum((0, 1)).tolist() == (4 * after.annotated).tolist()
    assert after.annotated.sum() == 1
    whole = LabelSpace(["a", "b", "c", "d"], background=None)
    after = LabelDropout(1.0, whole)(sample(), (0, 0, 0))
    assert set(np.unique(after.mask)) == {255, int(after.annotated.argmax())}


def test_it_needs_labels_and_a_rate():
    with pytest.raises(ValueError, match="needs the labels. Received: none. Use bound"):
        LabelDropout(0.5)(sample(), (0, 0, 0))
    for rate in (-0.1, 1.1, "often"):
        with pytest.raises(ValueError, match="rate of label dropout .* from 0 to 1. Received"):
            LabelDropout(rate)
    with pytest.raises(ValueError, match="rate of label dropout"):
        Augmentation([], label_dropout=2)


# With augmentation, and in the pipeline


def test_it_comes_on_top_of_augmentation_and_changes_no_other_draw():
    flips = [albumentations.HorizontalFlip(p=0.5), albumentations.RandomBrightnessContrast(p=0.5)]
    plain, both = Augmentation(flips, LABELS), Augmentation(flips, LABELS, label_dropout=0.5)
    changed = 0
    for seed in SEEDS[:30]:
        expected, got = plain(sample(), seed), both(sample(), seed)
        np.testing.assert_array_equal(expected.image, got.image)
        np.testing.assert_array_equal(expected.truth, got.truth)
        np.testing.assert_array_equal(got.mask, LabelDropout(0.5, LABELS)(expected, seed).mask)
        changed += (got.mask != expected.mask).any()
    assert changed > 10


def test_it_survives_pickling():
    sent = pickle.loads(pickle.dumps(Augmentation([], LABELS, label_dropout=1.0)))
    assert sent(sample(), (0, 0, 0)).annotated.sum() == 2


class Made:
    """A source in memory; every class is everywhere."""

    labels = LABELS

    def __len__(self):
        return 6

    def __getitem__(self, index):
        mask = np.arange(48, dtype=np.uint8).reshape(6, 8) % 4
        return Sample(folder_data.image(index, (6, 8)), mask, np.ones(4, bool))


@pytest.mark.parametrize("augmentation", [LabelDropout(0.5), Augmentation([], label_dropout=0.5)])
def test_batches_forget_by_seed_epoch_and_index(augmentation):
    result = [
        target.numpy() for _, target in batches(Made(), 6, epochs=2, augmentation=augmentation)
    ]
    for epoch, target in enumerate(result):
        for index, states in enumerate(target):
            after = LabelDropout(0.5, LABELS)(Made()[index], (0, epoch, index))
            expected = targets.encode(after.mask[None], after.annotated[None], LABELS)[0]
            np.testing.assert_array_equal(states, expected)
    assert (result[0] != result[1]).any()


@pytest.mark.parametrize("choice", ["none", "light"])
def test_from_the_command_line(choice):
    node = compose("train", [f"augment={choice}", "augment.label_dropout=1.0"]).augment
    after = build(node).bound(LABELS)(sample(), (0, 0, 0))
    assert after.annotated.sum() == 2

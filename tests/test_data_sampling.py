"""How often an epoch shows each image."""

import numpy as np
import pytest

from segkit.data.sampling import Complete, Labelled, Uniform, draw


@pytest.fixture
def table():
    """present and annotated, bool (1000, 3), a tenth of the cells annotated, one class rare."""
    rng = np.random.default_rng(0)
    return rng.random((1000, 3)) < [0.75, 0.75, 0.1], rng.random((1000, 3)) < 0.1


def test_by_hand():
    present = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    annotated = np.array([[1, 1], [1, 1], [0, 0], [1, 1]], bool)
    # Class 0 is labelled in images 0 and 1, class 1 in image 0: half of each class' share.
    np.testing.assert_allclose(Labelled(1.0)(present, annotated), [0.75, 0.25, 0, 0])
    np.testing.assert_allclose(Labelled(0.5)(present, annotated), [0.5, 0.25, 0.125, 0.125])


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_shares_add_up(table, share):
    assert Labelled(share)(*table).sum() == pytest.approx(1)


def test_each_class_gets_an_equal_part(table):
    present, annotated = table
    chosen = draw(Labelled(1.0)(*table), seed=0, epoch=0)
    shown = Labelled(1.0)(present[chosen], annotated[chosen])
    assert np.unique(chosen).size < len(present) / 3  # the others say nothing
    labelled = (present & annotated)[chosen]
    assert labelled[:, 2].mean() > 0.25 > 2 * (present & annotated)[:, 2].mean()
    assert shown.sum() == pytest.approx(1)


def test_nothing_labelled_shows_all_equally_often():
    nothing = np.zeros((5, 2), bool)
    np.testing.assert_allclose(Labelled(1.0)(nothing, nothing), np.full(5, 0.2))


def test_complete_leaves_out_what_is_incomplete(table):
    present, annotated = table
    annotated = annotated | (np.arange(1000) % 10 == 0)[:, None]
    chosen = draw(Complete()(present, annotated), seed=0, epoch=0)
    assert annotated[chosen].all() and len(chosen) == 1000


def test_complete_needs_a_complete_image(table):
    present, annotated = table
    with pytest.raises(ValueError, match="none among 1000. Take sampling=labelled"):
        Complete()(present, annotated & (np.arange(3) > 0))


@pytest.mark.parametrize("count", [1, 2, 7, 100, 2001])
def test_equal_shares_are_a_permutation(count):
    for seed in range(20):
        chosen = draw(np.full(count, 1 / count), seed, epoch=1)
        assert sorted(chosen) == list(range(count))


def test_images_come_as_often_as_their_share_says(table):
    shares = Labelled(0.8)(*table)
    times = np.bincount(draw(shares, seed=3, epoch=2), minlength=1000)
    assert times.sum() == 1000
    assert (np.abs(times - 1000 * shares) < 1 + 1e-6).all()


def test_an_epoch_is_a_function_of_seed_and_epoch(table):
    shares = Labelled()(*table)
    np.testing.assert_array_equal(draw(shares, 1, 2), draw(shares, 1, 2))
    assert (draw(shares, 1, 2) != draw(shares, 1, 3)).any()
    assert (draw(shares, 1, 2) != draw(shares, 2, 2)).any()


@pytest.mark.parametrize("share", [-0.1, 1.1, "half"])
def test_share_out_of_range(share):
    with pytest.raises(ValueError, match="share must be a number from 0 to 1"):
        Labelled(share)


def test_uniform_shows_each_image_once(table):
    assert sorted(draw(Uniform()(*table), seed=0, epoch=0)) == list(range(1000))


def test_more_draws_than_images_and_fewer(table):
    shares = Labelled(0.8)(*table)
    for count in (300, 2500):
        times = np.bincount(draw(shares, 3, 2, count), minlength=1000)
        assert times.sum() == count and (np.abs(times - count * shares) < 1 + 1e-6).all()
    assert sorted(draw(np.full(7, 1 / 7), 0, 0, 14)) == sorted([*range(7), *range(7)])

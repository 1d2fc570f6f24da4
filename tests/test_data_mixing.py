"""CutMix: each pixel keeps what is known about it, and nothing but the seed decides."""

import folder_data
import numpy as np
import pytest
import tensorflow as tf

from segkit import targets
from segkit.config import build
from segkit.contract import Sample
from segkit.data.mixing import CutMix, Unmixed
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace

LABELS = LabelSpace(folder_data.NAMES)
SIZE = (9, 14)


def batch(count=6, size=SIZE, seed=0):
    """Images whose pixels tell which image and place they are from, and targets of all kinds."""
    rng = np.random.default_rng(seed)
    images = np.arange(count * size[0] * size[1], dtype=np.float32).reshape(count, *size, 1)
    masks = rng.choice([0, 1, 2, 255], (count, *size)).astype(np.uint8)
    annotated = rng.random((count, 3)) < 0.5
    annotated[:, 0] = True
    return images, targets.encode(masks, annotated, LABELS)


def boxes(mixed, images):
    """Which pixels of each image came from elsewhere: bool (B, H, W)."""
    return (mixed != images)[..., 0]


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_and_its_target_come_from_one_image_and_place(seed):
    images, target = batch(seed=seed)
    mixed, mixed_target = CutMix(probability=1)(images, target, (seed, 1, 2))
    source, place = np.divmod(mixed[..., 0].astype(int), SIZE[0] * SIZE[1])
    np.testing.assert_array_equal(place[0], place[-1])
    np.testing.assert_array_equal(place[0].ravel(), np.arange(SIZE[0] * SIZE[1]))
    rows, columns = np.indices(SIZE)
    np.testing.assert_array_equal(mixed_target, target[source, rows, columns])
    for i, origin in enumerate(source):
        others = set(np.unique(origin)) - {i}
        assert len(others) <= 1  # one partner, which is another image
        inside = origin != i
        corners = np.argwhere(inside)
        if len(corners):
            (top, left), (bottom, right) = corners.min(0), corners.max(0)
            assert inside[top : bottom + 1, left : right + 1].all()


def test_the_input_stays_as_it_was():
    images, target = batch()
    before = images.copy(), target.copy()
    CutMix(probability=1)(images, target, (0, 0, 0))
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(target, before[1])


@pytest.mark.parametrize("count, probability", [(1, 1.0), (6, 0.0)])
def test_nothing_to_mix(count, probability):
    given = batch(count)
    for one, other in zip(CutMix(probability)(*given, (0, 0, 0)), given):
        np.testing.assert_array_equal(one, other)


def test_the_seed_decides_and_every_part_of_it_counts():
    images, target = batch(30)
    seeds = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    results = [CutMix()(images, target, seed)[0] for seed in seeds]
    np.testing.assert_array_equal(CutMix()(images, target, seeds[0])[0], results[0])
    assert len({result.tobytes() for result in results}) == 4


def test_share_of_images_and_area():
    """At alpha 1, with u = 1 - l uniform: E[(sqrt u - u / 4)^2] = 1/2 - 1/5 + 1/48 of the area.

    A box with edge e around a uniform point in [0, 1] loses e^2 / 8 on average at either end.
    """
    images, target = batch(4000, (24, 24))
    cut = boxes(CutMix(0.5)(images, target, (3, 0, 0))[0], images)
    touched = cut.any((1, 2))
    assert abs(touched.mean() - 0.5) < 0.05  # a few boxes are empty
    assert abs(cut.mean() - 0.5 * (1 / 2 - 1 / 5 + 1 / 48)) < 0.02
    assert (cut.mean(0) > 0.05).all()  # no place is left out, at the edge either


def test_partners_are_all_the_others():
    images, target = batch(3)
    partners = set()
    for step in range(60):
        mixed = CutMix(1)(images, target, (0, 0, step))[0]
        source = (mixed[..., 0] // (SIZE[0] * SIZE[1])).astype(int)
        partners |= {(i, int(j)) for i in range(3) for j in np.unique(source[i])}
    assert partners == {(i, j) for i in range(3) for j in range(3)}


def test_a_class_may_be_ruled_out_inside_and_unknown_outside():
    """Two empty images: in one somebody looked for everything, in the other for nothing."""
    annotated = np.array([[True, True, True], [True, False, False]])
    target = targets.encode(np.zeros((2, *SIZE), int), annotated, LABELS)
    images = np.zeros((2, *SIZE, 1), np.float32) + np.array([0, 1])[:, None, None, None]
    for step in range(10):
        mixed, mixed_target = CutMix(1, alpha=100)(images, target, (0, 0, step))
        assert 0 < mixed[0].mean() < 1 and 0 < mixed[1].mean() < 1  # each has some of the other
        np.testing.assert_array_equal(mixed_target[..., 1], -mixed[..., 0])


@pytest.mark.parametrize(
    "options, words",
    [
        ({"probability": 1.5}, "probability must be a number from 0 to 1. Received: 1.5"),
        ({"alpha": 0}, "alpha must be a number above 0. Received: 0"),
        ({"alpha": float("nan")}, "above 0. Received: nan"),
        ({"alpha": "much"}, "above 0. Received: 'much'"),
    ],
)
def test_arguments_are_checked(options, words):
    with pytest.raises(ValueError, match=words):
        CutMix(**options)


# In the pipeline


class Made:
    """A source in memory of `count` random images."""

    labels = LABELS

    def __init__(self, count=7):
        self._count = count

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        annotated = np.array([True, index % 2 == 0, index % 3 == 0])
        return Sample(folder_data.image(index, SIZE), folder_data.mask(index, SIZE), annotated)


def arrays(dataset):
    return [(images.numpy(), target.numpy()) for images, target in dataset]


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for one, other in zip(some, others):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_are_mixed_by_seed_epoch_and_step(threads):
    arguments = {"epochs": 2, "shuffle": True, "seed": 3}
    plain = arrays(batches(Made(), 3, **arguments))
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    mixed = batches(Made(), 3, mixing=CutMix(), **arguments).with_options(options)
    addresses = [(3, epoch, step) for epoch in (0, 1) for step in range(3)]
    expected = [CutMix()(*pair, address) for pair, address in zip(plain, addresses)]
    assert_same(arrays(mixed), expected)
    assert any((one[0] != other[0]).any() for one, other in zip(plain, expected))
    assert_same([expected[2]], [plain[2]])  # seven images in threes: the last one is alone


def test_mixing_resumes_and_keeps_shapes():
    longer = arrays(batches(Made(), 3, epochs=3, mixing=CutMix(1)))
    resumed = batches(Made(), 3, epochs=2, first_epoch=1, mixing=CutMix(1))
    assert [spec.shape.as_list() for spec in resumed.element_spec] == [[None, 9, 14, 3]] * 2
    assert_same(arrays(resumed), longer[3:])


def test_from_a_config():
    mixing = build({"_target_": "segkit.data.mixing.CutMix", "probability": 0.25, "alpha": 2.0})
    assert (mixing.probability, mixing.alpha) == (0.25, 2.0)


def test_unmixed_changes_nothing():
    images, target = batch()
    unmixed = Unmixed()(images, target, (0, 0, 0))
    assert unmixed[0] is images and unmixed[1] is target

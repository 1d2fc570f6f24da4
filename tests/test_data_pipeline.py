"""The tf.data pipeline: right values, and the same bits however they are loaded."""

import threading

import folder_data
import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from segkit import targets
from segkit.contract import Sample
from segkit.data.augment import Augmentation
from segkit.data.copy_paste import CopyPaste
from segkit.data.folder import splits
from segkit.data.mixing import CutMix
from segkit.data.patches import Random
from segkit.data.pipeline import batches, steps
from segkit.labels import LabelSpace
from segkit.losses import CrossEntropy
from segkit.synthetic.missing import HiddenAnnotations

albumentations = pytest.importorskip("albumentations")

LABELS = LabelSpace(folder_data.NAMES)
SIZE = (8, 12)


class Made:
    """A source in memory; sample i shows the grey value i, so batches tell their order."""

    def __init__(self, count=7, labels=LABELS, **changes):
        self.labels, self._count, self._changes = labels, count, changes

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        image = folder_data.image(index, SIZE)
        image[0, 0] = index
        annotated = np.array([True, index % 2 == 0, True])
        made = Sample(image, folder_data.mask(index, SIZE), annotated, None, f"made {index}")
        return made._replace(**self._changes)


def arrays(dataset):
    return [(images.numpy(), target.numpy()) for images, target in dataset]


def order(dataset):
    """The indices of the samples, batch by batch."""
    return [np.rint(images[:, 0, 0, 0] * 255).astype(int).tolist() for images, _ in arrays(dataset)]


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for (images, target), (other_images, other_target) in zip(some, others):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(target, other_target)


def light():
    return Augmentation(
        [albumentations.HorizontalFlip(p=0.5), albumentations.RandomBrightnessContrast(p=0.5)]
    )


def test_batches_hold_the_samples():
    source = Made(5)
    result = arrays(batches(source, 2))
    assert [len(images) for images, _ in result] == [2, 2, 1] and steps(source, 2) == 3
    for index in range(5):
        image, mask, annotated = source[index][:3]
        images, target = (array[index % 2] for array in result[index // 2])
        np.testing.assert_allclose(images, image / 255, rtol=1e-6)
        np.testing.assert_array_equal(
            target, targets.encode(mask[None], annotated[None], LABELS)[0]
        )
    assert images.dtype == np.float32 and target.dtype == np.int8
    assert (result[0][1] == -1).any()  # sample 1 has an unannotated class


def test_shapes_are_known_before_loading():
    dataset = batches(Made(5), 2, epochs=3)
    images, target = dataset.element_spec
    assert images.shape.as_list() == [None, 8, 12, 3] and images.dtype == tf.float32
    assert target.shape.as_list() == [None, 8, 12, 3] and target.dtype == tf.int8
    assert int(dataset.cardinality()) == 9


def test_without_shuffling_every_epoch_is_the_order_of_the_source():
    assert order(batches(Made(5), 2, epochs=2)) == [[0, 1], [2, 3], [4]] * 2


def test_an_epoch_is_a_permutation_and_epochs_differ():
    result = order(batches(Made(20), 8, epochs=3, shuffle=True, seed=5))
    epochs = [sum(result[i : i + 3], []) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert list(range(20)) not in epochs
    assert result != order(batches(Made(20), 8, epochs=3, shuffle=True, seed=6))


def test_shares_say_how_often_an_image_comes():
    shares = np.array([0, 0, 0.5, 0.3, 0.2, 0, 0])
    drawn = order(batches(Made(), 7, shuffle=True, shares=shares))[0]
    times = np.bincount(drawn, minlength=7)
    assert (np.abs(times - 7 * shares) < 1).all() and times.sum() == 7


@pytest.mark.parametrize(
    "count, shuffle, words",
    [
        (7, False, "Received: shuffle=False"),
        (6, True, r"\(7,\) here. Received: .*\(6,\)"),
        (8, True, r"\(8,\)"),
    ],
)
def test_shares_that_do_not_fit(count, shuffle, words):
    with pytest.raises(ValueError, match=words):
        batches(Made(), 2, shuffle=shuffle, shares=np.full(count, 1 / count))


def test_mixing_knows_the_labels_of_the_source():
    """Two images, of which the labelled classes move from one to the other."""
    plain = arrays(batches(Made(), 7))
    mixed = arrays(batches(Made(), 7, mixing=CopyPaste(most=1.0)))
    changed = (plain[0][1] != mixed[0][1]).any(-1)
    assert changed.any() and (mixed[0][1][changed][:, 1:] == 1).any(-1).all()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_bit(threads):
    arguments = {"epochs": 2, "shuffle": True, "seed": 3, "mixing": CopyPaste()}
    arguments["shares"] = np.arange(7) / 21
    expected = arrays(batches(Made(), 2, augmentation=light(), **arguments))
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    dataset = batches(Made(), 2, augmentation=light(), **arguments).with_options(options)
    assert_same(arrays(dataset), expected)
    assert_same(arrays(dataset), expected)  # a second pass over the same object


def test_first_epoch_resumes_a_longer_run():
    arguments = {"shuffle": True, "augmentation": light()}
    longer = arrays(batches(Made(), 2, epochs=3, **arguments))
    assert_same(arrays(batches(Made(), 2, epochs=2, first_epoch=1, **arguments)), longer[4:])


def test_each_epoch_and_each_seed_augment_anew():
    first, second = arrays(batches(Made(), 7, epochs=2, augmentation=light()))
    (other,) = arrays(batches(Made(), 7, seed=1, augmentation=light()))
    assert (first[0] != second[0]).any() and (first[0] != other[0]).any()


def test_batch_size_does_not_change_an_augmented_sample():
    arguments = {"shuffle": True, "augmentation": light()}
    one_by_one = arrays(batches(Made(), 1, **arguments))
    together = arrays(batches(Made(), 7, **arguments))[0]
    assert_same([(x[0], y[0]) for x, y in one_by_one], list(zip(*together)))


def test_any_function_may_augment():
    def negative(sample, seed):
        assert len(seed) == 3
        return sample._replace(image=255 - sample.image)

    (images, _), *_ = arrays(batches(Made(), 7, augmentation=negative))
    np.testing.assert_allclose(images[2], 1 - Made()[2].image / 255, atol=1e-6)


@pytest.mark.parametrize("ignore_index", [None, 11])
def test_what_augmentation_uncovers_is_unknown(ignore_index):
    shift = albumentations.Affine(translate_percent={"x": (0.5, 0.5), "y": (0, 0)}, p=1)
    source = Made(3, LabelSpace(folder_data.NAMES, ignore_index=ignore_index))
    for _, target in arrays(batches(source, 2, augmentation=Augmentation([shift]))):
        assert (target[:, :, :5] == -1).all()
        assert (target[:, :, 7:] == 1).any(-1).all()


def test_float_images_are_left_as_they_are():
    image = np.random.default_rng(0).random((*SIZE, 1), np.float32)
    (images, _), *_ = arrays(batches(Made(image=image), 7))
    np.testing.assert_array_equal(images[3], image)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.int64])
def test_the_target_is_that_of_encode_whatever_the_masks_are(kind):
    labels = LabelSpace(
        folder_data.NAMES, coarse=[{"name": "any", "id": 300, "members": folder_data.NAMES[1:]}]
    )
    mask = folder_data.mask(0, SIZE).astype(kind)
    mask[0, :2] = 255, 255 if kind == np.uint8 else 300
    source = Made(4, labels, mask=mask)
    (_, target), *_ = arrays(batches(source, 4))
    for index in range(4):
        expected = targets.encode(mask[None], source[index].annotated[None], labels)[0]
        np.testing.assert_array_equal(target[index], expected)


def test_independent_classes_come_in_planes():
    labels = LabelSpace(["organ", "tumour"], background=None, exclusive=False)
    planes = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (*SIZE, 2))
    source = Made(3, labels, mask=planes, annotated=np.array([True, False]))
    (_, target), *_ = arrays(batches(source, 3))
    expected = targets.encode(planes[None], np.array([[True, False]]), labels)
    np.testing.assert_array_equal(target, np.repeat(expected, 3, axis=0))


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_ids_that_the_labels_do_not_know(kind):
    mask = np.full(SIZE, 77, kind)
    with pytest.raises(tf.errors.OpError, match=r"Masks may hold the ids 0-2, 255.*\[77\]"):
        arrays(batches(Made(mask=mask), 2))


def test_images_of_another_type():
    with pytest.raises(ValueError, match="uint8, or float32.*made 0 with uint16"):
        batches(Made(image=np.zeros((*SIZE, 3), np.uint16)), 2)


@pytest.fixture
def op_determinism():
    tf.config.experimental.enable_op_determinism()
    yield
    config.disable_op_determinism()  # has no public name


def test_loading_is_parallel_under_op_determinism(op_determinism):
    """Each of two samples waits for the other: loaded one by one, they would wait for ever."""
    meeting = threading.Barrier(2, timeout=20)

    class Waiting(Made):
        first = True

        def __getitem__(self, index):
            if not self.first:
                meeting.wait()
            self.first = False  # the sample that `batches` takes for the shape waits for nobody
            return super().__getitem__(index)

    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    options.autotune.enabled = False
    dataset = batches(Waiting(2), 1).with_options(options)
    assert order(dataset) == [[0], [1]]


def test_errors_arrive_with_the_name_of_the_file(tmp_path):
    """Of one that was damaged after it was looked at."""
    train = splits(folder_data.make(tmp_path))["train"]
    (tmp_path / "train/images/d.png").write_bytes(b"")
    with pytest.raises(tf.errors.OpError, match=r"images/d\.png cannot be read.*0 bytes"):
        arrays(batches(train, 2))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_images_of_two_sizes_are_named(tmp_path, batch_size):
    folder_data.make(tmp_path)
    folder_data.add(
        tmp_path / "train", "d", folder_data.image(size=(6, 6)), folder_data.mask(size=(6, 6))
    )
    dataset = batches(splits(tmp_path, size=None)["train"], batch_size)
    words = r"one shape.*a with uint8 \(4, 6, 3\) and d with uint8 \(6, 6, 3\)"
    words += ".*data.size=128, or cut patches.*patches=random patches.size=128"
    with pytest.raises(tf.errors.OpError, match=words):
        arrays(dataset)


@pytest.mark.parametrize(
    "source, changes, words",
    [
        (Made(0), {}, "source is empty"),
        (Made(), {"batch_size": 0}, "batch_size must be at least 1. Received: 0"),
        (Made(), {"epochs": 0}, "epochs must be at least 1. Received: 0"),
        (Made(), {"seed": -1}, "seed must be at least 0. Received: -1"),
        (Made(), {"first_epoch": -1}, "first_epoch must be at least 0"),
        (Made(), {"images": 0}, "images must be at least 1. Received: 0"),
        (Made(), {"shards": ([2], 2)}, r"0 <= k < n. Received: \(\[2\], 2\)"),
        (Made(), {"shards": ([0], 3)}, "3 parts, so batch_size must be at least 3. Received: 2"),
    ],
)
def test_arguments_are_checked(source, changes, words):
    with pytest.raises(ValueError, match=words):
        batches(source, **({"batch_size": 2} | changes))


def test_an_image_that_comes_again_is_augmented_anew():
    seeds = []

    def record(sample, seed):
        seeds.append(tuple(seed))
        return sample

    shares = np.array([0, 0, 1.0, 0, 0, 0, 0])
    arrays(batches(Made(), 3, seed=5, shuffle=True, shares=shares, augmentation=record))
    drawn = [seed for seed in seeds if seed[2] == 2]
    assert sorted(drawn) == [(5, 0, 2), *((5, 0, 2, k) for k in range(1, 7))]


class Weighted(Made):
    """Image i has the weight i / 2."""

    @property
    def weights(self):
        return np.arange(len(self)) / 2

    def __getitem__(self, index):
        return super().__getitem__(index)._replace(weight=index / 2)


def test_weights_come_with_their_images():
    dataset = batches(Weighted(), 3, shuffle=True, weighted=True, mixing=CutMix(1))
    plain = batches(Weighted(), 3, shuffle=True)
    assert dataset.element_spec[2].shape.as_list() == [None]
    for (*_, weights), indices in zip(dataset, order(plain)):
        assert weights.dtype == tf.float32
        np.testing.assert_allclose(weights, np.array(indices) / 2)


@pytest.mark.parametrize("mixing", [CutMix(1), CopyPaste(most=1.0)])
def test_of_an_image_without_weight_nothing_gets_into_others(mixing):
    """Image 0 weighs nothing: whatever its annotation says, the others are the same."""

    class Changed(Weighted):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample if index else sample._replace(mask=np.zeros_like(sample.mask))

    arguments = {"mixing": mixing, "weighted": True}
    found = [next(iter(batches(of(4), 4, **arguments))) for of in (Weighted, Changed)]
    for one, other in zip(*found):
        np.testing.assert_array_equal(one[1:], other[1:])


def test_weights_survive_the_hiding_of_annotations():
    hidden = HiddenAnnotations(Weighted())
    assert [sample.weight for sample in hidden] == [i / 2 for i in range(7)]


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_a_weight_takes_an_image_out_or_doubles_it(weight):
    """The gradient of a batch of two by hand, from those of its images."""

    class OneWeighted(Made):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(weight=weight if index else 1.0)

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((*SIZE, 3)), keras.layers.Conv2D(3, 1)])
    loss = CrossEntropy()

    def moved(dataset):
        start = [np.array(w) for w in model.get_weights()]
        model.compile(keras.optimizers.SGD(1.0), loss=loss)
        model.fit(dataset, verbose=0, shuffle=False)
        found = [before - after for before, after in zip(start, model.get_weights())]
        model.set_weights(start)
        return found

    together = moved(batches(OneWeighted(2), 2, weighted=True))
    first, second = (moved(batches(Made(2), 1).skip(k).take(1)) for k in (0, 1))
    for found, one, other in zip(together, first, second):
        np.testing.assert_allclose(found, (one + weight * other) / 2, rtol=1e-4, atol=1e-6)
        assert np.abs(other).max() > 1e-3


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("images", [None, 10])
def test_the_parts_in_order_are_the_whole(parts, images):
    arguments = {"shuffle": True, "epochs": 2, "augmentation": light(), "patches": Random(6)}
    arguments |= {"images": images, "seed": 4}
    whole = arrays(batches(Made(), 4, **arguments))
    alone = [arrays(batches(Made(), 4, shards=([k], parts), **arguments)) for k in range(parts)]
    parts_of = [[piece for piece in pieces if (piece[1] >= 0).any()] for pieces in zip(*alone)]
    joined = [tuple(map(np.concatenate, zip(*pieces))) for pieces in parts_of]
    assert_same(joined, whole)
    in_turn = arrays(batches(Made(), 4, shards=(range(parts), parts), **arguments))
    assert_same(in_turn, [piece for pieces in zip(*alone) for piece in pieces])


def test_a_part_tells_how_many_images_the_whole_batch_has():
    counted = [
        (len(images), *counts.numpy())
        for images, _, counts in batches(Made(7), 4, counted=True, shards=([0, 1, 2], 3))
    ]
    assert counted == [(2, 4, 2), (1, 4, 1), (1, 4, 1), (1, 3, 1), (1, 3, 1), (1, 3, 1)]


@pytest.mark.parametrize("shards", [([0], 1), ([0, 1], 2)])
def test_a_run_goes_on_in_the_middle_of_an_epoch(shards):
    arguments = {"shuffle": True, "seed": 4, "augmentation": light(), "shards": shards}
    whole = arrays(batches(Made(7), 2, epochs=3, **arguments))
    rest = arrays(batches(Made(7), 2, epochs=2, first_epoch=1, first_step=3, **arguments))
    assert_same(rest, whole[(4 + 3) * len(shards[0]) :])


def test_a_part_that_is_left_without_an_image_holds_one_that_says_nothing():
    dataset = batches(Made(5), 4, shards=([1], 2), mixing=CopyPaste(), weighted=True, counted=True)
    full, without = ([part.numpy() for part in batch] for batch in dataset)
    assert full[0].shape == (2, *SIZE, 3) and full[3].tolist() == [4, 2]
    images, target, weights, counts = without
    np.testing.assert_array_equal(images[0], arrays(batches(Made(5), 4))[1][0][0])
    assert (target == -1).all() and weights.tolist() == [0] and counts.tolist() == [1, 0]


def test_mixing_draws_anew_in_each_part():
    addresses = []

    def record(images, target, seed):
        addresses.append(tuple(seed))
        return images, target

    for k in (0, 1):
        arrays(batches(Made(4), 4, shards=([k], 2), mixing=record, seed=9))
    assert addresses == [(9, 0, 0, 0), (9, 0, 0, 1)]


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_of_any_length(shuffle):
    longer = order(batches(Made(), 4, images=17, epochs=2, shuffle=shuffle))
    assert [len(batch) for batch in longer] == [4, 4, 4, 4, 1] * 2
    assert steps(Made(), 4, 17) == 5
    epoch = sum(longer[:5], [])
    assert sorted(epoch[:7]) == sorted(epoch[7:14]) == list(range(7))
    assert (epoch[:7] != epoch[7:14]) == shuffle
    shorter = order(batches(Made(), 4, images=3, epochs=2, shuffle=shuffle))
    assert [len(batch) for batch in shorter] == [3, 3] and steps(Made(), 4, 3) == 1
    assert shorter[0] == order(batches(Made(), 7, shuffle=shuffle))[0][:3]


def test_shares_of_an_epoch_of_any_length():
    shares = np.array([0, 0, 0.5, 0.3, 0.2, 0, 0])
    (drawn,) = order(batches(Made(), 40, shuffle=True, shares=shares, images=40))
    np.testing.assert_array_equal(np.bincount(drawn, minlength=7), 40 * shares)


def test_what_comes_again_in_a_long_epoch_has_an_address_of_its_own():
    seeds = []

    def record(sample, seed):
        seeds.append(tuple(seed))
        return sample

    arrays(batches(Made(2), 2, seed=5, images=6, patches=record))
    expected = [(5, 0, i, *((k,) if k else ())) for i in (0, 1) for k in range(3)]
    assert sorted(seeds)[1:] == sorted(expected)  # the first look is for the shape


def test_patches_come_before_the_augmentation():
    steps_seen = []

    def look(sample, seed):
        steps_seen.append(sample.image.shape)
        return sample

    dataset = batches(Made(), 7, patches=Random((4, 5)), augmentation=look)
    assert dataset.element_spec[0].shape.as_list() == [None, 4, 5, 3]
    arrays(dataset)
    assert set(steps_seen) == {(4, 5, 3)}


def test_bytes_and_floats_share_a_batch():
    """Files of 8 and of 16 bits in one folder: all become [0, 1]."""

    class Mixed(Made):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            if index % 2:
                return sample
            return sample._replace(image=(sample.image / 255).astype("float32"))

    for (mixed, _), (plain, _) in zip(batches(Mixed(), 3), batches(Made(), 3)):
        np.testing.assert_allclose(mixed, plain, atol=1e-7)


def test_other_types_are_named():
    class Wide(Made):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return sample._replace(image=sample.image.astype("uint16")) if index == 4 else sample

    with pytest.raises(tf.errors.OpError, match="uint8, or float32 in .*Received: .*uint16"):
        list(batches(Wide(), 3))

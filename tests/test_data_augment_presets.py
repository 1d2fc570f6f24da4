"""The presets of conf/augment, on every kind of image and mask."""

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import folder_data
import numpy as np
import pytest

from segkit.config import build, compose
from segkit.contract import Sample
from segkit.labels import LabelSpace

PRESETS = ("none", "light", "strong", "aerial", "endoscopy")
CHANGING = PRESETS[1:]
SIZE = (32, 40)
LABELS = LabelSpace(folder_data.NAMES)
every_preset = pytest.mark.parametrize("preset", PRESETS)


def node(preset, *overrides):
    return compose("train", [f"augment={preset}", *overrides]).augment


def sample(channels=3, dtype=np.uint8, size=SIZE, seed=0):
    """Smooth, as photographs are, so that blur and noise show."""
    ramp = np.add.outer(np.arange(size[0]), 2 * np.arange(size[1]))[..., None]
    image = (30 + ramp + 20 * np.arange(channels)) % 256
    image = image.astype(np.uint8) if dtype == np.uint8 else (image / 255).astype(np.float32)
    mask = folder_data.mask(seed, size)
    for array in (image, mask):
        array.flags.writeable = False  # as a cache hands them out
    return Sample(image, mask, np.ones(3, bool), mask)


def assert_same(a, b):
    for field, x, y in zip(Sample._fields, a, b):
        np.testing.assert_array_equal(x, y, err_msg=field)


@every_preset
def test_neither_threads_nor_pickling_matter(preset):
    augment = build(node(preset, "augment.label_dropout=0.3")).bound(LABELS)
    seeds = [(7, epoch, index) for epoch in range(2) for index in range(12)]
    expected = [augment(sample(), seed) for seed in seeds]
    copy = pickle.loads(pickle.dumps(augment))
    for workers in (1, 4):
        with ThreadPoolExecutor(workers) as threads:
            results = list(threads.map(lambda seed: copy(sample(), seed), reversed(seeds)))
        for one, other in zip(expected, reversed(results)):
            assert_same(one, other)


@every_preset
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_keep_type_range_and_shape(preset, channels, dtype):
    augment, given = build(node(preset)).bound(LABELS), sample(channels, dtype)
    changed = [augment(given, (0, 0, index)) for index in range(40)]
    for one in changed:
        assert one.image.dtype == dtype and one.image.shape == given.image.shape
        assert 0 <= one.image.min() and one.image.max() <= (255 if dtype == np.uint8 else 1)
        assert set(np.unique(one.mask)) <= {0, 1, 2, 255}
        np.testing.assert_array_equal(one.mask, one.truth)
    different = len({one.image.tobytes() for one in changed})
    assert different == 1 if preset == "none" else different > 15


@pytest.mark.parametrize("preset", ["none", "light", "aerial"])
def test_some_take_any_number_of_channels(preset):
    augment = build(node(preset)).bound(LABELS)
    for index in range(30):
        assert augment(sample(5), (0, index)).image.shape == (*SIZE, 5)


@pytest.mark.parametrize("preset", ["strong", "endoscopy"])
def test_the_others_name_what_cannot_take_five_channels(preset):
    augment = build(node(preset)).bound(LABELS)
    given = sample(5)._replace(name="bands.tif")
    with pytest.raises(ValueError, match="ColorJitter cannot augment bands.tif.*aerial take any"):
        for index in range(30):
            augment(given, (0, index))


@every_preset
def test_independent_classes_of_any_number(preset):
    """Where the image shows 0 and 200, planes 0 and 5 hold 0 and 1."""
    where = (folder_data.mask(1, (4, 5)) > 0).repeat(8, 0).repeat(8, 1)
    planes = np.zeros((*SIZE, 6), np.uint8)
    planes[..., 0], planes[..., 5] = where, where
    labels = LabelSpace(list("abcdef"), background=None, exclusive=False)
    given = Sample((where[..., None] * 200).repeat(3, 2).astype(np.uint8), planes, np.ones(6, bool))
    augment = build(node(preset)).bound(labels)
    for index in range(30):
        changed = augment(given, (0, index))
        assert changed.mask.shape == planes.shape and set(np.unique(changed.mask)) <= {0, 1, 255}
        np.testing.assert_array_equal(changed.mask[..., 0], changed.mask[..., 5])
        ignored = changed.mask == 255  # the planes are uncovered together
        np.testing.assert_array_equal(ignored.any(-1), ignored.all(-1))


@pytest.mark.parametrize("preset", CHANGING)
def test_uncovered_area_is_never_background(preset):
    augment, given = build(node(preset)).bound(LABELS), sample()
    given = given._replace(mask=np.ones(SIZE, np.uint8), truth=None)
    found = set()
    for index in range(60):
        found |= set(np.unique(augment(given, (1, index)).mask).tolist())
    assert found == ({1} if preset == "light" else {1, 255})


@every_preset
def test_small_images_pass(preset):
    augment, given = build(node(preset)).bound(LABELS), sample(size=(8, 9))
    for index in range(30):
        assert augment(given, (0, index)).image.shape == given.image.shape


def test_the_default_draws_as_it_always_did():
    """Published figures hang on it: the stream is SeedSequence((seed, epoch, index)).spawn(2)."""
    augment, given = build(node("light")).bound(LABELS), sample()
    for index in range(20):
        _, source = np.random.SeedSequence([0, 3, index]).spawn(2)
        draw = random.Random(source.generate_state(4).tobytes())
        draw.random()  # of the composition as a whole
        mask = given.mask
        mask = mask[:, ::-1] if draw.random() < 0.5 else mask
        mask = mask[::-1] if draw.random() < 0.5 else mask
        np.testing.assert_array_equal(augment(given, (0, 3, index)).mask, mask)


@pytest.mark.parametrize(
    "overrides, names",
    [
        (["augment.transforms.brightness.p=0"], "HorizontalFlip VerticalFlip RandomBrightness"),
        (["~augment.transforms.vertical_flip"], "HorizontalFlip RandomBrightness"),
        (
            ["+augment.transforms.blur={_target_: albumentations.Blur, p: 1.0}"],
            "HorizontalFlip VerticalFlip RandomBrightness Blur",
        ),
        (["augment=none", "+augment.transforms.turn._target_=albumentations.D4"], "D4"),
    ],
)
def test_transforms_are_changed_from_the_command_line(overrides, names):
    transforms = build(node("light", *overrides)).transforms
    found = [type(transform).__name__.removesuffix("Contrast") for transform in transforms]
    assert found == names.split()

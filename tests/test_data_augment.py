"""Augmentation: image, mask and truth together, and nothing but the seed decides."""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import folder_data
import numpy as np
import pytest

from segkit.contract import Sample
from segkit.data.augment import Augmentation
from segkit.labels import LabelSpace

albumentations = pytest.importorskip("albumentations")

LABELS = LabelSpace(folder_data.NAMES)
SIZE = (24, 32)
FAMILIES = {
    "flips": lambda a: [a.HorizontalFlip(p=0.5), a.VerticalFlip(p=0.5)],
    "colour": lambda a: [a.RandomBrightnessContrast(p=1), a.GaussNoise(p=0.5)],
    "affine": lambda a: [a.Affine(rotate=(-40, 40), scale=(0.5, 1.5), p=1)],
    "elastic": lambda a: [a.ElasticTransform(alpha=30, p=1)],
    "nested": lambda a: [a.OneOf([a.RandomRotate90(p=1), a.Rotate(p=1)], p=0.8)],
    "some": lambda a: [a.SomeOf([a.HorizontalFlip(), a.Transpose(), a.Blur()], n=2, p=1)],
    "dropout": lambda a: [a.CoarseDropout(fill="random_uniform", p=1)],
    "crop": lambda a: [a.RandomResizedCrop((24, 32), scale=(0.2, 1), p=1)],
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def sample(seed=0, size=SIZE):
    truth = folder_data.mask(seed, size)
    return Sample(
        folder_data.image(seed, size), truth * (truth != 2), np.array([True, True, False]), truth
    )


def augmentation(family, labels=LABELS):
    return Augmentation(FAMILIES[family](albumentations), labels)


def assert_same(a, b):
    for field, x, y in zip(Sample._fields, a, b):
        np.testing.assert_array_equal(x, y, err_msg=field)


@every_family
def test_earlier_calls_do_not_matter(family):
    used = augmentation(family)
    first = used(sample(), (0, 1, 2))
    for seed in range(5):
        used(sample(seed), (seed,))
    assert_same(used(sample(), (0, 1, 2)), first)
    assert_same(augmentation(family)(sample(), (0, 1, 2)), first)


@every_family
def test_threads_do_not_matter(family):
    shared = augmentation(family)
    seeds = [(7, 0, index) for index in range(40)]
    expected = [augmentation(family)(sample(), seed) for seed in seeds[:5]]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda seed: shared(sample(), seed), seeds))
    for one, other in zip(expected, results):
        assert_same(one, other)


@every_family
def test_seeds_matter_and_the_input_stays_as_it_was(family):
    augment, given = augmentation(family), sample()
    before = copy.deepcopy(given)
    results = [augment(given, (0, 0, index)).image.tobytes() for index in range(20)]
    assert len(set(results)) > 2
    assert_same(given, before)


def test_transforms_draw_independently():
    """Seeded one by one with one number, albumentations flips both ways or not at all."""
    augment, given = augmentation("flips"), sample()
    ways = {
        "none": given.mask,
        "left-right": given.mask[:, ::-1],
        "up-down": given.mask[::-1],
        "both": given.mask[::-1, ::-1],
    }
    counts = dict.fromkeys(ways, 0)
    for index in range(100):
        changed = augment(given, (0, index)).mask
        counts[next(way for way in ways if (ways[way] == changed).all())] += 1
    assert min(counts.values()) >= 10  # 25 expected each; chance of fewer: below 1 in 1,000


@every_family
def test_image_mask_and_truth_move_together(family):
    """The image shows the truth, so after any move it must still do so."""
    truth = np.kron(folder_data.mask(1, (3, 4)), np.ones((8, 8), np.uint8))
    image = np.array([[0, 90, 180]], np.uint8)[0][truth][..., None].repeat(3, 2)
    given = Sample(image, truth * (truth != 2), np.array([True, True, False]), truth)
    changed = augmentation(family)(given, (3,))
    known = changed.truth != 255
    np.testing.assert_array_equal(
        changed.mask[known], (changed.truth * (changed.truth != 2))[known]
    )
    np.testing.assert_array_equal(changed.mask == 255, ~known)
    if family not in ("colour", "dropout"):
        shown = np.rint(changed.image[..., 0] / 90)
        assert (shown == changed.truth)[known].mean() > 0.8  # but for blended edges
    assert set(np.unique(changed.truth)) <= {0, 1, 2, 255}
    assert changed.annotated is given.annotated
    for before, after in zip(given[:2], changed[:2]):
        assert before.dtype == after.dtype and before.ndim == after.ndim


@pytest.mark.parametrize(
    "labels, ignored",
    [
        (LABELS, 255),
        (LabelSpace(folder_data.NAMES, ignore_index=11), 11),
        (LabelSpace(folder_data.NAMES, ignore_index=None), 255),
        (LabelSpace(folder_data.NAMES, ignore_index=65_535), 65_535),
        (None, 255),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_uncovered_area_is_ignored(labels, ignored, dtype):
    """Moved right by half its width, the left half of the mask is news from nowhere."""
    shift = albumentations.Affine(translate_percent={"x": (0.5, 0.5), "y": (0, 0)}, p=1)
    given = sample()._replace(mask=np.ones(SIZE, dtype), truth=None)
    augment = Augmentation([shift])
    changed = (augment if labels is None else augment.bound(labels))(given, (0,))
    assert np.unique(changed.mask[:, :15]).tolist() == [ignored]
    assert np.unique(changed.mask[:, 17:]).tolist() == [1]
    assert changed.mask.dtype == (np.uint16 if ignored > np.iinfo(dtype).max else dtype)
    assert changed.truth is None


def test_dropout_leaves_the_mask_alone_unless_told():
    holes = {"num_holes_range": (4, 4), "p": 1}
    given = sample()
    kept = Augmentation([albumentations.CoarseDropout(**holes)], LABELS)(given, (0,))
    np.testing.assert_array_equal(kept.mask, given.mask)
    told = Augmentation([albumentations.CoarseDropout(**holes, fill_mask=0)], LABELS)
    assert 255 in told(given, (0,)).mask


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_other_images_and_independent_classes(channels, dtype):
    image = (folder_data.image(0, SIZE)[..., :channels] / 255).astype(np.float32)
    image = image if dtype == np.float32 else (image * 255).astype(np.uint8)
    planes = np.eye(3, dtype=np.int32)[folder_data.mask(0, SIZE)]
    given = Sample(image, planes, np.ones(3, bool))
    changed = Augmentation([albumentations.HorizontalFlip(p=1)], LABELS)(given, (0,))
    np.testing.assert_array_equal(changed.image, image[:, ::-1])
    np.testing.assert_array_equal(changed.mask, planes[:, ::-1])
    assert changed.image.dtype == dtype


def test_it_survives_pickling_and_does_not_touch_its_arguments():
    rotate = albumentations.Rotate(p=1)
    augment = Augmentation([rotate], LABELS)
    expected = augment(sample(), (1, 2))
    assert rotate.fill_mask == 0
    assert_same(pickle.loads(pickle.dumps(augment))(sample(), (1, 2)), expected)


def test_what_is_no_transform_is_refused():
    with pytest.raises(TypeError, match="transforms of albumentations.*'flip'.*_target_"):
        Augmentation(["flip"])
    with pytest.warns(UserWarning, match="not valid"):
        typo = albumentations.OneOf([albumentations.Rotate(limits=5)])
    with pytest.raises(ValueError, match="Rotate has no argument limits. It has:.* limit,"):
        Augmentation([typo])

"""Every spatial transform of albumentations: what it makes of masks, and which are refused."""

import inspect
import warnings

import cv2
import folder_data
import numpy as np
import pytest

from segkit.contract import Sample
from segkit.data.augment import Augmentation
from segkit.data.transforms import Dihedral
from segkit.labels import LabelSpace

albumentations = pytest.importorskip("albumentations")

SIZE = (32, 44)
CROP = {"height": 20, "width": 60, "pad_if_needed": True}
HOLES = {"fill_mask": 0}
# What some need, and others need to show what they do to masks.
ARGUMENTS = {
    "Affine": {"rotate": 45, "scale": 0.7, "shear": 10},
    "CenterCrop": CROP,
    "CoarseDropout": HOLES,
    "ConstrainedCoarseDropout": {**HOLES, "mask_indices": [1]},
    "Crop": {"x_min": 5, "y_min": 5, "x_max": 50, "y_max": 40, "pad_if_needed": True},
    "CropAndPad": {"px": (3, 9)},
    "CropNonEmptyMaskIfExists": {"height": 16, "width": 16},
    "ElasticTransform": {"alpha": 300, "sigma": 5},
    "Erasing": HOLES,
    "FrequencyMasking": {"freq_mask_param": 8},
    "GridDropout": HOLES,
    "GridElasticDeform": {"num_grid_xy": (4, 4), "magnitude": 8},
    "LongestMaxSize": {"max_size": 20},
    "MaskDropout": {"max_objects": 3},
    "OpticalDistortion": {"distort_limit": (0.5, 0.5)},
    "Pad": {"padding": 5},
    "PadIfNeeded": {"min_height": 40, "min_width": 50},
    "Perspective": {"scale": 0.3},
    "RandomCrop": CROP,
    "RandomResizedCrop": {"size": (24, 32), "area_for_downscale": "image_mask"},
    "RandomScale": {"scale_limit": (-0.5, -0.3), "area_for_downscale": "image_mask"},
    "RandomSizedCrop": {"min_max_height": (8, 20), "size": (24, 32)},
    "Resize": {"height": 12, "width": 20, "area_for_downscale": "image_mask"},
    "Rotate": {"limit": (30, 60)},
    "SafeRotate": {"limit": (30, 60)},
    "SmallestMaxSize": {"max_size": 20, "area_for_downscale": "image_mask"},
    "ThinPlateSpline": {"scale_range": (0.3, 0.4)},
    "TimeMasking": {"time_mask_param": 8},
    "XYMasking": {"num_masks_x": 2, "mask_x_length": 5, **HOLES},
}
REFUSED = {
    "AtLeastOneBBoxRandomCrop": "needs boxes",
    "BBoxSafeRandomCrop": "needs boxes",
    "RandomSizedBBoxSafeCrop": "needs boxes",
    "RandomCropNearBBox": "needs cropping_bbox",
    "Mosaic": "needs mosaic_metadata",
    "OverlayElements": "needs overlay_metadata",
    "Lambda": "a function of its own",
    "Morphological": "the higher of two ids",
}
UNCOVERING = "Affine CropAndPad ElasticTransform OpticalDistortion Pad PadIfNeeded".split()
UNCOVERING += "Rotate SafeRotate ShiftScaleRotate XYMasking GridDropout".split()


def kinds(base):
    found = {
        name: kind
        for name, kind in vars(albumentations).items()
        if inspect.isclass(kind) and issubclass(kind, base) and kind is not base
    }
    flat = {n: k for n, k in found.items() if not issubclass(k, albumentations.Transform3D)}
    return sorted(set(flat) - {"ImageOnlyTransform", "DualTransform"})


SPATIAL = [name for name in kinds(albumentations.DualTransform) if name not in REFUSED]
OF_PIXELS = kinds(albumentations.ImageOnlyTransform)


def made(name):
    kind = getattr(albumentations, name)
    p = {"p": 1.0} if "p" in inspect.signature(kind).parameters else {}
    with warnings.catch_warnings():  # some advise another transform
        warnings.simplefilter("ignore", UserWarning)
        return kind(**ARGUMENTS.get(name, {}), **p)


def sample(mask, annotated=6):
    image = folder_data.image(0, SIZE)
    for array in (image, mask):
        array.flags.writeable = False  # as a cache hands them out
    return Sample(image, mask, np.ones(annotated, bool), mask)


IDS = (np.add.outer(np.arange(32) // 4, np.arange(44) // 4) * 2 % 6).astype(np.uint8)
MASKS = {
    "all of class 1": (np.ones(SIZE, np.uint8), 255),
    "even ids": (IDS, 255),
    "another ignore index": (IDS, 9),
    "16 bit": (np.where(IDS == 2, 300, IDS).astype(np.uint16), 65_535),
    "six planes": (np.ones((*SIZE, 6), np.uint8), 255),
    "one plane": (np.ones((*SIZE, 1), np.uint8), 255),
}


@pytest.mark.parametrize("name", SPATIAL)
@pytest.mark.parametrize("mask, ignored", MASKS.values(), ids=MASKS)
def test_masks_keep_their_ids_and_what_is_new_is_ignored(name, mask, ignored):
    exclusive = mask.ndim == 2
    if name in ("ConstrainedCoarseDropout", "MaskDropout") and not exclusive:
        pytest.skip("looks for objects in one mask, and there are planes")
    names = [f"class {c}" for c in range(6 if exclusive else mask.shape[2])]
    labels = LabelSpace(
        names, background=0 if exclusive else None, ignore_index=ignored, exclusive=exclusive
    )
    augment, found = Augmentation([made(name)], labels), set()
    for index in range(6):
        given = sample(mask, len(names))
        changed = augment(given, (0, 0, index))
        found |= set(np.unique(changed.mask).tolist())
        np.testing.assert_array_equal(changed.mask, changed.truth)
        assert changed.mask.shape == (*changed.image.shape[:2], *mask.shape[2:])
        assert (changed.image.dtype, changed.mask.dtype) == (np.uint8, mask.dtype)
    assert found <= {*np.unique(mask).tolist(), ignored}
    if name in UNCOVERING:
        assert ignored in found


@pytest.mark.parametrize("name", [*SPATIAL, *OF_PIXELS])
def test_all_draw_from_the_seed_alone(name):
    try:
        transform = made(name)
        used = Augmentation([transform])
        first = used(sample(IDS), (0, 1, 2))
    except ValueError:  # what cannot be used is not what this is about
        pytest.skip("cannot be used here")
    for index in range(3):
        used(sample(IDS), (index,))
    for again in (used(sample(IDS), (0, 1, 2)), Augmentation([transform])(sample(IDS), (0, 1, 2))):
        np.testing.assert_array_equal(again.image, first.image)
        np.testing.assert_array_equal(again.mask, first.mask)


def test_few_are_left_out_of_the_tests_above():
    usable = 0
    for name in OF_PIXELS:
        try:
            Augmentation([made(name)])(sample(IDS), (0,))
            usable += 1
        except ValueError:
            pass
    assert len(SPATIAL) >= 40 and usable >= 50


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_spoil_masks_or_needs_more_is_refused(name):
    arguments = {"height": 9, "width": 9} if "BBox" in name and "Near" not in name else {}
    kind = getattr(albumentations, name)
    known = inspect.signature(kind).parameters
    transform = kind(**{key: value for key, value in arguments.items() if key in known})
    with pytest.raises(ValueError, match=f"{name} cannot augment here: .*{REFUSED[name]}"):
        Augmentation([albumentations.OneOf([transform])])


@pytest.mark.parametrize("name", ["Normalize", "ToFloat", "FromFloat"])
def test_scaling_comes_later(name):
    with pytest.raises(ValueError, match=f"{name} cannot augment.*normalization come later"):
        Augmentation([getattr(albumentations, name)()])


def test_pixels_dropped_elsewhere_in_the_mask_are_refused():
    with pytest.raises(ValueError, match="PixelDropout cannot.*other pixels of the mask than of"):
        Augmentation([albumentations.PixelDropout(mask_drop_value=0)])


def test_volumes_are_refused():
    with pytest.raises(ValueError, match="CubicSymmetry cannot augment here: it is for volumes"):
        Augmentation([albumentations.CubicSymmetry()])


def test_crops_around_objects_see_the_ids():
    """One pixel of class 1 among background: every crop must have it."""
    mask = np.zeros(SIZE, np.uint8)
    mask[29, 40] = 1
    crop = albumentations.CropNonEmptyMaskIfExists(8, 8, p=1)
    augment = Augmentation([crop], LabelSpace(["background", "a"]))
    for index in range(20):
        assert augment(sample(mask, 2), (index,)).mask.sum() == 1


def test_mirrored_borders_mirror_the_mask():
    """With reflection, image and mask go on in step, and nothing is uncovered."""
    shift = albumentations.Affine(translate_px=20, border_mode=cv2.BORDER_REFLECT, p=1)
    image = np.where(IDS[..., None] == 2, 200, 10).astype(np.uint8).repeat(3, 2)
    changed = Augmentation([shift])(Sample(image, IDS, np.ones(6, bool)), (0,))
    np.testing.assert_array_equal(changed.image[..., 0] == 200, changed.mask == 2)
    assert 255 not in changed.mask


@pytest.mark.parametrize("size, count", [((24, 24), 8), ((24, 32), 4)])
def test_dihedral_draws_every_symmetry_that_keeps_the_shape(size, count):
    given = Sample(folder_data.image(0, size), folder_data.mask(0, size), np.ones(3, bool))
    augment = Augmentation([Dihedral(p=1)])
    seen = [augment(given, (0, 0, index)) for index in range(100)]
    masks = [changed.mask.tobytes() for changed in seen]
    assert all(changed.image.shape == given.image.shape for changed in seen)
    assert len(set(masks)) == count
    # 100 draws: one of 8 is drawn fewer than 3 times with a chance below 1 in 1,000.
    assert min(masks.count(one) for one in set(masks)) >= 3


class Upside(albumentations.ImageOnlyTransform):
    """A transform that gets everything wrong that it can."""

    def __init__(self, change):
        super().__init__(p=1)
        self.change = change

    def apply(self, img, **params):
        return self.change(img)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda i: i.astype("float32"), "keep images uint8. Received: float32.*Normalize"),
        (lambda i: i.repeat(2, 2), "keep the 3 channels of an image. Received: 6.*ToRGB"),
        (lambda i: 1 / 0, r"Upside cannot augment x.png, uint8 \(32, 44, 3\): division by zero"),
    ],
)
def test_transforms_of_ones_own_are_watched(change, words):
    with pytest.raises(ValueError, match=words):
        Augmentation([Upside(change)])(sample(IDS)._replace(name="x.png"), (0,))


def test_float_images_stay_between_0_and_1():
    image = (folder_data.image(0, SIZE) > 127).astype("float32")
    scale = albumentations.Affine(scale=1.5, interpolation=cv2.INTER_CUBIC, p=1)
    changed = Augmentation([scale])(sample(IDS)._replace(image=image), (0,))
    assert changed.image.min() >= 0 and changed.image.max() <= 1


def test_mask_and_truth_must_be_of_the_size_of_the_image():
    flip = Augmentation([albumentations.HorizontalFlip(p=1)])
    small = IDS[:9]
    with pytest.raises(ValueError, match=r"the mask must be.*\(32, 44\). Received: \(9, 44\)"):
        flip(sample(IDS)._replace(mask=small, truth=None), (0,))
    with pytest.raises(ValueError, match=r"x.png: the truth must be.*Received: \(9, 44\)"):
        flip(sample(IDS)._replace(truth=small, name="x.png"), (0,))


@pytest.mark.parametrize("transforms", [None, 3, "flip"])
def test_transforms_are_a_list_or_a_mapping(transforms):
    with pytest.raises(TypeError, match="transforms must be a list or a mapping. Received"):
        Augmentation(transforms)

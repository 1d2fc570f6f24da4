"""Patches of large images: where they lie, what is around them, what rare classes gain."""

import numpy as np
import pytest

from segkit.config import build, compose
from segkit.contract import Sample
from segkit.data.patches import Centred, Random, Whole
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"])
INDEPENDENT = LabelSpace(["organ", "tumour"], background=None, exclusive=False)


def sample(height=40, width=50, mask=None, dtype=np.uint8):
    """An image whose two channels hold the row and the column of each pixel."""
    image = np.stack(np.mgrid[:height, :width], axis=-1).astype(dtype)
    if mask is None:
        mask = np.zeros((height, width), np.uint8)
    return Sample(image, mask, np.ones(3, bool), mask.copy(), "made")


def corners(patches, made, count=500):
    """The upper left pixels of patches that lie inside the image."""
    cut = [patches(made, (0, 0, k)) for k in range(count)]
    return np.array([patch.image[0, 0] for patch in cut], int)


def test_whole_images_stay_what_they_are():
    made = sample()
    assert Whole()(made, (0, 0, 0)) is made and Whole.size is None


def test_a_random_patch_is_a_window_of_everything():
    mask = np.random.default_rng(0).integers(0, 3, (40, 50), np.uint8)
    made = sample(mask=mask)
    for k in range(20):
        patch = Random((8, 16))(made, (0, 0, k))
        row, column = patch.image[0, 0]
        window = slice(row, row + 8), slice(column, column + 16)
        np.testing.assert_array_equal(patch.image, made.image[window])
        np.testing.assert_array_equal(patch.mask, mask[window])
        np.testing.assert_array_equal(patch.truth, mask[window])
        assert patch.name == "made" and patch.annotated is made.annotated


def test_every_place_is_as_likely():
    found = corners(Random(38), sample(40, 40), 1800)
    times = np.bincount(found @ [3, 1], minlength=9)
    assert len(times) == 9 and (np.abs(times - 200) < 5 * np.sqrt(200)).all()


def test_a_patch_is_a_function_of_its_seed():
    made = sample()
    one, again, other = (Random(8)(made, seed) for seed in ((0, 1, 2), (0, 1, 2), (0, 1, 2, 1)))
    np.testing.assert_array_equal(one.image, again.image)
    assert (one.image != other.image).any()


@pytest.mark.parametrize("patches", [Random(8), Centred(8, 1.0)])
@pytest.mark.parametrize("ignored", [255, 300, None])
def test_smaller_images_are_padded_and_the_padding_is_ignored(patches, ignored):
    labels = LabelSpace(LABELS.names, ignore_index=ignored)
    made = sample(3, 5, np.full((3, 5), 2, np.uint8))
    fill = 255 if ignored is None else ignored
    places = set()
    for k in range(40):
        patch = patches.bound(labels)(made, (0, 0, k))
        assert patch.image.shape == (8, 8, 2) and patch.mask.shape == (8, 8)
        inside = patch.mask == 2
        assert inside.sum() == 15 and (patch.mask[~inside] == fill).all()
        np.testing.assert_array_equal(patch.truth, patch.mask)
        top, left = np.argwhere(inside)[0]
        places.add((top, left))
        np.testing.assert_array_equal(patch.image[top : top + 3, left : left + 5], made.image)
        rows = np.clip(np.arange(8) - top, 0, 2)
        np.testing.assert_array_equal(patch.image[:, 0, 0], rows)
    assert len(places) > 10


def test_a_centred_patch_has_the_pixel_in_its_middle():
    mask = np.zeros((40, 50), np.uint8)
    mask[20, 30] = 2
    found = corners(Centred((8, 16), 1.0, labels=LABELS), sample(mask=mask), 20)
    np.testing.assert_array_equal(found, [[16, 22]] * 20)


@pytest.mark.parametrize(
    "pixel, corner", [((0, 0), (0, 0)), ((39, 49), (32, 34)), ((1, 30), (0, 22))]
)
def test_the_edge_of_the_image_stops_it(pixel, corner):
    mask = np.zeros((40, 50), np.uint8)
    mask[pixel] = 1
    found = corners(Centred((8, 16), 1.0, labels=LABELS), sample(mask=mask), 5)
    np.testing.assert_array_equal(found, [corner] * 5)


def test_a_rare_class_is_in_the_share_of_the_patches():
    """Two of 2000 pixels, a thousandth: anywhere, it would be in 2 % of the patches."""
    mask = np.zeros((40, 50), np.uint8)
    mask[20, 30:32] = 1
    made = sample(mask=mask)
    for share in (0.5, 0.9):
        patches = Centred(6, share, labels=LABELS)
        seen = np.mean([(patches(made, (0, 0, k)).mask == 1).any() for k in range(600)])
        by_chance = share + (1 - share) * 0.024
        assert abs(seen - by_chance) < 4 * np.sqrt(by_chance * (1 - by_chance) / 600)
    anywhere = [(Random(6)(made, (0, 0, k)).mask == 1).any() for k in range(600)]
    assert np.mean(anywhere) < 0.06


def share_of_second(weights, labels=LABELS, mask=None):
    if mask is None:
        mask = np.zeros((40, 50), np.uint8)
        mask[5, 5], mask[30:38, 40:48] = 1, 2
    patches = Centred(4, 1.0, weights, labels)
    return np.mean(corners(patches, sample(mask=mask), 900)[:, 0] > 20)


@pytest.mark.parametrize(
    "weights, expected",
    [(None, 1 / 2), ({"nucleus": 3}, 3 / 4), ({"cell": 0.5, "nucleus": 2}, 4 / 5)],
)
def test_classes_are_drawn_by_their_weight_not_by_their_area(weights, expected):
    error = 4 * np.sqrt(expected * (1 - expected) / 900)
    assert abs(share_of_second(weights) - expected) < error


def test_a_class_of_no_weight_is_not_drawn():
    assert share_of_second({"cell": 0}) == 1


def test_classes_that_are_not_there_leave_their_part_to_the_others():
    labels = LabelSpace(["background", "cell", "nucleus", "mitosis"])
    found = share_of_second({"mitosis": 50, "nucleus": 3}, labels)
    assert abs(found - 3 / 4) < 4 * np.sqrt(3 / 16 / 900)


def test_pixels_of_a_class_are_equally_likely():
    mask = np.zeros((40, 50), np.uint8)
    mask[10, 10:13] = 1
    found = corners(Centred(4, 1.0, labels=LABELS), sample(mask=mask), 900)
    times = np.bincount(found[:, 1])[8:]
    assert len(times) == 3 and (np.abs(times - 300) < 5 * np.sqrt(300)).all()


@pytest.mark.parametrize("ids", [0, 255, 7])
def test_without_a_labelled_pixel_patches_lie_anywhere(ids):
    """Background, ignored, and a coarse label, which says of no pixel what it is."""
    coarse = [{"name": "either", "id": 7, "members": ["cell", "nucleus"]}]
    labels = LabelSpace(LABELS.names, coarse=coarse)
    made = sample(mask=np.full((40, 50), ids, np.uint8))
    found = corners(Centred(8, 1.0, labels=labels), made, 50)
    np.testing.assert_array_equal(found, corners(Centred(8, 0.0, labels=labels), made, 50))
    assert len(np.unique(found, axis=0)) > 30


def test_planes_of_independent_classes():
    planes = np.zeros((40, 50, 2), np.uint8)
    planes[..., 1] = 255
    planes[20, 30, 1] = 1
    for patches in (Centred(8, 1.0), Centred(8, 1.0, {"organ": 9})):
        patch = patches.bound(INDEPENDENT)(sample(mask=planes), (0, 0, 0))
        assert patch.mask.shape == (8, 8, 2) and patch.mask[4, 4].tolist() == [0, 1]


def test_the_search_goes_over_the_whole_of_a_large_mask(monkeypatch):
    monkeypatch.setattr("segkit.data.patches._BLOCK", 100)
    mask = np.zeros((40, 50), np.uint8)
    mask[[0, 1, 19, 39], [0, 49, 7, 49]] = 1
    patches = Centred(1, 1.0, labels=LABELS)
    found = {tuple(corner) for corner in corners(patches, sample(mask=mask), 100)}
    assert found == {(0, 0), (1, 49), (19, 7), (39, 49)}


def test_files_mapped_into_memory_are_cut_without_being_read_whole(tmp_path):
    made = sample()
    np.save(tmp_path / "image.npy", made.image)
    np.save(tmp_path / "mask.npy", made.mask)
    image, mask = (np.load(tmp_path / f"{k}.npy", mmap_mode="r") for k in ("image", "mask"))
    for patches in (Random(8), Centred(8, 0.5, labels=LABELS)):
        patch = patches(made._replace(image=image, mask=mask), (0, 0, 3))
        expected = patches(made, (0, 0, 3))
        for part in ("image", "mask"):
            found = getattr(patch, part)
            np.testing.assert_array_equal(found, getattr(expected, part))
            assert type(found) is np.ndarray and found.flags.writeable and found.base is None


def test_images_of_different_sizes_make_one_batch():
    class Mixed:
        labels = LABELS

        def __len__(self):
            return 4

        def __getitem__(self, index):
            return sample(5 + 10 * index, 30 - 7 * index)

    ((images, target),) = batches(Mixed(), 4, patches=Random(12))
    assert images.shape == (4, 12, 12, 2) and target.shape == (4, 12, 12, 3)
    assert (np.asarray(target)[0] == -1).any() and (np.asarray(target)[1, ..., 0] == 1).all()


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Random(0), "size must be a positive number of pixels.*Received: 0"),
        (lambda: Random(None), "Patches need a size.*patches.size=128, or patches=none"),
        (lambda: Centred(8, 1.5), "share must be a number from 0 to 1. Received: 1.5"),
        (lambda: Centred(8, weights={"cell": -1}), "numbers from 0 on.*Received: .*-1"),
        (lambda: Centred(8, weights={"cell": float("nan")}), "numbers from 0 on.*Received"),
        (lambda: Centred(8, weights=[1, 2]), r"maps class names.*Received: \[1, 2\]"),
        (
            lambda: Centred(8, weights={"cel": 2}).bound(LABELS),
            "may name the foreground classes cell, nucleus. Received: cel",
        ),
        (
            lambda: Centred(8, weights={"background": 2}).bound(LABELS),
            "foreground classes cell, nucleus. Received: background",
        ),
        (lambda: Centred(8)(sample(), (0,)), r"Centred needs to know the classes: call bound"),
    ],
)
def test_bad_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_from_the_command_line():
    node = compose("train", ["patches=centred", "patches.size=[8,6]", "+patches.weights.cell=3"])
    assert build(node.patches).size == (8, 6) and build(node.patches).weights == {"cell": 3.0}
    assert build(compose("train").patches).size is None

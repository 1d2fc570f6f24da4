"""Values of files -> [0, 1], and images of any type -> one size."""

import numpy as np
import pytest
from PIL import Image

from segkit.data.fitting import fit_image, fit_mask
from segkit.data.scaling import to_unit

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (4, 6, 3), np.uint8)


def test_bytes_stay_and_16_bits_are_divided():
    assert to_unit(BYTES, None, "a.png") is BYTES
    wide = np.array([[[0, 1, 65_535]]], np.uint16)
    found = to_unit(wide, None, "a.png")
    assert found.dtype == np.float32 and found[0, 0, 2] == 1
    np.testing.assert_allclose(found, wide / 65_535, rtol=1e-6)


def test_floats_must_lie_in_the_unit_interval():
    image = np.array([[[0, 0.5, 1]]], np.float32)
    assert to_unit(image, None, "a.npy") is image
    nearly = image * np.float32(1 + 2e-7) - np.float32(1e-7)
    found = to_unit(nearly, None, "a.npy")
    assert found.min() == 0 and found.max() == 1
    for wrong in (image * 255, image - 0.5, image * np.nan):
        with pytest.raises(ValueError, match=r"a\.npy must hold.*data\.value_range=\[low, high\]"):
            to_unit(wrong, None, "a.npy")
    with pytest.raises(ValueError, match=r"Received: -0\.5 to 0\.5"):
        to_unit(image - 0.5, None, "a.npy")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_range_is_in_the_numbers_of_the_file(dtype):
    image = np.array([[[0, 50], [100, 150]]], dtype)
    found = to_unit(image, [50, 150], "a.tif")
    np.testing.assert_allclose(found, [[[0, 0], [0.5, 1]]])
    assert found.dtype == np.float32
    apart = to_unit(image, [(0, 200), (-50, 50)], "a.tif")
    np.testing.assert_allclose(apart, [[[0, 1], [0.5, 1]]])
    assert image[0, 0, 1] == 50  # not in place


WRONG = {
    "one number": 5,
    "three": [0, 1, 2],
    "turned": [1, 0],
    "equal": [1, 1],
    "text": "ab",
    "words": ["low", "high"],
    "infinite": [0, float("inf")],
    "flags": [False, True],
    "nothing": [],
    "mapping": {"low": 0, "high": 1},
    "too far": [0, 1e300],
}


@pytest.mark.parametrize("value_range", WRONG.values(), ids=WRONG)
def test_what_is_no_range_is_named(value_range):
    with pytest.raises(ValueError, match="value_range must be a pair .*Received: "):
        to_unit(BYTES, value_range, "a.png")


def test_one_range_a_channel():
    with pytest.raises(ValueError, match=r"each of the 3 channels of a\.png.*Received: 2 pairs"):
        to_unit(BYTES, [[0, 1], [0, 1]], "a.png")


# Fitting


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", [(2, 3), (8, 5), (1, 1)])
def test_every_band_is_resized_alike(bands, dtype, size):
    """Each as an image of that band alone would be: none is taken for transparency."""
    image = RNG.integers(0, 256, (4, 6, bands), np.uint8)
    image = image if dtype == "uint8" else (image / 255).astype("float32")
    found = fit_image(image, size, "resize")
    assert found.shape == (*size, bands) and found.dtype == dtype
    for band in range(bands):
        alone = Image.fromarray(image[..., band]).resize(size[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(found[..., band], np.array(alone))


def test_floats_stay_in_the_unit_interval():
    image = RNG.integers(0, 2, (64, 64, 1)).astype("float32")
    for size in ((5, 7), (100, 131)):
        found = fit_image(image, size, "resize")
        assert 0 <= found.min() and found.max() <= 1
    assert (fit_image(np.ones((31, 17, 2), "float32"), (7, 60), "resize") == 1).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_one_pixel_fits_every_size(dtype):
    image = np.ones((1, 1, 2), dtype)
    for fit in ("resize", "crop"):
        assert (fit_image(image, (3, 5), fit) == np.ones((3, 5, 2))).all()
    assert fit_mask(np.ones((1, 1), "uint8"), (2, 2), "resize", None).tolist() == [[1, 1], [1, 1]]
    assert fit_mask(np.ones((1, 1), "uint8"), (1, 3), "crop", 255).tolist() == [[255, 1, 255]]


@pytest.mark.parametrize("fit", ["resize", "crop"])
@pytest.mark.parametrize("size", [(2, 3), (9, 4), (4, 6)])
def test_planes_are_fitted_like_ids(fit, size):
    ids = RNG.integers(0, 2, (4, 6, 3)).astype("uint8")
    found = fit_mask(ids, size, fit, 255)
    assert found.shape == (*size, 3)
    for plane in range(3):
        alone = fit_mask(ids[..., plane], size, fit, 255)
        np.testing.assert_array_equal(found[..., plane], alone)

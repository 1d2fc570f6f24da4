"""Mean and standard deviation of the channels: by hand, in the model, and back from its file."""

import warnings

import keras
import numpy as np
import pytest

from segkit.config import build, compose
from segkit.contract import Sample
from segkit.data import normalization
from segkit.data.normalization import Fixed, Statistics, Unchanged
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace
from segkit.models import unet


class Images(list):
    """Images as a source."""

    labels = LabelSpace(["background", "cell"])

    def __getitem__(self, index):
        image = super().__getitem__(index)
        return Sample(image, np.zeros(image.shape[:2], np.uint8), np.ones(2, bool), name="a.png")


def noise(count=5, channels=3, dtype=np.uint8):
    """Images of different sizes, one channel darker than the next."""
    rng = np.random.default_rng(0)
    bright = np.arange(1, channels + 1) / channels
    images = [rng.random((4 + i, 9 - i, channels)) * bright for i in range(count)]
    if dtype == np.uint8:
        images = [np.round(255 * image) for image in images]
    return Images(image.astype(dtype) for image in images)


def pixels(source):
    found = [source[i].image.reshape(-1, source[i].image.shape[-1]) for i in range(len(source))]
    scale = 255 if found[0].dtype == np.uint8 else 1
    return np.concatenate(found).astype("float64") / scale


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_statistics_are_those_of_all_pixels_together(channels, dtype):
    source = noise(5, channels, dtype)
    mean, std = Statistics().of(source)
    np.testing.assert_allclose(mean, pixels(source).mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels(source).std(0), rtol=1e-12)
    assert mean.dtype == std.dtype == np.float64 and mean.shape == std.shape == (channels,)


def test_small_differences_at_a_large_value_are_not_lost():
    """Sums of squares in float32 would give a variance of nothing, or less."""
    rng = np.random.default_rng(1)
    source = Images((0.9 + 1e-5 * rng.random((8, 8, 1))).astype("float32") for _ in range(4))
    np.testing.assert_allclose(Statistics().of(source)[1], pixels(source).std(0), rtol=1e-6)


@pytest.mark.parametrize("dtype, value", [(np.uint8, 77), (np.float32, 0.3)])
def test_a_constant_channel_is_named_and_not_divided_by_nothing(dtype, value):
    source = noise(3, 3, dtype)
    for i in range(3):
        list.__getitem__(source, i)[..., 1] = value
    with pytest.warns(UserWarning, match=r"channels \[1\] \(of 3\) are constant"):
        mean, std = Statistics().of(source)
    assert std[1] == 1 and 0 < std[0] < 1 and 0 < std[2] < 1
    assert mean[1] == pytest.approx(value / (255 if dtype == np.uint8 else 1), rel=1e-7)


def test_every_image_is_read_once():
    reads = []

    class Counted(Images):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    Statistics().of(Counted(noise()))
    assert sorted(reads) == list(range(5))


def test_unchanged_says_nothing():
    assert Unchanged().of(noise()) is None


def test_fixed_numbers_are_those_given():
    mean, std = Fixed([0.5, 0.25, 0.0], [1, 2, 0.5]).of(noise())
    assert mean.tolist() == [0.5, 0.25, 0.0] and std.tolist() == [1, 2, 0.5]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Fixed([0.5], [0.5]).of(noise()), "have 3 channels.*Received: 1. Take norm"),
        (lambda: Fixed([0.5, 0.5], [0.5]), r"std needs a number.*mean \[0.5, 0.5\], std \[0.5\]"),
        (lambda: Fixed([0.5], [0.0]), r"above 0.*std \[0.0\]"),
        (lambda: Fixed([], []), r"normalization.mean is a list of numbers.*Received: \[\]"),
        (lambda: Fixed(0.5, [1]), "normalization.mean is a list of numbers.*Received: 0.5"),
        (lambda: Fixed([0.5], [float("inf")]), "normalization.std is a list.*inf"),
        (lambda: Fixed(["a"], [1]), "normalization.mean is a list.*'a'"),
        (lambda: Statistics().of(Images()), "empty source"),
        (
            lambda: Statistics().of(Images([np.full((2, 2, 1), np.nan, "float32")])),
            "a.png holds NaN or infinity",
        ),
        (
            lambda: Statistics().of(
                Images([np.eye(3, dtype="uint8")[..., None], noise()[0].image])
            ),
            "same channels. Received: a.png with 1, a.png with 3",
        ),
    ],
)
def test_bad_numbers(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_choices_of_the_command_line():
    assert build(compose("train").normalization).of(noise()) is None
    mean, std = build(compose("train", ["normalization=imagenet"]).normalization).of(noise())
    assert mean.tolist() == [0.485, 0.456, 0.406] and std.tolist() == [0.229, 0.224, 0.225]
    fixed = ["normalization=fixed", "normalization.mean=[0,0,0]", "normalization.std=[1,1,1]"]
    assert build(compose("train", fixed).normalization).of(noise())[1].tolist() == [1, 1, 1]


def test_in_the_model_it_is_the_same_as_by_hand_and_survives_saving(tmp_path):
    mean, std = Statistics().of(noise())
    images = np.random.default_rng(2).random((2, 9, 7, 3), "float32")
    options = {"num_classes": 2, "filters": 4, "depth": 1}
    keras.utils.set_random_seed(3)
    inside = unet(**options, mean=mean, std=std)
    plain = unet(**options)
    plain.set_weights(inside.get_weights())
    by_hand = plain(((images - mean) / std).astype("float32"))
    np.testing.assert_allclose(inside(images), by_hand, rtol=1e-4, atol=1e-5)
    inside.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), inside(images))


def test_sixteen_bits_reach_the_network():
    """Neighbouring values of a 16-bit image differ in the batch, and behind the first layer of a
    model that computes in bfloat16, where 0.5 and 0.5 + 1 / 65535 are one number."""
    steps = ((32768 + np.arange(64)) / 65535).astype("float32").reshape(8, 8, 1)
    source = Images([steps])
    ((images, _),) = batches(source, 1)
    assert len(np.unique(images)) == 64
    mean, std = Statistics().of(source)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = unet((None, None, 1), num_classes=2, filters=4, depth=0, mean=mean, std=std)
    finally:
        keras.config.set_dtype_policy("float32")
    first = keras.Model(model.input, model.get_layer("image_norm").output)
    seen = np.asarray(first(images))
    assert seen.dtype == np.float32 and len(np.unique(seen)) == 64
    assert abs(seen.mean()) < 1e-3 and abs(seen.std() - 1) < 1e-3
    assert len(np.unique(np.asarray(keras.ops.cast(images, "bfloat16"), "float32"))) == 1


def test_no_warning_where_there_is_nothing_to_warn_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Statistics().of(noise())


def test_blocks_of_a_large_image_are_as_the_whole(monkeypatch):
    """Also a constant channel, which rounding must not make vary."""
    monkeypatch.setattr(normalization, "_BLOCK", 7)
    pixels = np.random.default_rng(0).random((5, 9, 2)).astype("float32")
    pixels[..., 1] = 0.1
    found = normalization._moments([Sample(pixels, None, None)], 0)
    wide = pixels.reshape(-1, 2).astype("float64")
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.squares[0], wide[:, 0].var() * 45, rtol=1e-10)
    assert found.squares[1] == 0 and found.count == 45

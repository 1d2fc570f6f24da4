"""The U-Net: its figures, its sizes, its errors."""

import keras
import numpy as np
import pytest

from segkit.config import build, compose
from segkit.models import unet


def test_source_4_unet_small():
    """Depth 4, 8-16-32-64-128 filters, two 3x3 convolutions a level, 2x2 transposed convolutions,
    1x1 head of 5 classes: the parameters by hand."""
    model = build(compose("train", ["model=unet_small"]).model, num_classes=5)
    widths = [8, 16, 32, 64, 128]

    def pair(inputs, filters):
        return 9 * inputs * filters + filters + 9 * filters * filters + filters

    down = sum(pair(a, b) for a, b in zip([3, *widths[:-1]], widths))
    up = sum(4 * 2 * f * f + f + pair(2 * f, f) for f in widths[:-1])
    head = 8 * 5 + 5
    assert model.count_params() == down + up + head
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("MaxPooling2D") == kinds.count("Conv2DTranspose") == 4
    assert "BatchNormalization" not in kinds
    assert model(np.zeros((1, 256, 256, 3), "float32")).shape == (1, 256, 256, 5)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 31), (32, 32), (33, 64)])
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_any_size_comes_back(size, depth):
    model = unet(num_classes=3, filters=4, depth=depth)
    logits = model(np.zeros((2, *size, 3), "float32"))
    assert logits.shape == (2, *size, 3)


def test_logits_are_float32_and_unbounded_in_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = unet(num_classes=2, filters=4, depth=1)
    finally:
        keras.config.set_dtype_policy("float32")
    model.layers[-1].bias.assign([5.0, -5.0])
    logits = np.asarray(model(np.zeros((1, 4, 4, 3), "float32")))
    assert logits.dtype == np.float32 and logits.min() == -5 and logits.max() == 5


def test_survives_saving(tmp_path):
    model = unet((None, None, 1), num_classes=2, filters=4, depth=2)
    images = np.random.default_rng(0).random((1, 9, 7, 1), "float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images), again(images))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"depth": -1}, "depth must be a whole number from 0 on. Received: -1"),
        ({"filters": 0}, "filters must be"),
        ({"filters": 2.5}, "filters must be a whole number from 1 on. Received: 2.5"),
        ({"num_classes": True}, "num_classes must be"),
        ({"input_shape": (None, None)}, r"input_shape \(H, W, K\).*Received: \(None, None\)"),
        ({"input_shape": (8, 8, None)}, "number of channels K"),
        ({"normalization": "group"}, "one of batch, none. Received: 'group'"),
        ({"mean": [0.5], "std": [0.5]}, r"one number a channel, 3 here.*Received: mean \[0.5\]"),
        ({"mean": [0.5] * 3}, "one number a channel, 3 here.*std None"),
        ({"mean": [0.5] * 3, "std": [1, 0, 1]}, r"std above 0.*std \[1, 0, 1\]"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        unet(**options)


def test_without_numbers_there_is_no_such_layer():
    plain = unet(num_classes=2, filters=4, depth=1)
    assert "image_norm" not in [layer.name for layer in plain.layers]
    scaled = unet(num_classes=2, filters=4, depth=1, mean=[0.5] * 3, std=[0.25] * 3)
    images = np.random.default_rng(0).random((1, 4, 4, 3), "float32")
    first = keras.Model(scaled.input, scaled.get_layer("image_norm").output)
    np.testing.assert_allclose(first(images), (images - 0.5) / 0.25, rtol=1e-6, atol=1e-6)
    assert [w.shape for w in plain.trainable_weights] == [w.shape for w in scaled.trainable_weights]

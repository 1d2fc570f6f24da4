"""The U-Net: its figures, its sizes, its errors."""

import keras
import numpy as np
import pytest

from segkit.config import build, compose
from segkit.models import unet
from segkit.models.blocks import PadToMultiple
from segkit.models.normalization import BatchNormalization


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
        ({"attention": "yes"}, "attention must be true or false. Received: 'yes'"),
        ({"dropout": 1.5}, "dropout must be a number from 0 to 1. Received: 1.5"),
        ({"dropout": 1}, "dropout must be below 1"),
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


def two_by_hand(x, filters, name):
    for step in "ab":
        x = keras.layers.Conv2D(
            *(filters, 3), padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = keras.layers.ReLU()(BatchNormalization(momentum=0.9, name=f"{name}{step}")(x))
    return x


def test_without_options_it_is_the_plain_unet():
    """Written out: the same names, the same weights from a seed, the same logits."""
    keras.utils.set_random_seed(3)
    model = unet(num_classes=2, filters=4, depth=1)
    assert [layer.name for layer in model.layers] == (
        "image down0_conv_a down0_norm_a down0_relu_a down0_conv_b down0_norm_b down0_relu_b "
        "down0_pool bottom_conv_a bottom_norm_a bottom_relu_a bottom_conv_b bottom_norm_b "
        "bottom_relu_b up0 up0_crop up0_join up0_conv_a up0_norm_a up0_relu_a up0_conv_b "
        "up0_norm_b up0_relu_b logits"
    ).split()
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    skip = two_by_hand(image, 4, "down")
    x = two_by_hand(keras.layers.MaxPooling2D()(skip), 8, "bottom")
    x = keras.layers.Concatenate()([skip, keras.layers.Conv2DTranspose(4, 2, strides=2)(x)])
    x = two_by_hand(x, 4, "up")
    plain = keras.Model(image, keras.layers.Conv2D(2, 1)(x))
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    images = np.random.default_rng(0).random((1, 6, 8, 3), "float32")
    np.testing.assert_allclose(model(images), plain(images), atol=1e-6)


def test_attention_gates_by_hand():
    model = unet(num_classes=2, filters=4, depth=1, attention=True)
    images = np.random.default_rng(0).random((1, 5, 7, 3), "float32")
    names = ["up0_gate_skip", "up0_gate_below", "up0_gate_share"]
    inputs = [model.get_layer(name).input for name in names[:2]]
    skip, below, joined = map(
        np.asarray,
        keras.Model(model.input, [*inputs, model.get_layer("up0_join").input[0]])(images),
    )
    (w_x,), (w_g, b_g), (psi, b) = (model.get_layer(name).get_weights() for name in names)
    assert w_x.shape == (1, 1, 4, 2)
    total = np.maximum(skip @ w_x[0, 0] + below @ w_g[0, 0] + b_g, 0)
    share = 1 / (1 + np.exp(-(total @ psi[0, 0] + b)))
    assert share.shape == (1, 5, 7, 1)
    np.testing.assert_allclose(joined, skip * share, atol=1e-6)


def test_dropout_takes_whole_channels_at_the_bottom_in_training_only():
    model = unet(num_classes=2, filters=8, depth=1, dropout=0.5)
    images = np.random.default_rng(0).random((4, 6, 6, 3), "float32")
    bottom = keras.Model(model.input, model.get_layer("up0").input)
    assert model.get_layer("bottom_dropout").rate == 0.5
    before = np.asarray(keras.Model(model.input, model.get_layer("bottom_relu_b").output)(images))
    np.testing.assert_array_equal(bottom(images), before)
    gone = (np.asarray(bottom(images, training=True)) == 0).all(axis=(1, 2))
    assert 8 <= gone.sum() - (before == 0).all(axis=(1, 2)).sum() <= 56


def test_options_survive_saving_at_any_size(tmp_path):
    model = unet(num_classes=2, filters=4, depth=2, attention=True, dropout=0.3)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    images = np.random.default_rng(0).random((1, 9, 7, 3), "float32")
    np.testing.assert_array_equal(model(images), again(images))


@pytest.mark.parametrize("sizes", [(5, 8), (None, None), (1, None)])
def test_padding_is_at_the_right_and_lower_edge(sizes):
    layer = PadToMultiple(4)
    known = [size and -(-size // 4) * 4 for size in sizes]
    assert layer(keras.Input((*sizes, 2))).shape == (None, *known, 2)
    image = np.ones((1, 5, 8, 2), "float32")
    padded = np.asarray(layer(image))
    assert padded.shape == (1, 8, 8, 2) and (padded[:, :5] == 1).all() and not padded[:, 5:].any()

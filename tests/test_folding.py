"""Folding batch normalisations away: the same function, in fewer layers."""

import keras
import numpy as np
import pytest
from keras import layers

from segkit.models import unet
from segkit.models.folding import fold
from segkit.models.normalization import BatchNormalization

RNG = np.random.default_rng(0)


def with_random_weights(model):
    """Statistics far from mean 0 and variance 1, and normalisations that scale and shift."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(RNG.normal(0, 0.5, size))
            layer.moving_variance.assign(RNG.uniform(0.2, 3, size))
            for weight in layer.trainable_variables:
                weight.assign(RNG.normal(1, 0.3, size))
    return model


def normalizations(model):
    kind = keras.layers.BatchNormalization
    return [layer.name for layer in model._flatten_layers() if isinstance(layer, kind)]


def assert_same(model, folded, *images, tolerance=1e-5):
    before = [np.array(w) for w in model.get_weights()]
    expected, found = (
        keras.tree.flatten(m(images if len(images) > 1 else images[0], training=False))
        for m in (model, folded)
    )
    for one, other in zip(expected, found, strict=True):
        assert one.dtype == other.dtype and np.ptp(np.asarray(one, "float32")) > 0
        scale = max(1, float(np.abs(np.asarray(one, "float32")).max()))
        np.testing.assert_allclose(
            np.asarray(other, "float32"), np.asarray(one, "float32"), atol=tolerance * scale
        )
    for was, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    shapes = [[t.shape for t in keras.tree.flatten([m.input, m.output])] for m in (model, folded)]
    assert shapes[0] == shapes[1] and folded.name == model.name


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_unet_has_none_left_and_computes_the_same(depth, tmp_path):
    model = with_random_weights(unet(num_classes=3, filters=4, depth=depth))
    folded = fold(model)
    assert len(normalizations(model)) == 4 * depth + 2 and normalizations(folded) == []
    images = RNG.random((2, 9, 14, 3), "float32")
    assert_same(model, folded, images)
    folded.save(tmp_path / "folded.keras")
    again = keras.models.load_model(tmp_path / "folded.keras")
    np.testing.assert_array_equal(again(images), folded(images))


def test_bfloat16_keeps_its_kernels_in_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = with_random_weights(unet(num_classes=3, filters=4, depth=1))
    folded = fold(model)
    assert normalizations(folded) == []
    assert {w.dtype for w in folded.weights} == {"float32"}
    assert folded.get_layer("bottom_conv_a").compute_dtype == "bfloat16"
    assert_same(model, folded, RNG.random((2, 8, 8, 3), "float32"), tolerance=0.05)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.Conv2D(6, 3, groups=2),
        lambda: layers.Conv2D(6, 3, use_bias=False, dilation_rate=2),
        lambda: layers.Conv2DTranspose(5, 2, strides=2),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
        lambda: layers.Dense(5),
    ],
)
@pytest.mark.parametrize("kind", [BatchNormalization, layers.BatchNormalization])
def test_each_layer_by_itself(layer, kind):
    image = keras.Input((7, 7, 4))
    model = keras.Model(image, kind(scale=kind is BatchNormalization)(layer()(image)))
    model.layers[1].set_weights([RNG.normal(size=w.shape) for w in model.layers[1].get_weights()])
    folded = fold(with_random_weights(model))
    assert [type(layer).__name__ for layer in folded.layers] == [
        "InputLayer",
        type(model.layers[1]).__name__,
    ]
    assert_same(model, folded, RNG.random((2, 7, 7, 4), "float32"))


def branched():
    """All that must be left alone, and two that need not."""
    image, extra = keras.Input((8, 8, 3), name="one"), keras.Input((8, 8, 3), name="two")
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    a = layers.BatchNormalization(name="of_shared")(shared(image))
    b = shared(extra)
    forked = layers.Conv2D(4, 1, name="forked")(a)
    c = layers.Add()([layers.BatchNormalization(name="of_forked")(forked), forked, b])
    c = layers.DepthwiseConv2D(3, padding="same", name="folded")(c)
    c = keras.ops.relu(BatchNormalization(name="goes")(c) * 2.0)
    twice = layers.BatchNormalization(name="twice")
    c = twice(layers.Conv2D(4, 1)(c)) + twice(layers.Conv2D(4, 1)(c))
    c = layers.BatchNormalization(name="of_relu")(layers.Conv2D(4, 1, activation="relu")(c))
    c = layers.BatchNormalization(name="of_rows", axis=1)(layers.Conv2D(4, 1)(c))
    c = layers.BatchNormalization(name="wide", dtype="float64")(layers.Conv2D(4, 1)(c))
    c = layers.Dropout(0.5, name="drops")(layers.Activation("linear")(c))
    seen = layers.Conv2D(2, 1, name="seen")(c)
    pooled = layers.GlobalAveragePooling2D()(layers.BatchNormalization(name="of_output")(seen))
    last = layers.BatchNormalization(name="last")(layers.Dense(3)(pooled))
    return keras.Model({"one": image, "two": extra}, {"seen": seen, "last": last}, name="branched")


def test_what_cannot_be_folded_stays():
    model = with_random_weights(branched())
    model.compile(loss="mse")
    folded = fold(model)
    stay = {"of_shared", "of_forked", "twice", "of_relu", "of_rows", "wide", "of_output"}
    assert set(normalizations(folded)) == stay
    assert set(normalizations(model)) == stay | {"goes", "last"}
    assert "drops" not in [layer.name for layer in folded.layers] and not folded.compiled
    images = {name: RNG.random((2, 8, 8, 3), "float32") for name in ("one", "two")}
    assert folded(images).keys() == model(images).keys()
    assert_same(model, folded, images)


def test_what_acts_in_inference_on_purpose_stays():
    image = keras.Input((6, 6, 2))
    x = layers.BatchNormalization(name="batch")(layers.Conv2D(3, 1)(image), training=True)
    model = keras.Model(image, layers.Dropout(0.5, name="sampled")(x, training=True))
    folded = fold(model)
    assert {"batch", "sampled"} <= {layer.name for layer in folded.layers}


def test_nested_models_and_adapted_normalization():
    inner = keras.Sequential([keras.Input((6, 6, 2)), layers.Conv2D(2, 1), BatchNormalization()])
    twice = unet((6, 6, 2), num_classes=2, filters=2, depth=0)
    scale = layers.Normalization()
    scale.adapt(RNG.normal(3, 5, (20, 6, 6, 2)))
    image = keras.Input((6, 6, 2))
    model = keras.Model(image, twice(inner(scale(image)) + inner(twice(image))))
    folded = fold(with_random_weights(model))
    assert normalizations(folded) == [] and len(normalizations(model)) == 3
    assert_same(model, folded, RNG.random((2, 6, 6, 2), "float32"))
    assert_same(inner, fold(inner), RNG.random((2, 6, 6, 2), "float32"))


def test_backbone_of_keras_applications():
    shape = {"input_shape": (32, 32, 3), "include_top": False}
    model = keras.applications.MobileNetV3Small(weights=None, **shape)
    folded = fold(with_random_weights(model))
    assert len(normalizations(model)) == 34 and normalizations(folded) == []
    assert_same(model, folded, RNG.random((1, 32, 32, 3), "float32"), tolerance=1e-4)


class Own(keras.Model):
    """A model whose graph nobody knows."""

    def __init__(self):
        super().__init__()
        self.norm = BatchNormalization()

    def call(self, inputs):
        return self.norm(inputs)


@pytest.mark.parametrize(
    "model, words",
    [
        (lambda: Own(), r"keras.Model\(inputs, outputs\).*Received: Own"),
        (lambda: layers.Dense(3), "Received: Dense"),
        (lambda: keras.Sequential([layers.Dense(3)], name="young"), "Received: 'young'.*no input"),
    ],
)
def test_models_that_cannot_be_read(model, words):
    with pytest.raises(ValueError, match=words):
        fold(model())

"""Convolutions in bfloat16 on a processor: what Keras computes, with gradients that are right."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segkit.models.convolutions import Conv2D, Conv2DTranspose

CASES = {
    "wide": (Conv2D, (2, 12, 20, 4), {"kernel_size": 3, "padding": "same"}),
    "narrow": (Conv2D, (2, 12, 8, 4), {"kernel_size": 3, "padding": "same", "use_bias": False}),
    "narrow, biased": (Conv2D, (3, 7, 5, 4), {"kernel_size": (3, 5), "padding": "same"}),
    "strided": (Conv2D, (2, 9, 8, 4), {"kernel_size": 3, "strides": 2, "activation": "tanh"}),
    "valid": (Conv2D, (2, 9, 8, 4), {"kernel_size": 3}),
    "up": (Conv2DTranspose, (2, 6, 7, 4), {"kernel_size": 2, "strides": 2}),
    "up by 3": (Conv2DTranspose, (2, 5, 4, 4), {"kernel_size": 3, "strides": 3}),
    "up, overlapping": (Conv2DTranspose, (2, 5, 4, 4), {"kernel_size": 3, "strides": 2}),
}


def moved(kind, dtype, shape, options, seed=0):
    """Outputs, and gradients of a weighted sum of them: of the input, the kernel, the bias."""
    rng = np.random.default_rng(seed)
    layer = kind(5, dtype=dtype, **options)
    layer.build(shape)
    layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])
    x = tf.constant(rng.normal(size=shape), "float32")
    share = None

    @tf.function
    def run(x, share):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.cast(layer(x), "float32")
            total = tf.reduce_sum(y * (tf.ones_like(y) if share is None else share))
        return y, tape.gradient(total, [x, *[w.value for w in layer.trainable_weights]])

    share = tf.constant(rng.normal(size=run(x, None)[0].shape), "float32")
    y, gradients = run(x, share)
    return [y.numpy(), *(np.asarray(g) for g in gradients)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "float32"])
def test_as_keras_in_float32_within_rounding(name, dtype):
    kind, shape, options = CASES[name]
    usual = getattr(keras.layers, kind.__name__)
    found = moved(kind, dtype, shape, options)
    for mine, exact in zip(found, moved(usual, "float32", shape, options), strict=True):
        atol = (0.04 if "bfloat16" in dtype else 1e-5) * np.abs(exact).max()
        np.testing.assert_allclose(mine, exact, atol=atol)


@pytest.mark.parametrize("name", ["wide", "up"])
def test_the_gradient_of_a_bias_is_a_sum_over_many_pixels(name):
    """Where a sum in bfloat16 would have stopped to count: 2 x 96 x 96 ones are 18,432."""
    kind, _, options = CASES[name]
    layer = kind(3, dtype="mixed_bfloat16", **options)
    x = tf.zeros((2, 96, 96, 4) if name == "wide" else (2, 48, 48, 4))
    layer.build(x.shape)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(layer(x), "float32"))
    gradient = tape.gradient(total, layer.bias.value)
    np.testing.assert_allclose(gradient, np.full(3, 18432.0), rtol=0.01)


@pytest.mark.parametrize("kind", [Conv2D, Conv2DTranspose])
def test_weights_fit_those_of_keras(kind):
    mine, usual = kind(3, 2), getattr(keras.layers, kind.__name__)(3, 2)
    for layer in (mine, usual):
        layer.build((None, None, None, 2))
    usual.set_weights(mine.get_weights())
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype("float32")
    np.testing.assert_array_equal(mine(x), usual(x))
    assert type(kind.from_config(mine.get_config())) is kind

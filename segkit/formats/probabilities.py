"""The function that every format holds: images -> probabilities, as a graph of TensorFlow."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

INPUT, OUTPUT = "image", "probabilities"


class Probabilities(tf.Module):
    """A model that gives logits, with temperature and softmax, or sigmoid, behind it.

        probabilities = softmax(logits(image) / temperature)    classes that exclude each other
        probabilities = sigmoid(logits(image) / temperature)    independent classes

    Images are float32 in [0, 1], (B, H, W, K); probabilities float32, (B, H, W, C).

    Args:
        model: keras.Model of one input, (B, H, W, K), and one output, logits (B, H, W, C), in
            float32.
        temperature: above 0; 1 changes nothing.
        size: (height, width) to fix in the graph; None: any.
        batch: number of images to fix in the graph; None: any.
        exclusive: False for independent classes.
    """

    def __init__(
        self,
        model: Any,
        temperature: float = 1.0,
        size: tuple[int, int] | None = None,
        batch: int | None = None,
        exclusive: bool = True,
    ):
        super().__init__(name="segkit")
        likely = tf.nn.softmax if exclusive else tf.nn.sigmoid
        model = _with_constants(model)
        self.shape = (batch, *(size or (None, None)), model.input_shape[-1])
        # The variables of TensorFlow, not what Keras wraps them in: the converter of LiteRT finds
        # no values for those, and writes a file that computes NaN.
        self.weights = [variable.value for variable in model.variables]

        @tf.function(input_signature=[tf.TensorSpec(self.shape, tf.float32, name=INPUT)])
        def probabilities(image: Any) -> dict[str, Any]:
            logits = model(image, training=False)
            scaled = logits if temperature == 1 else logits / temperature
            return {OUTPUT: likely(scaled)}

        self.probabilities = probabilities


class _Standardized(keras.layers.Layer):
    """(x - mean) / std, as `keras.layers.Normalization` does, its numbers part of the graph.

    That layer holds tensors, which the converter to ONNX takes for further inputs.
    """

    def __init__(self, layer: keras.layers.Normalization):
        super().__init__(name=layer.name, dtype=layer.dtype_policy)
        self.mean = np.asarray(layer.mean)
        self.std = np.maximum(np.sqrt(np.asarray(layer.variance)), keras.config.epsilon())

    def call(self, inputs: Any) -> Any:
        return (inputs - self.mean) / self.std


def _with_constants(model: keras.Model) -> keras.Model:
    """The same layers, but for those of the kind Normalization."""

    def replaced(layer: Any) -> Any:
        plain = type(layer) is keras.layers.Normalization and not layer.invert
        return _Standardized(layer) if plain else layer

    return keras.models.clone_model(model, clone_function=replaced)

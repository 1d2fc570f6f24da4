"""Pieces that the U-Net is put together from."""

from __future__ import annotations

from typing import Any, Sequence

import keras
import numpy as np
from keras import layers, ops

from segkit.models.convolutions import Conv2D
from segkit.models.normalization import BatchNormalization


@keras.saving.register_keras_serializable("segkit")
class CropToMatch(keras.layers.Layer):
    """Cuts the right and lower edge of the first input off, down to the size of the second.

    [(B, H + a, W + b, K), (B, H, W, any)] -> (B, H, W, K), with a, b >= 0.
    """

    def call(self, inputs: list[Any]) -> Any:
        large, small = inputs
        if None not in large.shape[1:3] and large.shape[1:3] == small.shape[1:3]:
            return large  # else its gradient would be copied into zeros
        height, width = ops.shape(small)[1:3]
        return large[:, :height, :width, :]

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple:
        large, small = input_shape
        return (large[0], small[1], small[2], large[3])


@keras.saving.register_keras_serializable("segkit")
class PadToMultiple(keras.layers.Layer):
    """Adds zeros at the right and lower edge, up to the next multiple of a number.

    (B, H, W, K) -> (B, m ceil(H / m), m ceil(W / m), K).

    Args:
        multiple: m, from 1.
    """

    def __init__(self, multiple: int, **options: Any):
        super().__init__(**options)
        self.multiple = multiple

    def call(self, inputs: Any) -> Any:
        # Not -size % m: the converter to ONNX rounds towards 0 when it divides.
        m = self.multiple
        height, width = ((m - size % m) % m for size in ops.shape(inputs)[1:3])
        padded = ops.pad(inputs, ((0, 0), (0, height), (0, width), (0, 0)))
        # TensorFlow forgets the number of channels, and LiteRT cannot convolve without it.
        return ops.reshape(padded, (*ops.shape(padded)[:3], inputs.shape[-1]))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        batch, *sizes, channels = input_shape
        padded = (None if size is None else size + -size % self.multiple for size in sizes)
        return (batch, *padded, channels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "multiple": self.multiple}


def normalized(image: Any, mean: Sequence[float] | None, std: Sequence[float] | None) -> Any:
    """(x - mean) / std of each channel, in float32 whatever the precision; the layer `image_norm`.

    Args:
        image: (B, H, W, K).
        mean, std: (K,) each; both None: the image as it is.

    Raises:
        ValueError: if they are not one number a channel each.
    """
    if mean is None and std is None:
        return image
    mean, variance = np.asarray(mean, "float64"), np.square(np.asarray(std, "float64"))
    channels = image.shape[-1]
    if mean.shape != (channels,) or variance.shape != (channels,) or not (variance > 0).all():
        raise ValueError(
            f"mean and std need one number a channel, {channels} here, and std above 0. "
            f"Received: mean {mean.tolist()}, std {np.asarray(std).tolist()}."
        )
    # Not in bfloat16: its eight bits are what an image of 16 bits has more than one of 8.
    return layers.Normalization(
        mean=mean.tolist(), variance=variance.tolist(), dtype="float32", name="image_norm"
    )(image)


def two_convolutions(x: Any, filters: int, normalization: str, name: str) -> Any:
    """Twice: 3x3 convolution, normalisation, ReLU.

    Args:
        x: (B, H, W, any).
        filters: channels of what comes out, (B, H, W, filters).
        normalization: "batch" or "none".
        name: the names of the layers start with it.
    """
    for step in ("a", "b"):
        # A bias would be cancelled by the normalization that follows.
        x = Conv2D(
            filters,
            3,
            padding="same",
            use_bias=normalization == "none",
            kernel_initializer="he_normal",
            name=f"{name}_conv_{step}",
        )(x)
        if normalization == "batch":
            x = BatchNormalization(momentum=0.9, name=f"{name}_norm_{step}")(x)
        x = layers.Activation("relu", name=f"{name}_relu_{step}")(x)
    return x


def attention_gate(skip: Any, gating: Any, filters: int, name: str) -> Any:
    """Additive attention: how much of the skip goes through, decided at each pixel.

        skip * sigmoid(psi . relu(W_x skip + W_g gating + b_g) + b_psi)

    with 1x1 convolutions W_x, W_g of `filters` channels, and psi of one.

    Args:
        skip: (B, H, W, any); what comes out has its shape.
        gating: (B, H, W, any), the features from below.
        filters: of the sum, from 1.
        name: the names of the layers start with it.

    Ref: Oktay et al. 2018, arXiv:1804.03999, eq. 1 and 2. Differs: the gating features were
    up-sampled by the decoder before, so that the gate has the size of the skip and needs no
    resampling of its own.
    """
    x = layers.Add(name=f"{name}_sum")(
        [
            Conv2D(filters, 1, use_bias=False, name=f"{name}_skip")(skip),
            Conv2D(filters, 1, name=f"{name}_below")(gating),
        ]
    )
    x = layers.Activation("relu", name=f"{name}_relu")(x)
    x = Conv2D(1, 1, activation="sigmoid", name=f"{name}_share")(x)
    return layers.Multiply(name=f"{name}_out")([skip, x])

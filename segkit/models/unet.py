"""The U-Net, of any depth and width, for images of any size."""

from __future__ import annotations

from typing import Any, Sequence

import keras
import numpy as np
from keras import layers, ops

from segkit.contract import whole_number
from segkit.models.normalization import BatchNormalization

NORMALIZATIONS = ("batch", "none")


def unet(
    input_shape: tuple[int | None, int | None, int] = (None, None, 3),
    num_classes: int = 4,
    filters: int = 32,
    depth: int = 4,
    normalization: str = "batch",
    name: str = "unet",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> keras.Model:
    """Builds a U-Net that maps images (B, H, W, K) to float32 logits (B, H, W, C).

    `depth` times down: two 3x3 convolutions with ReLU, then 2x2 max-pooling. Two more
    convolutions at the bottom, then `depth` times up: 2x2 transposed convolution, the features of
    the same level joined on, two 3x3 convolutions. Level d has filters * 2^d channels. A 1x1
    convolution gives the logits.

    H and W may be anything from 1 on: pooling rounds odd sizes up, and the way up is cropped back
    to the size of its level.

    Args:
        input_shape: (H, W, K); None where the size varies from batch to batch.
        num_classes: C.
        filters: channels of the first level.
        depth: number of poolings, from 0.
        normalization: "batch" or "none", behind each 3x3 convolution.
        name: of the model.
        mean, std: of the channels of the images, (K,) each. With them, the first layer turns x
            into (x - mean) / std, in float32 whatever the precision, and is saved with the model.

    Raises:
        ValueError: if a number is not a whole number in its range, the choice is unknown, or mean
            and std are not one number a channel each.

    Ref: Ronneberger et al. 2015, arXiv:1505.04597. Differs: padded convolutions, so that the
    logits are as large as the image.
    """
    for what, value, least in (
        ("num_classes", num_classes, 1),
        ("filters", filters, 1),
        ("depth", depth, 0),
    ):
        whole_number(what, value, least)
    if len(input_shape) != 3 or not input_shape[-1]:
        raise ValueError(
            f"unet needs input_shape (H, W, K) with a number of channels K; H and W may be None. "
            f"Received: {tuple(input_shape)}."
        )
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}. "
            f"Received: {normalization!r}."
        )
    image = keras.Input(tuple(input_shape), name="image")
    x, skips = _normalized(image, mean, std), []
    for level in range(depth):
        x = _two_convolutions(x, filters * 2**level, normalization, f"down{level}")
        skips.append(x)
        x = layers.MaxPooling2D(2, padding="same", name=f"down{level}_pool")(x)
    x = _two_convolutions(x, filters * 2**depth, normalization, "bottom")
    for level, skip in reversed(list(enumerate(skips))):
        x = layers.Conv2DTranspose(filters * 2**level, 2, strides=2, name=f"up{level}")(x)
        x = CropToMatch(name=f"up{level}_crop")([x, skip])
        x = layers.Concatenate(name=f"up{level}_join")([skip, x])
        x = _two_convolutions(x, filters * 2**level, normalization, f"up{level}")
    # Losses and argmax need more than the eight bits of bfloat16.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


@keras.saving.register_keras_serializable("segkit")
class CropToMatch(keras.layers.Layer):
    """Cuts the right and lower edge of the first input off, down to the size of the second.

    [(B, H + a, W + b, K), (B, H, W, any)] -> (B, H, W, K), with a, b >= 0.
    """

    def call(self, inputs: list[Any]) -> Any:
        large, small = inputs
        height, width = ops.shape(small)[1:3]
        return large[:, :height, :width, :]

    def compute_output_shape(self, input_shape: list[tuple]) -> tuple:
        large, small = input_shape
        return (large[0], small[1], small[2], large[3])


def _normalized(image: Any, mean: Sequence[float] | None, std: Sequence[float] | None) -> Any:
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


def _two_convolutions(x: Any, filters: int, normalization: str, name: str) -> Any:
    for step in ("a", "b"):
        # A bias would be cancelled by the normalization that follows.
        x = layers.Conv2D(
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

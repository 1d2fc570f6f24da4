"""The U-Net, of any depth and width, with any encoder, for images of any size."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import layers

from segkit.contract import share, whole_number
from segkit.models import encoders
from segkit.models.blocks import (
    CropToMatch,
    PadToMultiple,
    attention_gate,
    normalized,
    two_convolutions,
)
from segkit.models.convolutions import Conv2DTranspose

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
    *,
    encoder: str | None = None,
    weights: str | None = None,
    attention: bool = False,
    dropout: float = 0.0,
) -> keras.Model:
    """Builds a U-Net that maps images (B, H, W, K) to float32 logits (B, H, W, C).

    `depth` times down: two 3x3 convolutions with ReLU, then 2x2 max-pooling. Two more
    convolutions at the bottom, then `depth` times up: 2x2 transposed convolution, the features of
    the same level joined on, two 3x3 convolutions. Level d has filters * 2^d channels. A 1x1
    convolution gives the logits.

    With an encoder, the way down is a backbone of keras.applications, its layers called
    `encoder_...`: the last features of stride 2^d are those of level d, and the deepest ones the
    bottom. The levels that a backbone has nothing for, 0 and the 1 of ConvNeXt, join nothing on.

    H and W may be anything from 1 on: pooling rounds odd sizes up, and the way up is cropped back
    to the size of its level. For an encoder, the image is padded to multiples of 2^depth.

    Args:
        input_shape: (H, W, K); None where the size varies from batch to batch.
        num_classes: C.
        filters: channels of the first level.
        depth: number of halvings, from 0; with an encoder from 1 (ConvNeXt: 2) to 5.
        normalization: "batch" or "none", behind each 3x3 convolution that is not the encoder's.
        name: of the model.
        mean, std: of the channels of the images, (K,) each. With them, the first layer turns x
            into (x - mean) / std, in float32 whatever the precision, and is saved with the model.
            An encoder without them normalises as its family does; with weights it must.
        encoder: None, or one of `segkit.models.ENCODERS`.
        weights: of the encoder: None for random ones, "imagenet", or a file of them.
        attention: whether a gate decides, pixel by pixel, how much of the features is joined on.
        dropout: share of the channels at the bottom that each training step sets to 0.

    Raises:
        ValueError: if a number is not in its range, a choice is unknown, mean and std are not one
            number a channel each or contradict the weights, or the weights cannot be had.

    Ref: Ronneberger et al. 2015, arXiv:1505.04597; Oktay et al. 2018, arXiv:1804.03999. Differs:
    padded convolutions, so that the logits are as large as the image.
    """
    _check(input_shape, num_classes, filters, depth, normalization)
    _check_options(attention, dropout)
    if encoder is not None:
        encoder = encoders.known(encoder)
    _check_weights(encoder, weights, mean, std)
    image = keras.Input(tuple(input_shape), name="image")
    if encoder is None:
        x = normalized(image, mean, std)
        x, skips = _down(x, filters, depth, normalization)
    else:
        if mean is None and std is None:
            mean, std = encoders.preprocessing(encoder, image.shape[-1])
        x = PadToMultiple(2**depth, name="image_pad")(normalized(image, mean, std))
        skips = encoders.features(encoder, image, x, depth, weights)
        x = skips.pop(depth)
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    for level in reversed(range(depth)):
        x = _up(x, skips.get(level), filters * 2**level, normalization, attention, f"up{level}")
    if encoder is not None:
        x = CropToMatch(name="logits_crop")([x, image])
    # Losses and argmax need more than the eight bits of bfloat16.
    logits = layers.Conv2D(num_classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def _down(x: Any, filters: int, depth: int, normalization: str) -> tuple[Any, dict[int, Any]]:
    skips = {}
    for level in range(depth):
        x = two_convolutions(x, filters * 2**level, normalization, f"down{level}")
        skips[level] = x
        x = layers.MaxPooling2D(2, padding="same", name=f"down{level}_pool")(x)
    return two_convolutions(x, filters * 2**depth, normalization, "bottom"), skips


def _up(
    x: Any, skip: Any | None, filters: int, normalization: str, attention: bool, name: str
) -> Any:
    x = Conv2DTranspose(filters, 2, strides=2, name=name)(x)
    if skip is not None:
        x = CropToMatch(name=f"{name}_crop")([x, skip])
        if attention:
            skip = attention_gate(skip, x, max(1, filters // 2), f"{name}_gate")
        x = layers.Concatenate(name=f"{name}_join")([skip, x])
    return two_convolutions(x, filters, normalization, name)


def _check(
    input_shape: Sequence[int | None], num_classes: int, filters: int, depth: int, chosen: str
) -> None:
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
    if chosen not in NORMALIZATIONS:
        raise ValueError(
            f"normalization must be one of {', '.join(NORMALIZATIONS)}. Received: {chosen!r}."
        )


def _check_options(attention: bool, dropout: float) -> None:
    if not isinstance(attention, bool):
        raise ValueError(f"attention must be true or false. Received: {attention!r}.")
    if share("dropout", dropout) == 1:
        raise ValueError("dropout must be below 1, which would leave nothing. Received: 1.")


def _check_weights(
    encoder: str | None, weights: str | None, mean: object | None, std: object | None
) -> None:
    if weights is None:
        return
    if encoder is None:
        raise ValueError(
            "weights are those of an encoder, and the plain U-Net has none. Received: "
            f"weights={weights!r}, encoder=null. Set model.encoder, or model.weights=null."
        )
    if mean is not None or std is not None:
        raise ValueError(
            f"The weights of {encoder} were learnt on images normalised its own way, which the "
            f"model does by itself. Received: mean {mean}, std {std} on top. Set "
            "normalization=none, or model.weights=null to normalise otherwise."
        )

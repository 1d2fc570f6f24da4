"""The backbones of keras.applications as encoders of the U-Net, with or without ImageNet weights.

A backbone is built by Keras, cut at its last features of each stride, and built again on the image
of the U-Net: with our batch normalisation, any number of channels, and `encoder_` before the name
of each layer. What its weights expect of an image is told by `preprocessing`.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
from collections import Counter
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from segkit.models.normalization import BatchNormalization
from segkit.models.pretrained import pretrained

log = logging.getLogger(__name__)

PREFIX = "encoder_"
STRIDES = (2, 4, 8, 16, 32)
# Halves to whole numbers five times; the size of the ImageNet weights, without a warning of Keras.
SIZE = 224


class _Family(NamedTuple):
    mean: tuple[float, float, float]  # of RGB images in [0, 1], as are
    std: tuple[float, float, float]  # the numbers that the weights were learnt with
    blue_first: bool  # whether they were learnt on BGR
    file: str  # of the ImageNet weights; {name} is what Keras calls the model, {size} its variant


_RGB = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PLUS_MINUS_ONE = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
# 255 x / 128 - 1
_BY_128 = (128 / 255, 128 / 255, 128 / 255), (128 / 255, 128 / 255, 128 / 255)
# 255 x - mean, of images in BGR; here in RGB.
_CAFFE = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)
_RESNET = "{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_MOBILENET = "weights_mobilenet_v3_{size}_224_1.0_float_no_top_v2.h5"

# Stem of the classes of keras.applications, their variants, what the family has in common.
_FAMILIES = (
    ("EfficientNetV2", ("B0", "B1", "B2", "B3"), _Family(*_RGB, False, "{name}_notop.h5")),
    ("EfficientNetV2", ("S", "M", "L"), _Family(*_BY_128, False, "{name}_notop.h5")),
    ("ResNet", ("50", "101", "152"), _Family(*_CAFFE, True, _RESNET)),
    ("ResNet", ("50V2", "101V2", "152V2"), _Family(*_PLUS_MINUS_ONE, False, _RESNET)),
    ("MobileNetV3", ("Small", "Large"), _Family(*_PLUS_MINUS_ONE, False, _MOBILENET)),
    (
        "ConvNeXt",
        ("Tiny", "Small", "Base", "Large", "XLarge"),
        _Family(*_RGB, False, "{name}_notop.h5"),
    ),
)
_CHOICES = {
    f"{stem}{size}".lower(): (f"{stem}{size}", size.lower(), family)
    for stem, sizes, family in _FAMILIES
    for size in sizes
}
ENCODERS = tuple(_CHOICES)


def known(encoder: str) -> str:
    """The name of an encoder as in `ENCODERS`; case, hyphens and underscores do not matter.

    Raises:
        ValueError: if there is none of this name.
    """
    name = re.sub("[-_]", "", encoder).lower() if isinstance(encoder, str) else encoder
    if name not in ENCODERS:
        raise ValueError(
            f"encoder must be null, for the plain U-Net, or one of {', '.join(ENCODERS)}. "
            f"Received: {encoder!r}."
        )
    return name


def preprocessing(encoder: str, channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation, (K,) each, that images in [0, 1] are to be normalised with.

    They are the family's own, with 3 channels; else their means over the three, for each channel.

    Args:
        encoder: one of `ENCODERS`.
        channels: K.
    """
    family = _CHOICES[encoder][2]
    if channels == 3:
        return list(family.mean), list(family.std)
    return [float(np.mean(family.mean))] * channels, [float(np.mean(family.std))] * channels


def features(
    encoder: str, image: Any, prepared: Any, depth: int, weights: str | None = None
) -> dict[int, Any]:
    """Builds the encoder on an image; level d -> its last features of stride 2^d, d up to `depth`.

    The moving statistics of its batch normalisations have a momentum of 0.9, as those of the plain
    U-Net: the 0.99 and 0.999 of some backbones need thousands of steps.

    Args:
        encoder: one of `ENCODERS`.
        image: the input of the model, (B, H, W, K).
        prepared: made of it, normalised and padded to multiples of 2^depth.
        depth: the level of the deepest features, up to 5.
        weights: None: random ones; "imagenet"; or a file. Learnt on 3 channels; with any other K,
            each channel of the first convolution takes the sum of the three, divided by K.

    Raises:
        ValueError: if the encoder has no features of this level, or its weights are not there.
    """
    source = _backbone(encoder, weights)
    taps = _last_of_each_stride(source)
    if depth not in taps:
        raise ValueError(
            f"depth with the encoder {encoder} must be a whole number from {min(taps)} to "
            f"{max(taps)}: its features have strides {', '.join(str(2**d) for d in taps)}, of "
            f"which the largest used is 2^depth. Received: {depth}."
        )
    used = [level for level in taps if level <= depth]
    cut = keras.Model(source.input, [taps[level] for level in used])
    pairs: list[tuple[Any, Any]] = []

    def call(operation: Any, *arguments: Any, **options: Any) -> Any:
        return operation(*(prepared if a is image else a for a in arguments), **options)

    built = keras.models.clone_model(cut, image, clone_function=_copier(pairs), call_function=call)
    if weights is not None:
        _copy_weights(pairs, image.shape[-1], _CHOICES[encoder][2].blue_first)
        if image.shape[-1] != 3:
            log.info(
                "The weights of %s were learnt on 3 channels. With %d, each channel of its first "
                "convolution takes the sum of the three, divided by %d.",
                *(encoder, image.shape[-1], image.shape[-1]),
            )
    log.info("Encoder %s: %s parameters.", encoder, f"{built.count_params():,}")
    return dict(zip(used, built.outputs))


def _last_of_each_stride(backbone: keras.Model) -> dict[int, Any]:
    """Level -> tensor. Padded features are of no stride; neither are gates, of one pixel."""
    found = {}
    for operation in backbone.operations:
        shape = operation.output.shape
        for level, stride in enumerate(STRIDES, start=1):
            if len(shape) == 4 and shape[1:3] == (SIZE // stride, SIZE // stride):
                found[level] = operation.output
    return dict(sorted(found.items()))


def _copier(pairs: list[tuple[Any, Any]]) -> Any:
    """A function that makes a new layer like a given one, and notes the two as a pair."""
    counts: Counter[str] = Counter()

    def copied(old: Any) -> Any:
        name = re.sub(r"_\d+$", "", old.name)
        if name.replace("_", "") == type(old).__name__.lower():
            # Keras counts these over all models of the process: they would differ from run to run.
            counts[name] += 1
            name = f"{name}_{counts[name]}"
        else:
            name = old.name
        if isinstance(old, keras.Sequential):
            return keras.Sequential([copied(inner) for inner in old.layers], name=PREFIX + name)
        return _like(old, PREFIX + name)

    def noted(old: Any) -> Any:
        pairs.append((old, copied(old)))
        return pairs[-1][1]

    return noted


def _like(old: Any, name: str) -> Any:
    config = {**old.get_config(), "name": name}
    if isinstance(old, layers.BatchNormalization):
        config["momentum"] = 0.9
        del config["synchronized"]  # left to our class
        return BatchNormalization.from_config(config)
    if isinstance(old, layers.Conv2D) and 1 < old.groups == old.filters:
        # What ConvNeXt convolves by channel: 8 to 24 times as fast this way on a CPU.
        return layers.DepthwiseConv2D(
            old.kernel_size,
            old.strides,
            old.padding,
            use_bias=old.use_bias,
            depthwise_initializer=config["kernel_initializer"],
            dtype=config["dtype"],
            name=name,
        )
    return type(old).from_config(config)


def _copy_weights(pairs: list[tuple[Any, Any]], channels: int, blue_first: bool) -> None:
    pairs = [(old, new) for old, new in pairs if getattr(old, "weights", None)]
    for at, (old, new) in enumerate(pairs):
        kernel, *others = old.get_weights()
        if at == 0 and channels != 3:
            kernel = np.repeat(kernel.sum(axis=2, keepdims=True) / channels, channels, axis=2)
        elif at == 0 and blue_first:
            kernel = kernel[:, :, ::-1]
        elif isinstance(new, layers.DepthwiseConv2D) and not isinstance(old, type(new)):
            kernel = kernel.transpose(0, 1, 3, 2)
        new.set_weights([kernel, *others])


def _backbone(encoder: str, weights: str | None) -> keras.Model:
    name, size, family = _CHOICES[encoder]
    make = getattr(keras.applications, name)
    known_options = inspect.signature(make).parameters
    options: dict[str, Any] = {"include_top": False, "input_shape": (SIZE, SIZE, 3)}
    if "include_preprocessing" in known_options:
        options["include_preprocessing"] = False
    if weights is None:
        return make(weights=None, **options)
    file = family.file.format(name=known_options["name"].default, size=size)
    return pretrained(functools.partial(make, **options), weights, encoder, file)

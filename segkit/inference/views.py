"""A model as a function of a batch of images: all views of it that were asked for, averaged."""

from __future__ import annotations

from typing import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

# Name -> the views, each (quarter turns, mirrored).
VIEWS = {
    "none": ((0, False),),
    "flips": ((0, False), (0, True), (2, False), (2, True)),
    "rotations": tuple((turns, mirrored) for turns in range(4) for mirrored in (False, True)),
}


def compiled(
    model: keras.Model, views: str = "none", temperature: float = 1.0, *, exclusive: bool = True
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a batch of images to probabilities.

        p = mean over views v of v^-1(softmax(model(v(image)) / T))

    Args:
        model: from images (B, H, W, K), float32 in [0, 1], to logits (B, H, W, C).
        views: none; flips: the image, mirrored at either axis and at both; rotations: those
            turned by a quarter, too.
        temperature: T.
        exclusive: False: classes may overlap, with a sigmoid for each in place of the softmax.

    Returns:
        a function of uint8, or float32 in [0, 1], (B, H, W, K) -> float32 (B, H, W, C).

    Raises:
        ValueError: if there are no such views.
    """
    if views not in VIEWS:
        raise ValueError(f"tta must be one of {', '.join(VIEWS)}. Received: {views!r}.")

    likely = tf.nn.softmax if exclusive else tf.nn.sigmoid

    def probabilities(images: tf.Tensor) -> tf.Tensor:
        images = tf.cast(images, "float32") / (255 if images.dtype == tf.uint8 else 1)
        total = 0.0
        for turns, mirrored in VIEWS[views]:
            seen = tf.image.flip_left_right(images) if mirrored else images
            logits = tf.cast(model(tf.image.rot90(seen, turns), training=False), "float32")
            found = tf.image.rot90(likely(logits / temperature), -turns % 4)
            total += tf.image.flip_left_right(found) if mirrored else found
        return total / len(VIEWS[views])

    shape = (None, None, None, model.input_shape[-1])
    traced = {
        kind: tf.function(probabilities, [tf.TensorSpec(shape, kind)])
        for kind in ("uint8", "float32")
    }

    def run(images: np.ndarray) -> np.ndarray:
        kind = "uint8" if images.dtype == np.uint8 else "float32"
        return traced[kind](tf.convert_to_tensor(images, kind)).numpy()

    return run


def averaged(
    functions: Sequence[Callable[[np.ndarray], np.ndarray]],
) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of what several of them say."""
    if len(functions) == 1:
        return functions[0]

    def run(images: np.ndarray) -> np.ndarray:
        total = functions[0](images)
        for function in functions[1:]:
            total = total + function(images)
        return total / np.float32(len(functions))

    return run

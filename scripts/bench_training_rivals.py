"""The same U-Net and the same step in segkit and in stock Keras, for `bench_training.py`.

Libraries are imported where they are used: no process loads more than the one it measures.
"""

from __future__ import annotations

import os
from typing import Any, Callable, Iterator, NamedTuple

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


class Shape(NamedTuple):
    """Of the images, (batch, size, size, 3), and of the U-Net."""

    batch: int
    size: int
    filters: int
    depth: int
    classes: int


class Trainer(NamedTuple):
    """Something that trains: `steps(n)` comes back when n steps are done, on the device too."""

    steps: Callable[[int], None]
    device: str
    device_memory: Callable[[], float | None] = lambda: None  # peak, MiB
    note: str = ""


class Unavailable(Exception):
    """Why something cannot be measured here."""


def convolutions(shape: Shape) -> Iterator[tuple[int, int, int, int, int]]:
    """(height and width of what comes out, kernel, K in, K out, stride up) of each convolution."""
    levels = [(shape.size >> d, shape.filters << d) for d in range(shape.depth + 1)]
    before = 3
    for size, filters in levels:
        yield size, 3, before, filters, 1
        yield size, 3, filters, filters, 1
        before = filters
    for size, filters in reversed(levels[:-1]):
        yield size, 2, 2 * filters, filters, 2
        yield size, 3, 2 * filters, filters, 1
        yield size, 3, filters, filters, 1
    yield shape.size, 1, shape.filters, shape.classes, 1


def training_flops(shape: Shape) -> float:
    """Operations an image: forward, and both gradients of each convolution but the first's input.

    2 H W k^2 K_in K_out each, with H and W of the smaller side.
    """
    flops = [
        2 * (size // up) ** 2 * kernel**2 * k_in * k_out
        for size, kernel, k_in, k_out, up in convolutions(shape)
    ]
    return 3.0 * sum(flops) - flops[0]


def random_data(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 (B, H, W, 3) in [0, 1), and labels, int32 (B, H, W)."""
    rng = np.random.default_rng(0)
    size = (shape.batch, shape.size, shape.size)
    return rng.random((*size, 3), np.float32), rng.integers(0, shape.classes, size, np.int32)


# Keras


def segkit_loop(shape: Shape) -> Trainer:
    """The step of `segkit train`, with the loss that the others have, and no scores."""
    from segkit import losses

    return _loop(shape, losses.CrossEntropy(), lambda: [])


def run(shape: Shape) -> Trainer:
    """The step of `segkit train` as it comes: marginal cross-entropy and Dice, scores counted."""
    from segkit import metrics
    from segkit.config import build, compose

    loss, names = build(compose("train").loss), [f"class {c}" for c in range(shape.classes)]
    return _loop(shape, loss, lambda: [metrics.MeanIoU(names), metrics.ClassLosses(loss, names)])


def _loop(shape: Shape, loss: Any, scores: Callable[[], list[Any]]) -> Trainer:
    import keras

    if keras.backend.backend() != "tensorflow":
        raise Unavailable("segkit's own step needs the backend tensorflow")
    import tensorflow as tf

    from segkit import devices, models
    from segkit.config import build, compose
    from segkit.loop import Loop

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    precision = devices.set_precision("auto")
    model = models.unet((None, None, 3), shape.classes, shape.filters, shape.depth)
    model.compile(build(compose("train").optimizer, learning_rate=1e-3), loss)
    images, labels = random_data(shape)
    target = tf.cast(tf.one_hot(labels, shape.classes), tf.int8)
    batch = (images, target, tf.ones(shape.batch), tf.constant([shape.batch] * 2))
    loop = Loop(model, scores)
    batches = iter(loop.feed(lambda shards: tf.data.Dataset.from_tensors(batch).repeat()))

    def steps(count: int) -> None:
        for _ in range(count):
            loop.train(batches)
        model.trainable_variables[0].numpy()  # waits until the last gradient is there

    return _keras_trainer(steps, "" if precision == "bfloat16" else precision)


def keras_fit(shape: Shape) -> Trainer:
    """Keras' defaults."""
    return _fit(shape, keras_unet, "float32", "auto")


def keras_fit_xla(shape: Shape) -> Trainer:
    """Keras' defaults, compiled by XLA whatever `auto` says."""
    return _fit(shape, keras_unet, "float32", True)


def keras_fit_bfloat16(shape: Shape) -> Trainer:
    """Keras in mixed precision."""
    return _fit(shape, keras_unet, "mixed_bfloat16", False)


def segkit_fit(shape: Shape) -> Trainer:
    """Keras' fit on segkit's U-Net, on any backend of Keras."""
    from segkit import models

    return _fit(shape, models.unet, "mixed_bfloat16", "auto")


def _fit(shape: Shape, make: Callable[..., Any], policy: str, jit: bool | str) -> Trainer:
    import keras
    import tensorflow as tf

    if keras.backend.backend() == "jax":
        tf.config.set_visible_devices([], "GPU")
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = make((None, None, 3), shape.classes, shape.filters, shape.depth)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, jit_compile=jit)
    batches = tf.data.Dataset.from_tensors(random_data(shape)).repeat()

    def steps(count: int) -> None:
        model.fit(batches, steps_per_epoch=count, verbose=0)
        keras.ops.convert_to_numpy(model.trainable_variables[0])

    note = f"jit_compile=auto is {model.jit_compile}" if jit == "auto" else ""
    return _keras_trainer(steps, note)


def keras_unet(input_shape: tuple, classes: int, filters: int, depth: int) -> Any:
    """The U-Net of `segkit.models.unet`, of the layers that Keras comes with."""
    from keras import Input, Model, layers

    def twice(x: Any, channels: int) -> Any:
        for _ in range(2):
            initial = "he_normal"
            x = layers.Conv2D(channels, 3, 1, "same", use_bias=False, kernel_initializer=initial)(x)
            x = layers.Activation("relu")(layers.BatchNormalization(momentum=0.9)(x))
        return x

    image = x = Input(input_shape)
    skips = []
    for level in range(depth):
        skips.append(twice(x, filters << level))
        x = layers.MaxPooling2D()(skips[-1])
    x = twice(x, filters << depth)
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(filters << level, 2, 2)(x)
        x = twice(layers.Concatenate()([skips[level], x]), filters << level)
    return Model(image, layers.Conv2D(classes, 1, dtype="float32")(x))


def _keras_trainer(steps: Callable[[int], None], note: str = "") -> Trainer:
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        memory = lambda: (device.memory_stats() or {}).get("peak_bytes_in_use", 0)  # noqa: E731
        gpu = device.platform == "gpu"
    elif backend == "torch":
        import torch

        memory, gpu = torch.cuda.max_memory_allocated, torch.cuda.is_available()
    else:
        import tensorflow as tf

        memory = lambda: tf.config.experimental.get_memory_info("GPU:0")["peak"]  # noqa: E731
        gpu = bool(tf.config.list_physical_devices("GPU"))
    notes = filter(None, ("" if backend == "tensorflow" else backend, note))
    peak = (lambda: memory() / 2**20) if gpu else (lambda: None)
    return Trainer(steps, "GPU" if gpu else "CPU", peak, ", ".join(notes))


# What the machine can do


def gemm_flops(device: str) -> float:
    """Operations of one product of square matrices."""
    return 2.0 * gemm_size(device) ** 3


def gemm_size(device: str) -> int:
    """Rows and columns of the matrices."""
    return 8192 if device == "GPU" else 2048


def keras_gemm(precision: str, shape: Shape) -> Trainer:
    """Products of matrices, on any backend of Keras."""
    import keras

    trainer = _keras_trainer(lambda count: None)
    rng, size = np.random.default_rng(0), gemm_size(trainer.device)
    a, b = (keras.ops.convert_to_tensor(rng.random((size, size)), precision) for _ in range(2))

    def steps(count: int) -> None:
        for _ in range(count):
            product = keras.ops.matmul(a, b)
        keras.ops.convert_to_numpy(keras.ops.cast(product[:1, :1], "float32"))

    return trainer._replace(steps=steps)

"""The same files through a PyTorch DataLoader, and through tf.data as Keras' own loader has it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Callable, Iterable, Sequence

import albumentations
import numpy as np
import tensorflow as tf
from PIL import Image

Files = Sequence[tuple[Path, Path]]  # images and masks


def torch_loader(
    files: Files,
    size: tuple[int, int],
    transforms: Sequence[albumentations.BasicTransform],
    batch_size: int,
    workers: int,
) -> Callable[[int], Iterable]:
    """Epochs -> batches (float32 (B, 3, H, W) in [0, 1], int64 (B, H, W)), as one would write it.

    PIL decodes and resizes, worker processes that stay from epoch to epoch augment and collate.

    Raises:
        ImportError: without PyTorch.
    """
    import torch

    class Pairs(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
            with Image.open(files[index][0]) as opened:
                image = opened.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
            with Image.open(files[index][1]) as opened:
                mask = opened.resize(size[::-1], Image.Resampling.NEAREST)
            found = compose(image=np.array(image), mask=np.array(mask))
            image = torch.from_numpy(np.ascontiguousarray(found["image"].transpose(2, 0, 1)))
            return image.float() / 255, torch.from_numpy(np.ascontiguousarray(found["mask"])).long()

    compose = albumentations.Compose(list(transforms))
    loader = torch.utils.data.DataLoader(
        Pairs(), batch_size, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda epochs: (batch for _ in range(epochs) for batch in loader)


def keras_style(
    files: Files, size: tuple[int, int], batch_size: int
) -> Callable[[int], tf.data.Dataset]:
    """Epochs -> batches (float32 (B, H, W, 3) in [0, 1], uint8 (B, H, W, 1)).

    The operations of `keras.utils.image_dataset_from_directory`, for images and masks: everything
    is decoded, resized and augmented in the graph, by tf.image, where albumentations cannot run.
    """

    def load(image_path: tf.Tensor, mask_path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.io.decode_image(tf.io.read_file(image_path), 3, expand_animations=False)
        mask = tf.io.decode_image(tf.io.read_file(mask_path), 1, expand_animations=False)
        image = tf.image.resize(image, size) / 255
        return image, tf.image.resize(mask, size, "nearest")

    def augment(image: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        for axis in (0, 1):
            if tf.random.uniform([]) < 0.5:
                image, mask = tf.reverse(image, [axis]), tf.reverse(mask, [axis])
        if tf.random.uniform([]) < 0.5:
            image = tf.image.random_contrast(tf.image.random_brightness(image, 0.1), 0.9, 1.1)
            image = tf.clip_by_value(image, 0, 1)
        return image, mask

    def start(epochs: int) -> tf.data.Dataset:
        order = random.sample(range(len(files)), len(files))
        paths = tuple([str(files[i][part]) for i in order] for part in (0, 1))
        listed = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(files)).repeat(epochs)
        loaded = listed.map(load, num_parallel_calls=tf.data.AUTOTUNE)
        augmented = loaded.map(augment, num_parallel_calls=tf.data.AUTOTUNE)
        return augmented.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    return start

"""From the config to a compiled model: what can be trained, precision, normalization, network."""

from __future__ import annotations

import logging
from typing import Any, Mapping

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from segkit import environment, evidence, metrics
from segkit.config import build
from segkit.contract import Source, innermost, whole_number
from segkit.data.normalization import MeanAndStd
from segkit.data.pipeline import steps
from segkit.losses.compound import described

log = logging.getLogger(__name__)

UNMIXED = "segkit.data.mixing.Unmixed"
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def check(config: DictConfig) -> None:
    """Refuses numbers that cannot be trained with, by the key they were given for."""
    for key, least in (("trainer.epochs", 1), ("trainer.batch_size", 1), ("trainer.gallery", 0)):
        whole_number(key, OmegaConf.select(config, key), least)
    if config.trainer.images_per_epoch is not None:
        whole_number("trainer.images_per_epoch", config.trainer.images_per_epoch, 1)
    whole_number("seed", config.seed)
    if config.trainer.batch_size == 1 and config.mix["_target_"] != UNMIXED:
        raise ValueError(
            "Mixing takes from other images of the batch, and with trainer.batch_size=1 there are "
            f"none. Received: {config.mix['_target_']}. Set trainer.batch_size=2 or more, or "
            "mix=none."
        )
    if not isinstance(config.trainer.bounds, bool):
        raise ValueError(
            f"trainer.bounds must be true or false. Received: {config.trainer.bounds!r}."
        )


def require_batches(config: DictConfig, splits: Mapping[str, Source]) -> None:
    """Refuses data that training cannot make batches of, before anything is computed on them.

    Raises:
        ValueError: if train or val has no image, classes may overlap, or images differ in size
            and nothing mends that.
    """
    for source in splits.values():
        evidence.require_exclusive(source.labels)
    evidence.require_images(splits)
    patch = build(config.patches).size
    sizes = getattr(innermost(splits["train"]), "sizes", [])
    if patch is not None and sizes and np.all(np.max(sizes, axis=0) <= patch):
        log.warning(
            "patches.size=%s is not smaller than the images, at most %dx%d: every patch is the "
            "whole image. data.size=null cuts from the full size.",
            config.patches.size,
            *np.max(sizes, axis=0),
        )
    if patch is not None:
        return
    evidence.require_one_size("val", splits["val"])
    # The last transform may bring images to one size: a crop, a resize.
    transforms = build(config.augment).transforms
    if not any(hasattr(t, "size") or hasattr(t, "height") for t in transforms):
        evidence.require_one_size("train", splits["train"])


def prepare(seed: int, precision: str) -> str:
    """Makes TensorFlow repeatable, seeds it, and sets the precision; returns the one chosen."""
    if precision == "auto":
        precision = "bfloat16" if environment.fast_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision must be auto, {' or '.join(PRECISIONS)}. Received: {precision!r}."
        )
    keras.backend.clear_session()
    tf.get_logger().setLevel("ERROR")  # its warnings are about the traces of other models
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(PRECISIONS[precision])
    return precision


def normalise(config: DictConfig, source: Source) -> tuple[MeanAndStd | None, dict[str, Any]]:
    """Mean and standard deviation of the channels, if any, and what normalization.json says.

    Args:
        config: its groups normalization and data are used.
        source: the training split.
    """
    found = build(config.normalization).of(source)
    mean, std = (None, None) if found is None else (part.tolist() for part in found)
    value_range = config.data.get("value_range")
    content = {
        "scheme": str(config.normalization["_target_"]).rpartition(".")[2].lower(),
        "channels": source[0].image.shape[-1],
        "mean": mean,
        "std": std,
        "value_range": list(value_range) if hasattr(value_range, "__len__") else value_range,
    }
    return found, content


def assemble(
    config: DictConfig,
    source: Source,
    weights: np.ndarray,
    normalization: MeanAndStd | None = None,
) -> keras.Model:
    """The model of the config, compiled with its loss, optimizer, schedule and metrics.

    Args:
        config: its groups model, loss, optimizer, schedule and trainer are used.
        source: the training split.
        weights: of the classes in the loss, (C,).
        normalization: mean and standard deviation of the channels, for the model; None: neither.
    """
    names, trainer = source.labels.names, config.trainer
    channels = source[0].image.shape[-1]
    first = {}
    if normalization is not None:
        first = {key: part.tolist() for key, part in zip(("mean", "std"), normalization)}
    model = build(config.model, input_shape=(None, None, channels), num_classes=len(names), **first)
    loss = build(config.loss, class_weights=weights.tolist())
    total = trainer.epochs * steps(source, trainer.batch_size, trainer.images_per_epoch)
    schedule = build(
        config.schedule,
        initial_learning_rate=config.optimizer.learning_rate,
        decay_steps=total,
    )
    model.compile(
        optimizer=build(config.optimizer, learning_rate=schedule),
        loss=loss,
        metrics=[metrics.MeanIoU(names)],
        # Weighted as the loss is, of which these are the parts.
        weighted_metrics=[metrics.ClassLosses(loss, names)],
    )
    log.info("%s: %s parameters, %s", model.name, f"{model.count_params():,}", described(loss))
    return model

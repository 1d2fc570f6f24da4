"""From the config to a compiled model: what can be trained, precision, normalization, network."""

from __future__ import annotations

import functools
import logging
from typing import Any, Mapping

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from segkit import devices, evidence, metrics, optimizers, transfer
from segkit.averaging import Average
from segkit.config import build
from segkit.contract import Source, innermost, whole_number
from segkit.data.normalization import MeanAndStd
from segkit.data.pipeline import batches, steps
from segkit.loop import Loop
from segkit.losses.compound import described

log = logging.getLogger(__name__)

UNMIXED = "segkit.data.mixing.Unmixed"


def check(config: DictConfig) -> None:
    """Refuses numbers that cannot be trained with, by the key they were given for."""
    counts = {"epochs": 1, "batch_size": 1, "gallery": 0, "accumulate": 1}
    for key, least in ((f"trainer.{name}", least) for name, least in counts.items()):
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
    for key in ("bounds", "resume"):
        value = config.trainer[key]
        if not isinstance(value, bool):
            raise ValueError(f"trainer.{key} must be true or false. Received: {value!r}.")
    if config.trainer.features not in (True, False, "auto"):
        value = config.trainer.features
        raise ValueError(f"trainer.features must be true, false or auto. Received: {value!r}.")


def require_batches(config: DictConfig, splits: Mapping[str, Source]) -> None:
    """Refuses data that training cannot make batches of, before anything is computed on them.

    Raises:
        ValueError: if train or val has no image, or images differ in size and nothing mends that.
    """
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


def prepare(config: DictConfig) -> tf.distribute.Strategy:
    """Seeds everything, sets threads and precision, and returns the strategy to train with."""
    trainer = config.trainer
    devices.set_threads(trainer.threads)
    tf.get_logger().setLevel("ERROR")  # notes on strategies, warnings on traces of other models
    strategy = devices.choose_strategy(trainer.devices)
    keras.backend.clear_session()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    devices.set_precision(trainer.precision)
    return strategy


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
    strategy: tf.distribute.Strategy | None = None,
    fresh: bool = True,
) -> Loop:
    """The model of the config, compiled with its loss, optimizer and schedule, in its loop.

    Args:
        config: its groups model, loss, feature_loss, optimizer, schedule and trainer are used.
        source: the training split.
        weights: of the classes in the loss, (C,).
        normalization: mean and standard deviation of the channels, for the model; None: neither.
        strategy: of all devices; None: the one at hand.
        fresh: False if the weights come from a checkpoint, so that those of trainer.start_from
            are not wanted.
    """
    strategy, trainer = strategy or tf.distribute.get_strategy(), config.trainer
    parts = trainer.accumulate * strategy.num_replicas_in_sync
    if trainer.batch_size < parts:
        raise ValueError(
            f"A batch is cut into {parts} parts: trainer.accumulate={trainer.accumulate}, on "
            f"{strategy.num_replicas_in_sync} devices. So trainer.batch_size must be at least "
            f"{parts}. Received: {trainer.batch_size}."
        )
    with strategy.scope():
        model = _model(config, source, weights, normalization, fresh)
        extended = build(
            config.feature_loss,
            network=model,
            accumulate=trainer.accumulate,
            exclusive=source.labels.exclusive,
            weighted=True,
        )
        average = None if trainer.ema is None else Average(extended or model, trainer.ema)
    labels, loss = source.labels, model.loss

    def scores() -> list[keras.metrics.Metric]:
        # Weighted as the loss is, of which the second are the parts.
        iou = metrics.MeanIoU(labels.names, labels.exclusive)
        order = [] if labels.values is None else [metrics.OrderedErrors(labels.values)]
        return [iou, metrics.ClassLosses(loss, labels.names), *order]

    log.info("%s: %s parameters, %s", model.name, f"{model.count_params():,}", described(loss))
    return Loop(model, scores, strategy, trainer.accumulate, average, extended)


def _model(
    config: DictConfig,
    source: Source,
    weights: np.ndarray,
    normalization: MeanAndStd | None,
    fresh: bool,
) -> keras.Model:
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
    if trainer.start_from is not None and fresh:
        settings = OmegaConf.to_container(config, resolve=True)
        transfer.start_from(model, trainer.start_from, source.labels, settings)
    if trainer.freeze is not None:
        if not OmegaConf.is_list(trainer.freeze):
            raise ValueError(f"trainer.freeze is a list. Received: {trainer.freeze!r}.")
        transfer.freeze(model, trainer.freeze)
    optimizer = build(config.optimizer, learning_rate=schedule)
    for key, instead in (
        ("use_ema", "trainer.ema=0.99"),
        ("loss_scale_factor", "trainer.precision=bfloat16"),
    ):
        if getattr(optimizer, key):
            raise ValueError(
                f"optimizer.{key} has no effect here. Received: {getattr(optimizer, key)!r}. Leave "
                f"it out; what you want is {instead}."
            )
    optimizers.spare_from_decay(optimizer, model.trainable_variables)
    model.compile(optimizer=optimizer, loss=loss)
    return model


def feed(
    config: DictConfig,
    loop: Loop,
    source: Source,
    shares: np.ndarray | None = None,
    epoch: int = 0,
    step: int = 0,
    epochs: int | None = None,
) -> Any:
    """The batches that a loop trains on, from a step of an epoch to the end of the run.

    Args:
        config: its groups trainer, patches, augment and mix, and the seed, are used.
        loop: of the model.
        source: the training split.
        shares: how often an image is shown, (N,), see `segkit.data.sampling`; None: equally often.
        epoch, step: where to begin, both from 0.
        epochs: of the whole run; None: trainer.epochs.
    """
    make = functools.partial(
        batches,
        source,
        config.trainer.batch_size,
        seed=config.seed,
        epochs=(config.trainer.epochs if epochs is None else epochs) - epoch,
        first_epoch=epoch,
        first_step=step,
        shuffle=True,
        patches=build(config.patches),
        augmentation=build(config.augment),
        mixing=build(config.mix),
        shares=shares,
        images=config.trainer.images_per_epoch,
        weighted=True,
        counted=True,
    )
    return loop.feed(make, loop.parts)

"""Training: data -> weights -> model -> loss -> fit -> evaluation -> report."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import segkit
from segkit import class_weights, evaluation, metrics, report, sources
from segkit.callbacks import BestModel, Progress
from segkit.class_weights import ClassCounts
from segkit.config import build
from segkit.contract import Source
from segkit.data.pipeline import batches, steps

log = logging.getLogger(__name__)

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def run(config: DictConfig) -> float | None:
    """Does what `segkit train` does, and returns the mean IoU on known cells of the validation.

    Args:
        config: composed from `conf/train.yaml`. Everything is written to `config.output`; under
            Hydra that becomes its run folder, also in sweeps.

    Raises:
        ValueError, OSError: naming what is wrong with the config or the data.
        KeyboardInterrupt: after Ctrl-C, when the best model is safe.
    """
    started = time.time()
    if HydraConfig.initialized():
        config.output = HydraConfig.get().runtime.output_dir
    folder = sources.make_folder(config.output)
    check(config)
    logging.captureWarnings(True)
    precision = prepare(config.seed, config.trainer.precision)
    splits = sources.open_splits(config.data)
    counts = _count(splits)
    weights = _weigh(config.class_weights, counts["train"], folder)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    splits["train"].labels.to_json(folder / "labels.json")
    _write(folder / "coverage.json", {name: part.to_dict() for name, part in counts.items()})

    model = assemble(config, splits["train"], weights)
    best = fit(config, model, splits)
    blocks = _evaluate(config, splits["val"], folder)
    _write(folder / "environment.json", environment(started, precision, best))
    log.info("%s\nreport: %s", evaluation.table(blocks, "val"), report.write(folder))
    return blocks["val"]["mean_iou"]


def check(config: DictConfig) -> None:
    """Refuses numbers that cannot be trained with, by the key they were given for."""
    for key, least in (("trainer.epochs", 1), ("trainer.batch_size", 1), ("trainer.gallery", 0)):
        value = OmegaConf.select(config, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{key} must be a whole number >= {least}. Received: {value!r}.")
    if isinstance(config.seed, bool) or not isinstance(config.seed, int) or config.seed < 0:
        raise ValueError(f"seed must be a whole number >= 0. Received: {config.seed!r}.")


def prepare(seed: int, precision: str) -> str:
    """Makes TensorFlow repeatable, seeds it, and sets the precision; returns the one chosen."""
    if precision == "auto":
        precision = "bfloat16" if _fast_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision must be auto, {' or '.join(PRECISIONS)}. Received: {precision!r}."
        )
    keras.backend.clear_session()
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)
    keras.config.set_dtype_policy(PRECISIONS[precision])
    return precision


def assemble(config: DictConfig, source: Source, weights: np.ndarray) -> keras.Model:
    """The model of the config, compiled with its loss, optimizer, schedule and metrics."""
    names = source.labels.names
    channels = source[0].image.shape[-1]
    model = build(config.model, input_shape=(None, None, channels), num_classes=len(names))
    loss = build(config.loss, class_weights=weights.tolist())
    total = config.trainer.epochs * steps(source, config.trainer.batch_size)
    schedule = build(
        config.schedule,
        initial_learning_rate=config.optimizer.learning_rate,
        decay_steps=total,
    )
    model.compile(
        optimizer=build(config.optimizer, learning_rate=schedule),
        loss=loss,
        metrics=[metrics.MeanIoU(names), metrics.ClassLosses(loss, names)],
        # XLA makes training slower on processors, and Keras turns it on there by itself.
        jit_compile="auto" if tf.config.list_physical_devices("GPU") else False,
    )
    log.info("%s: %s parameters, %s", model.name, f"{model.count_params():,}", loss.name)
    return model


def fit(config: DictConfig, model: keras.Model, splits: dict[str, Source]) -> int | None:
    """Trains, keeping the best model in the run folder; returns its epoch, counted from 1.

    Raises:
        KeyboardInterrupt: after Ctrl-C, when a model is safe and the log says where.
    """
    trainer, size = config.trainer, config.trainer.batch_size
    augmentation = build(config.augment)
    train = batches(
        splits["train"],
        size,
        seed=config.seed,
        epochs=trainer.epochs,
        shuffle=True,
        augmentation=augmentation,
    )
    callbacks = {k: build(node) for k, node in config.callbacks.items() if node is not None}
    kept = [c for c in callbacks.values() if isinstance(c, BestModel)]
    if not kept:
        kept = [BestModel(Path(config.output) / "model.keras", monitor=None)]
        callbacks["last_model"] = kept[0]
    try:
        model.fit(
            train,
            epochs=trainer.epochs,
            steps_per_epoch=steps(splits["train"], size),
            validation_data=batches(splits["val"], size),
            callbacks=list(callbacks.values()),
            shuffle=False,  # the batches come in the order of their epoch already
            verbose=0,
        )
    except KeyboardInterrupt:
        _say_where(kept[0], callbacks)
        raise
    return None if kept[0].epoch is None else kept[0].epoch + 1


def environment(started: float, precision: str, best_epoch: int | None) -> dict[str, Any]:
    """What the run was made with and on, for `environment.json`."""
    return {
        "segkit": segkit.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": _cpu().get("model name", platform.processor()),
        "cores": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "precision": precision,
        "command": " ".join(sys.argv),
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)),
        "seconds": round(time.time() - started, 1),
        "best_epoch": best_epoch,
    }


def _count(splits: dict[str, Source]) -> dict[str, ClassCounts]:
    for name in ("train", "val"):
        if name not in splits or not len(splits[name]):
            raise ValueError(
                f"Training needs images in the splits train and val, and {name} has none. "
                f"Received: {({k: len(v) for k, v in splits.items()})}."
            )
    counts = {}
    for name in ("train", "val"):
        counts[name] = sources.count(splits[name])
        log.info(sources.describe(name, splits[name], counts[name]))
    return counts


def _weigh(node: DictConfig, counts: ClassCounts, folder: Path) -> np.ndarray:
    chosen = build(node, counts=counts)
    weights = class_weights.normalise(chosen, counts)
    rows = counts.to_dict()["classes"]
    for c, row in enumerate(rows):
        row |= {"weight": float(chosen[c]), "in_loss": float(weights[c])}
    scheme = str(node["_target_"]).rpartition(".")[2]
    _write(folder / "class_weights.json", {"scheme": scheme, "classes": rows})
    return weights


def _evaluate(config: DictConfig, source: Source, folder: Path) -> dict[str, Any]:
    model = keras.models.load_model(folder / "model.keras", compile=False)
    found = evaluation.evaluate(
        model, source, config.trainer.batch_size, examples=config.trainer.gallery
    )
    blocks = found.to_dict("val", source.labels)
    _write(folder / "metrics.json", blocks)
    evaluation.write_gallery(folder / "gallery", found.examples, source.labels, "val")
    return blocks


def _say_where(kept: BestModel, callbacks: dict[str, keras.callbacks.Callback]) -> None:
    for callback in callbacks.values():
        if isinstance(callback, Progress):
            callback.close()
    if kept.epoch is None:
        kept.save(None)
        log.warning(
            "Stopped by Ctrl-C before the first epoch was over. The model as it is: %s",
            kept.filepath,
        )
    else:
        log.warning(
            "Stopped by Ctrl-C. The best model, of epoch %d: %s", kept.epoch + 1, kept.filepath
        )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _cpu() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, as a dict; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _fast_bfloat16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("compute_capability", (0, 0)) >= (8, 0)
    flags = _cpu().get("flags", "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags

"""Training: data -> weights -> model -> loss -> fit -> evaluation -> report."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import re
import time
import traceback
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from segkit import (
    assembly,
    class_weights,
    environment,
    evaluation,
    evidence,
    preflight,
    report,
    sources,
)
from segkit.callbacks import BestModel
from segkit.class_weights import ClassCounts
from segkit.config import build
from segkit.contract import Source
from segkit.data.pipeline import batches, steps
from segkit.data.tiles import Tiles
from segkit.estimation import AnnotatedShare
from segkit.losses.estimated import estimated_terms

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Does what `segkit train` does, and returns the mean IoU on known cells of the validation.

    Args:
        config: composed from `conf/train.yaml`. Everything is written to `config.output`.

    Raises:
        ValueError, OSError: naming what is wrong with the config or the data.
        KeyboardInterrupt: after Ctrl-C, when a model is safe and the log says where.
    """
    started = time.time()
    assembly.check(config)
    folder = _new_folder(config.output)
    precision = assembly.prepare(config.seed, config.trainer.precision)
    splits = sources.open_splits(config.data)
    assembly.require_batches(config, splits)
    surveys = _survey(splits, config.data)
    shares = build(config.sampling)(surveys["train"].present, surveys["train"].annotated)
    weights = _weigh(config.class_weights, surveys["train"].counts, folder)
    normalization, recorded = assembly.normalise(config, splits["train"])
    _write(folder / "normalization.json", recorded)
    model = assembly.assemble(config, splits["train"], weights, normalization)
    preflight.check_exclusion(model.loss, splits["train"].labels)
    for check_loss in (preflight.check_gates, preflight.check_estimates):
        check_loss(model.loss, splits["train"].labels, surveys["train"].counts)
    callbacks, kept = _callbacks(config, model.loss, splits["train"])
    splits["train"].labels.to_json(folder / "labels.json")
    sources.write_splits(splits, folder / "splits.csv")
    _write(folder / "coverage.json", {k: found.counts.to_dict() for k, found in surveys.items()})
    OmegaConf.save(config, folder / "config.yaml", resolve=True)  # from here on it is a run
    try:
        fit(config, model, splits, callbacks, shares)
        blocks = _evaluate(config, kept.filepath, splits["val"], folder)
        _write(
            folder / "environment.json", environment.describe(started, precision, kept.epoch + 1)
        )
        page = report.write(folder)
    except KeyboardInterrupt:
        _say_where(kept)
        raise
    log.info("%s\nmodel: %s\nreport: %s", evaluation.table(blocks, "val"), kept.filepath, page)
    return blocks["val"]["mean_iou"]


def fit(
    config: DictConfig,
    model: keras.Model,
    splits: dict[str, Source],
    callbacks: list[keras.callbacks.Callback],
    shares: np.ndarray | None = None,
) -> None:
    """Trains the compiled model on the split train, with the split val to watch.

    The loss of an image is multiplied by its weight; in the split val all count alike.

    Args:
        config: its groups trainer, patches, augment and mix, and the seed, are used. With patches,
            the split val is watched in tiles of their size.
        model: compiled.
        splits: the sources train and val.
        callbacks: of Keras.
        shares: how often an image is shown, (N,), see `segkit.data.sampling`; None: equally often.

    Raises:
        ValueError: in the words of whatever went wrong while batches were loaded.
    """
    trainer, size = config.trainer, config.trainer.batch_size
    patches, images = build(config.patches), config.trainer.images_per_epoch
    train = batches(
        splits["train"],
        size,
        seed=config.seed,
        epochs=trainer.epochs,
        shuffle=True,
        patches=patches,
        augmentation=build(config.augment),
        mixing=build(config.mix),
        shares=shares,
        images=images,
        weighted=True,
    )
    watched = batches(_tiled(splits["val"], patches.size), size)
    try:
        model.fit(
            train,
            epochs=trainer.epochs,
            steps_per_epoch=steps(splits["train"], size, images),
            validation_data=watched,
            callbacks=callbacks,
            shuffle=False,  # the batches come in the order of their epoch already
            verbose=0,
        )
    except BaseException as error:
        for callback in callbacks:
            with contextlib.suppress(Exception):  # of one that had not begun
                callback.on_train_end()  # closes its files, and takes the bar off the terminal
        _stop_loading(model, error)
        # What Python raised inside tf.data arrives wrapped in notes on graph nodes.
        wrapped = r"\w*(?:Error|Exception): (.*?)(?:\nTraceback|\n\n)"
        found = re.search(wrapped, getattr(error, "message", ""), re.S)
        if isinstance(error, tf.errors.OpError) and found is not None:
            raise ValueError(found.group(1).strip()) from error
        raise


def _stop_loading(model: keras.Model, error: BaseException | None) -> None:
    """Deletes the iterators that Keras and the frames of an error hold.

    Left to the end of the process, they would wait for threads that wait for Python, for ever.
    """
    vars(model).pop("_eval_epoch_iterator", None)
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # Keras takes its own frames out of the traceback; they are those that called these.
            while frame is not None:
                try:
                    frame.clear()
                except RuntimeError:  # still running, as are all that called it
                    break
                frame = frame.f_back
        error = error.__cause__ or error.__context__
    gc.collect()


def _tiled(source: Source, size: tuple[int, int] | None) -> Source:
    return source if size is None else Tiles(source, size)


def _new_folder(path: str) -> Path:
    folder = sources.make_folder(path)
    if (folder / "config.yaml").exists():
        state = "" if (folder / "metrics.json").exists() else ", one that did not finish"
        raise FileExistsError(
            f"{folder} holds a run already{state}. Choose another folder with output=DIR, or "
            "delete it."
        )
    return folder


def _callbacks(
    config: DictConfig, loss: Any, source: Source
) -> tuple[list[keras.callbacks.Callback], BestModel]:
    """The callbacks of the config and those the loss needs, and the one that keeps a model."""
    built = [build(node) for node in config.callbacks.values() if node is not None]
    if any(estimated_terms(loss)):
        source = _tiled(source, build(config.patches).size)
    # First, so that the others find the estimates in the log.
    built.insert(0, AnnotatedShare(loss, source, seed=config.seed))
    for callback in built:
        if isinstance(callback, BestModel):
            return built, callback
    latest = BestModel(Path(config.output) / "model.keras", monitor=None)
    return [*built, latest], latest


def _survey(splits: dict[str, Source], config: DictConfig) -> dict[str, sources.Survey]:
    surveys = {}
    for name in ("train", "val"):
        surveys[name] = sources.survey(splits[name], config)
        log.info(sources.describe(name, splits[name], surveys[name].counts))
    if "test" in splits:
        log.info("test: %d images, left alone: training scores val only", len(splits["test"]))
    evidence.check_classes(splits["train"].labels, surveys["train"].counts)
    evidence.check_evidence(splits["val"].labels, surveys["val"].counts)
    return surveys


def _weigh(node: DictConfig, counts: ClassCounts, folder: Path) -> np.ndarray:
    chosen = build(node, counts=counts)
    weights = class_weights.normalise(chosen, counts)
    rows = counts.to_dict()["classes"]
    for c, row in enumerate(rows):
        row |= {"weight": float(chosen[c]), "in_loss": float(weights[c])}
    scheme = str(node["_target_"]).rpartition(".")[2]
    content = {"scheme": scheme, "at_random": counts.at_random, "classes": rows}
    _write(folder / "class_weights.json", content)
    return weights


def _evaluate(config: DictConfig, kept: Path, source: Source, folder: Path) -> dict[str, Any]:
    model = keras.models.load_model(kept, compile=False)
    found = evaluation.evaluate(
        model,
        source,
        config.trainer.batch_size,
        examples=config.trainer.gallery,
        bounds=config.trainer.bounds,
        tile=build(config.patches).size,
    )
    blocks = found.to_dict("val", source.labels)
    _write(folder / "metrics.json", blocks)
    evaluation.write_gallery(folder / "gallery", found.examples, source.labels, "val")
    return blocks


def _say_where(kept: BestModel) -> None:
    if kept.epoch is None:
        kept.save(None)
        log.warning("Stopped by Ctrl-C in the first epoch. The model as it is: %s", kept.filepath)
    else:
        best = kept.epoch + 1
        log.warning("Stopped by Ctrl-C. The best model, of epoch %d: %s", best, kept.filepath)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

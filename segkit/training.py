"""Training: data -> weights -> model -> loss -> fit -> evaluation -> report."""

from __future__ import annotations

import functools
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf

from segkit import (
    assembly,
    checkpoints,
    class_weights,
    clusters,
    devices,
    epochs,
    evidence,
    features,
    finishing,
    preflight,
    resuming,
    run_folders,
    sources,
    watching,
)
from segkit.class_weights import ClassCounts
from segkit.config import build
from segkit.contract import Source, innermost
from segkit.data.pipeline import batches, steps
from segkit.epochs import Steps
from segkit.loop import Loop
from segkit.resuming import Position, Saver

log = logging.getLogger(__name__)


def run(config: DictConfig) -> float | None:
    """Does what `segkit train` does, and returns the mean IoU on known cells of the validation.

    A run that was stopped, by whatever, goes on in its folder with the same config, and ends with
    the weights, the history and the scores it would have had.

    Args:
        config: composed from `conf/train.yaml`. Everything is written to `config.output`.

    Raises:
        ValueError, OSError: naming what is wrong with the config or the data.
        KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM (143), when all is safe.
    """
    started = time.time()
    assembly.check(config)
    clusters.join()
    if clusters.starts_workers(config):
        folder = sources.make_folder(config.output)
        with run_folders.claimed(folder):  # which the first worker takes over
            run_folders.require_free(folder, config)
        return clusters.run_on_workers(config, run)
    with clusters.in_words():
        return _start(config, started)


def _start(config: DictConfig, started: float) -> float | None:
    strategy = assembly.prepare(config)
    devices.require_same(
        strategy,
        resuming.digest(OmegaConf.to_container(config, resolve=True)),
        "The workers were given different configs. Most often it is the folder, which has the time "
        "in its name: give all of them output=DIR, on a disk they share.",
    )
    if not devices.is_chief(strategy):  # it computes, and writes nothing that lasts
        clusters.leave_the_log()
        with tempfile.TemporaryDirectory() as folder:
            return _run(config, strategy, Path(folder), started)
    folder = sources.make_folder(config.output)
    with run_folders.claimed(folder):
        run_folders.require_free(folder, config)
        return _run(config, strategy, folder, started)


def _run(
    config: DictConfig, strategy: tf.distribute.Strategy, folder: Path, started: float
) -> float | None:
    splits = sources.open_splits(config.data)
    preflight.require_fitting(build(config.loss), splits["train"].labels)
    assembly.require_batches(config, splits)
    surveys = _survey(splits, config.data)
    preflight.check_image_weights(splits["train"], *surveys["train"][1:])
    shares = build(config.sampling)(surveys["train"].present, surveys["train"].annotated)
    weights = _weigh(config.class_weights, surveys["train"].counts, folder)
    normalization, recorded = assembly.normalise(config, splits["train"])
    _write(folder / "normalization.json", recorded)
    saved = Path(config.output) / run_folders.CHECKPOINTS
    found = checkpoints.newest(saved)
    loop = assembly.assemble(
        config, splits["train"], weights, normalization, strategy, fresh=found is None
    )
    loss = loop.model.loss
    preflight.check_exclusion(loss, splits["train"].labels)
    for check_loss in (preflight.check_gates, preflight.check_estimates):
        check_loss(loss, splits["train"].labels, surveys["train"].counts)
    callbacks, kept = watching.callbacks(config, loss, splits, devices.is_chief(strategy))
    callbacks += features.follow(loop, kept, config.trainer.features)
    splits["train"].labels.to_json(folder / "labels.json")
    sources.write_splits(splits, folder / "splits.csv")
    counts = {name: found.counts.to_dict() for name, found in surveys.items()}
    _write(folder / "coverage.json", counts)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)  # from here on it is a run
    names = {name: getattr(innermost(source), "names", []) for name, source in splits.items()}
    data = resuming.digest(counts, names)
    chief = devices.is_chief(strategy)
    saver = Saver(saved, loop, callbacks, data, chief, found)
    with watching.until_the_end(callbacks, kept):
        fit(config, loop, splits, callbacks, saver, shares)
        if not chief:
            return None
        return finishing.finish(config, callbacks, kept, splits["val"], folder, started)


def fit(
    config: DictConfig,
    loop: Loop,
    splits: dict[str, Source],
    callbacks: list[keras.callbacks.Callback],
    saver: Saver | None = None,
    shares: np.ndarray | None = None,
) -> None:
    """Trains on the split train, with the split val to watch.

    The loss of an image is multiplied by its weight; in the split val all count alike.

    Args:
        config: its groups trainer, patches, augment and mix, and the seed, are used. With patches,
            the split val is watched in tiles of their size.
        loop: of the model.
        splits: the sources train and val.
        callbacks: of Keras.
        saver: of checkpoints; None: none are written.
        shares: how often an image is shown, (N,), see `segkit.data.sampling`; None: equally often.

    Raises:
        ValueError: in the words of whatever went wrong while batches were loaded.
    """
    trainer, size = config.trainer, config.trainer.batch_size
    tiles = sources.tiled(splits["val"], build(config.patches).size)
    watched_size = -(-size // loop.parts)  # as many as are computed at once in training

    def train(position: Position) -> Any:
        return assembly.feed(config, loop, splits["train"], shares, *position)

    length = Steps(
        trainer.epochs,
        steps(splits["train"], size, trainer.images_per_epoch),
        steps(tiles, watched_size),
    )
    watched = loop.feed(functools.partial(batches, tiles, watched_size, counted=True))
    epochs.fit(loop, train, watched, length, callbacks, saver)


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


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

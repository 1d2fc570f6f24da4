"""The verb: from a config to files in the folder of the run."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from segkit import predictor, run_data, runs
from segkit.calibration import telling, writing
from segkit.calibration.tuning import AUTO, Found, calibrate
from segkit.contract import is_number, whole_number
from segkit.metrics.thresholds import SCORES
from segkit.runs import Decisions

log = logging.getLogger(__name__)

MODEL_KEYS = ("tile", "overlap", "batch_size", "precision")
TUNING_KEYS = ("score", "temperature", "thresholds", "memory", "seed")


def run(config: DictConfig) -> Found:
    """Does what `segkit calibrate` does: a table on the terminal, files in the run folder.

    Args:
        config: composed from `conf/calibrate.yaml`.

    Raises:
        ValueError, OSError: naming what is wrong with the run, the data or the config.
    """
    _check(config)
    model = predictor.load(config.run, decisions=False, **{key: config[key] for key in MODEL_KEYS})
    folder = model.runs[0].folder
    if not os.access(folder, os.W_OK):
        raise OSError(f"Cannot write to {folder}, where decisions.json belongs. Copy the run.")
    data = run_data.open_data(model.runs[0], config.get("data"))
    split, source = run_data.choose(data, config.split)
    run_data.require_classes(model.runs[0], source.labels)
    log.info("%s, %s: %d images", data.name, split, len(source))
    if data.own and split in ("train", run_data.ALL):
        log.warning(
            "The model was trained on images of this split: it is surer and better there than "
            "elsewhere, and so is what is tuned on them."
        )
    options = {key: config[key] for key in TUNING_KEYS}
    found = calibrate(model, source, **options)
    names = source.labels.names
    log.info(telling.table(found, names, config.score))
    kind = source.labels.exclusive
    for note in telling.notes(found, names, config.score, config.thresholds, kind):
        log.warning(note)
    _write(folder, found, source.labels, {"data": data.name, "split": split, **options})
    return found


def _write(folder: Path, found: Found, labels: Any, settings: dict[str, Any]) -> None:
    """The decisions come last: if they are there, so is what explains them."""
    writing.write_curves(folder / writing.CURVES, found, labels.names)
    writing.write_pictures(folder, found, labels)
    writing.write_summary(folder / writing.SUMMARY, found, labels.names, settings)
    score = settings["score"] if found.kept else ""
    decisions = Decisions(found.temperature, found.thresholds, score)
    decisions.to_json(folder / runs.DECISIONS, labels.names)
    log.info("decisions: %s", folder / runs.DECISIONS)
    log.info("curves: %s", folder / writing.CURVES)


def _check(config: DictConfig) -> None:
    """Refuses what could only go wrong after the images have been predicted."""
    if not isinstance(config.run, (str, os.PathLike)):
        raise ValueError(
            f"Each run is calibrated by itself: run=DIR. Received: run={config.run}. Several that "
            "predict together use the temperature of each, and the mean of their thresholds."
        )
    if config.score not in SCORES:
        raise ValueError(f"score must be one of {', '.join(SCORES)}. Received: {config.score!r}.")
    if config.thresholds not in (AUTO, True, False) or is_number(config.thresholds):
        raise ValueError(
            f"thresholds must be auto, true or false. Received: {config.thresholds!r}."
        )
    if not isinstance(config.temperature, bool):
        raise ValueError(f"temperature must be true or false. Received: {config.temperature!r}.")
    if not config.temperature and not config.thresholds:
        raise ValueError(
            "There is nothing to tune with temperature=false and thresholds=false. Delete "
            "decisions.json in the run folder to decide as before."
        )
    if not is_number(config.memory) or not 0 <= config.memory < math.inf:
        raise ValueError(f"memory must be a number of GiB from 0 on. Received: {config.memory!r}.")
    whole_number("seed", config.seed)

"""The end of a training: the model that was kept is scored, and the report written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Sequence

import keras
from omegaconf import DictConfig

from segkit import (
    checkpoints,
    environment,
    features,
    report,
    run_folders,
    runs,
    scoring,
    sources,
)
from segkit.callbacks import BestModel, KeptCenters
from segkit.callbacks.progress import waiting
from segkit.config import build
from segkit.contract import Source

log = logging.getLogger(__name__)


def finish(
    config: DictConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    kept: BestModel,
    source: Source,
    folder: Path,
    started: float,
) -> float | None:
    """Scores the model that was kept, writes the report, and takes the checkpoints away.

    Args:
        config: of the training.
        callbacks: of the training, when it is over.
        kept: of them, the one that kept the model.
        source: the validation split.
        folder: of the run.
        started: seconds since the epoch.

    Returns:
        The mean IoU on known cells of the validation; None if there are none.

    Raises:
        ValueError: if no model was kept.
    """
    if kept.epoch is None:
        raise ValueError(
            "No model was kept: the loss was not a number after any epoch. Lower "
            "optimizer.learning_rate, or try trainer.precision=float32."
        )
    with waiting("scoring val"):
        model = runs.load_model(kept.filepath)
        blocks = _evaluate(config, model, source, folder)
        _record_features(config, callbacks, model, source, folder)
    _write(folder / "environment.json", environment.describe(started, kept.epoch + 1))
    page = report.write(folder)
    checkpoints.remove(folder / run_folders.CHECKPOINTS)
    log.info("%s\nmodel: %s\nreport: %s", scoring.table(blocks, "val"), kept.filepath, page)
    return blocks["val"]["mean_iou"]


def _evaluate(
    config: DictConfig, model: keras.Model, source: Source, folder: Path
) -> dict[str, Any]:
    found = scoring.evaluate(
        model,
        source,
        config.trainer.batch_size,
        examples=config.trainer.gallery,
        bounds=config.trainer.bounds,
        tile=build(config.patches).size,
    )
    blocks = found.to_dict("val", source.labels)
    _write(folder / "metrics.json", blocks)
    scoring.write_gallery(folder / "gallery", found.examples, source.labels, "val")
    return blocks


def _record_features(
    config: DictConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    model: keras.Model,
    source: Source,
    folder: Path,
) -> None:
    centers = [one.centers for one in callbacks if isinstance(one, KeptCenters)]
    wanted = bool(centers) if config.trainer.features == "auto" else config.trainer.features
    if not wanted:
        return
    ratio = features.record(
        folder,
        model,
        sources.tiled(source, build(config.patches).size),
        "val",
        layer=config.feature_loss.get("features"),
        centers=centers[0] if centers else None,
        seed=config.seed,
    )
    if ratio is not None:
        log.info("features: scatter within classes %.3f of that between them", ratio)


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

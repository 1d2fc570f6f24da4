"""The callbacks of a run: built, handed what they need, and told how it ended."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import keras
from omegaconf import DictConfig

from segkit import sources
from segkit.callbacks import BestModel
from segkit.callbacks.writing import AtEnd, NeedsValidation, Writer
from segkit.config import build
from segkit.contract import Source
from segkit.estimation import AnnotatedShare
from segkit.losses.estimated import estimated_terms

log = logging.getLogger(__name__)


def callbacks(
    config: DictConfig, loss: Any, splits: Mapping[str, Source], writes: bool = True
) -> tuple[list[keras.callbacks.Callback], BestModel]:
    """The callbacks of the config and those the loss needs, and the one that keeps a model.

    Args:
        config: its groups callbacks and patches, output and seed are used.
        loss: of the model.
        splits: the sources train and val.
        writes: of several workers, one writes.
    """
    size = build(config.patches).size
    built = [build(node) for node in config.callbacks.values() if node is not None]
    if not any(isinstance(callback, BestModel) for callback in built):
        built.append(BestModel(Path(config.output) / "model.keras", monitor=None))
    for callback in built:
        if isinstance(callback, Writer):
            callback.writes = writes
        if isinstance(callback, NeedsValidation):
            callback.bind(sources.tiled(splits["val"], size))
    train = splits["train"]
    if any(estimated_terms(loss)):
        train = sources.tiled(train, size)
    # First, so that the others find the estimates in the log.
    built.insert(0, AnnotatedShare(loss, train, seed=config.seed))
    return built, next(callback for callback in built if isinstance(callback, BestModel))


@contextlib.contextmanager
def until_the_end(told: Sequence[keras.callbacks.Callback], kept: BestModel) -> Iterator[None]:
    """Tells callbacks in the end how the run ended, and the user where the best model is."""
    outcome = "failed"
    try:
        yield
        outcome = "finished"
    except (KeyboardInterrupt, SystemExit):
        outcome = "stopped"
        if kept.epoch is not None:
            log.warning("The best model, of epoch %d: %s", kept.epoch + 1, kept.filepath)
        raise
    finally:
        for callback in told:
            if isinstance(callback, AtEnd):
                callback.on_run_end(outcome)

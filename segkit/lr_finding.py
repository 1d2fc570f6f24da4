"""What `segkit lr` does: raises the learning rate from batch to batch, and says which one suits."""

from __future__ import annotations

import csv
import logging
import math
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from segkit import assembly, class_weights, epochs, evidence, preflight, sources, tables
from segkit.config import build
from segkit.contract import is_number, whole_number
from segkit.data.pipeline import steps
from segkit.loop import Loop
from segkit.report import lr_plot

log = logging.getLogger(__name__)

LEAST = 20  # steps; fewer tell nothing
DIVERGED = 4.0  # times the best loss
_MEMORY = 0.9  # of the loss that decides on divergence
_WIDTH = 0.5  # decades of the learning rate over which neighbours are averaged
_NOTHING = 1e-3  # of the loss
_ROWS = 12  # of the table


class Found(NamedTuple):
    """What a search shows.

    rate: the learning rate to take; None if the loss never fell.
    smoothed: the losses without most of their noise, (N,).
    """

    rate: float | None
    smoothed: np.ndarray


def run(config: DictConfig) -> float:
    """Does what `segkit lr` does, and returns the learning rate it suggests.

    The model, the loss, the weights and the batches are those of `segkit train` with the same
    arguments. Only the learning rate is another at each step, and the model is thrown away. The
    search ends early where the loss is no number, or 4 times its best.

    Args:
        config: composed from `conf/lr.yaml`; `output`/lr.csv and lr.png are written.

    Raises:
        ValueError, OSError: naming what is wrong with the config or the data; and if the loss
            did not fall at any rate.
    """
    rates = _rates(config.lr)
    assembly.check(config)
    folder = None if config.output is None else sources.make_folder(config.output)
    losses = list(_until_divergence(_losses(config, rates)))
    log.info(_ending(rates, losses))
    rates = rates[: len(losses)]
    found = suggest(rates, losses)
    log.info(_table(rates, losses, found.smoothed))
    if folder is not None:
        _write_csv(folder / "lr.csv", rates, losses, found.smoothed)
        lr_plot.write(folder / "lr.png", rates, losses, found.smoothed, found.rate)
        log.info("plot: %s", folder / "lr.png")
    if found.rate is None:
        raise ValueError(
            f"The loss did not fall at any learning rate from {rates[0]:.3g} to {rates[-1]:.3g}. "
            f"Received: {losses[0]:.4g} at first, {min(losses):.4g} at best. Look at the data "
            "with segkit preview, or search elsewhere: lr.start, lr.stop, lr.steps."
        )
    if np.argmin(found.smoothed) == len(losses) - 1:
        log.warning("The loss still falls at lr.stop=%.3g: search further up.", rates[-1])
    log.info("steepest fall, to be given to segkit train: optimizer.learning_rate=%.2g", found.rate)
    return found.rate


def suggest(rates: Sequence[float], losses: Sequence[float]) -> Found:
    """The learning rate r at which the loss falls most steeply.

        r = argmin over rates, up to that of the lowest smoothed loss, of d loss / d log(rate)

    with slope and smoothed loss from a straight line through the neighbours, weighted by a normal
    density of half a decade (and at least 3 steps) in log(rate). The first decade (the first
    quarter, if that is less), with few neighbours on one side, is left out. Right of the lowest
    loss, none counts for more than the highest left of it. A fall by less than the noise is none.

    Args:
        rates: rising by the same factor, (N,).
        losses: one a rate, (N,), finite.

    Ref: Smith 2017, arXiv:1506.01186, section 3.3. Differs: it reads a range off the plot, over
    a rate that rises by equal steps.
    """
    losses = np.asarray(losses, "float64")
    # One that explodes would bend the line for all its neighbours.
    losses = np.minimum(losses, losses[: int(np.argmin(losses)) + 1].max())
    at = np.arange(len(losses))
    decades = np.log10(rates[-1] / rates[0]) / max(len(losses) - 1, 1)
    width = max(_WIDTH / max(decades, 1e-12), 3.0)
    weight = np.exp(-0.5 * np.square((at[:, None] - at) / min(width, len(losses))))
    weight /= weight.sum(axis=1, keepdims=True)
    away = at - (weight @ at)[:, None]
    slopes = (weight * away) @ losses / np.maximum((weight * away**2).sum(axis=1), 1e-12)
    smoothed = weight @ losses + slopes * (at - weight @ at)
    first, lowest = min(round(2 * width), len(losses) // 4), int(np.argmin(smoothed))
    falls = slopes[first : lowest + 1]
    noise = max(np.std(losses - smoothed), _NOTHING * abs(smoothed[0]))
    if smoothed[0] - smoothed[lowest] <= noise or not (falls < 0).any():
        return Found(None, smoothed)
    return Found(float(rates[first + int(np.argmin(falls))]), smoothed)


def _rates(node: DictConfig) -> np.ndarray:
    count = whole_number("lr.steps", node.steps, LEAST)
    for key in ("start", "stop"):
        if not is_number(node[key]) or not 0 < node[key] < math.inf:
            raise ValueError(f"lr.{key} must be a number above 0. Received: {node[key]!r}.")
    if node.start >= node.stop:
        raise ValueError(
            f"lr.start must be less than lr.stop. Received: {node.start} and {node.stop}."
        )
    return np.geomspace(node.start, node.stop, count)


def _losses(config: DictConfig, rates: np.ndarray) -> Iterator[float]:
    """The loss of each batch, before the step with its rate."""
    loop, batches = _assembled(config, len(rates))
    ready = iter(batches)
    try:
        for rate in rates:
            loop.model.optimizer.learning_rate = float(rate)
            loop.trained.reset()
            loop.train(ready)
            yield loop.trained.loss()
    except tf.errors.OpError as error:
        raise epochs.in_words(error) from None
    finally:
        del ready  # left to the end of the process, it would wait for its threads for ever


def _assembled(config: DictConfig, count: int) -> tuple[Loop, Any]:
    """The loop of the training, and its batches."""
    config = config.copy()
    config.schedule = {"_target_": "segkit.schedules.adjustable"}
    strategy = assembly.prepare(config)
    splits = sources.open_splits(config.data)
    preflight.require_fitting(build(config.loss), splits["train"].labels)
    assembly.require_batches(config, splits)
    source = splits["train"]
    survey = sources.survey(source, config.data)
    evidence.check_classes(source.labels, survey.counts)
    weights = class_weights.normalise(
        build(config.class_weights, counts=survey.counts), survey.counts
    )
    normalization, _ = assembly.normalise(config, source)
    loop = assembly.assemble(config, source, weights, normalization, strategy)
    preflight.check_exclusion(loop.model.loss, source.labels)
    shares = build(config.sampling)(survey.present, survey.annotated)
    steps_an_epoch = steps(source, config.trainer.batch_size, config.trainer.images_per_epoch)
    return loop, assembly.feed(config, loop, source, shares, epochs=-(-count // steps_an_epoch))


def _until_divergence(losses: Iterator[float]) -> Iterator[float]:
    mean, best = 0.0, math.inf
    for step, loss in enumerate(losses, start=1):
        if not math.isfinite(loss):
            return
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        now = mean / (1 - _MEMORY**step)
        yield loss
        best = min(best, now)
        if now > DIVERGED * best:
            return


def _ending(rates: np.ndarray, losses: Sequence[float]) -> str:
    if not losses:
        raise ValueError(
            f"The loss is no number with lr.start={rates[0]:.3g} already: look for NaN in the "
            "images with segkit check, or try trainer.precision=float32."
        )
    where = f"from {rates[0]:.3g} to {rates[len(losses) - 1]:.3g}"
    ended = "where the loss diverged" if len(losses) < len(rates) else "and it did not diverge"
    return f"{len(losses)} batches, learning rate {where}, {ended}"


def _table(rates: np.ndarray, losses: Sequence[float], smoothed: np.ndarray) -> str:
    shown = np.unique(np.linspace(0, len(losses) - 1, _ROWS).round().astype(int))
    rows = [[f"{rates[i]:.2g}", f"{losses[i]:.4f}", f"{smoothed[i]:.4f}"] for i in shown]
    return tables.text("training loss", ["learning rate", "loss", "smoothed"], rows)


def _write_csv(
    path: Path, rates: np.ndarray, losses: Sequence[float], smoothed: np.ndarray
) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "learning_rate", "loss", "smoothed"])
        for step, row in enumerate(zip(rates, losses, smoothed)):
            writer.writerow([step, *(f"{value:.6g}" for value in row)])

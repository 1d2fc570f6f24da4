"""From run folders to a predictor."""

from __future__ import annotations

import dataclasses
import os
from typing import Sequence

import numpy as np

from segkit import environment, models, runs
from segkit.contract import whole_number
from segkit.data.fitting import height_and_width
from segkit.inference import compiled
from segkit.predictor.predicting import Member, Predictor
from segkit.runs import EVEN, Decisions, Run

PRECISIONS = ("auto", "float32", "bfloat16")


def load(
    run: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    tta: str = "none",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    precision: str = "auto",
    size: str | int | Sequence[int] | None = "auto",
    value_range: str | Sequence | None = "auto",
    decisions: bool = True,
) -> Predictor:
    """The model of a run folder, ready to predict; of several, their mean probability.

    Batch normalisations are folded. Temperature and thresholds of `segkit calibrate` are used
    where a run has them: each run its own temperature, all together the mean thresholds.

    Args:
        run: a run folder, or several with the same classes and channels.
        tta: test-time augmentation: none; flips: 4 views of each image; rotations: 8.
        tile: edge in pixels of the tiles, a multiple of 32, that a large image is cut into; one
            without a longer edge is predicted whole. None: 512, and whole up to 1024.
        overlap: the part of a tile that it shares with its neighbour at least, in [0, 0.75].
        batch_size: images or tiles at once.
        precision: auto (bfloat16 where the device has it in hardware), float32 or bfloat16.
        size: what images are brought to before: auto: what the run did in training; None: they
            stay as they are; or pixels, or (height, width).
        value_range: the values of an image that become 0 and 1: auto: as in training; None: as the
            type of its file says; or (low, high), or one such pair a channel.
        decisions: False: neither temperatures nor thresholds.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong with a run or an argument.
    """
    paths = [run] if isinstance(run, (str, os.PathLike)) else list(run)
    if not paths:
        raise ValueError("A predictor needs a run. Received: none.")
    whole_number("batch_size", batch_size, 1)
    found = [_with_range(runs.read(path, decisions), value_range) for path in paths]
    runs.require_alike(found)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}. Received: {precision!r}.")
    if precision == "auto":
        precision = "bfloat16" if environment.fast_bfloat16() else "float32"
    members = []
    for one in found:
        network = models.fold(models.recast(runs.load_model(one), precision))
        temperature = one.decisions.temperature if one.decisions else 1.0
        function = compiled(network, tta, temperature, exclusive=one.labels.exclusive)
        members.append(Member(function, _size(one, size)))
    return Predictor(found, members, tile, overlap, batch_size, _thresholds(found))


def _with_range(run: Run, value_range: str | Sequence | None) -> Run:
    if value_range == "auto":
        return run
    data = {**(run.config.get("data") or {}), "value_range": value_range, "sources": None}
    return dataclasses.replace(run, config={**run.config, "data": data})


def _size(run: Run, size: str | int | Sequence[int] | None) -> tuple[int, int] | None:
    if size == "auto":
        return run.size if run.fit == "resize" else None
    return height_and_width(size if size is None or isinstance(size, int) else list(size))


def _thresholds(found: Sequence[Run]) -> Decisions | None:
    given = [run.decisions for run in found if run.decisions]
    if not given:
        return None
    even = (EVEN,) * len(found[0].labels.names)
    table = [run.decisions.thresholds if run.decisions else even for run in found]
    temperature = given[0].temperature if len(found) == 1 else 1.0
    return Decisions(temperature, tuple(map(float, np.mean(table, axis=0))), given[0].score)

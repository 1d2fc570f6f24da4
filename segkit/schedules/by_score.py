"""A learning rate that goes down when a score no longer goes up."""

from __future__ import annotations

import logging
import math
from typing import Any

import keras

from segkit.contract import is_number, whole_number
from segkit.schedules.by_step import checked_rate, checked_share, warmup_steps

log = logging.getLogger(__name__)

MODES = ("max", "min")


def adjustable(initial_learning_rate: float, decay_steps: int) -> float:
    """The learning rate as a plain number, which a callback may change during the run.

    Args:
        initial_learning_rate: above 0.
        decay_steps: not used; every choice of the group schedule is given it.
    """
    del decay_steps
    return checked_rate(initial_learning_rate)


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiplies the learning rate by `factor` when a score has not become better for some epochs.

    Epochs in which the score is NaN (nothing known to measure it on) do not count, nor do those
    of the warm-up, in which the rate rises step by step as in `segkit.schedules.Schedule`. The
    rate goes into the log as `learning_rate`. Needs an optimizer whose rate is a plain number, as
    `adjustable` returns it.

    Args:
        monitor: the score in the log.
        mode: "max" where up is good, "min" where down is.
        factor: what is left each time, between 0 and 1.
        patience: epochs without a better score after which the rate goes down, from 1 on.
        min_delta: what a better score must be better by, from 0 on.
        least: the learning rate is not taken below this one, from 0 on.
        warmup: share of the run, from 0 to below 1.

    Raises:
        ValueError: if a number is out of its range; at the start of training, if the learning
            rate is a schedule; and if the log has no such score.

    Ref: `keras.callbacks.ReduceLROnPlateau`. Differs: NaN, warm-up, and a state that resumes.
    """

    def __init__(
        self,
        monitor: str = "val_mean_iou",
        mode: str = "max",
        factor: float = 0.3,
        patience: int = 5,
        min_delta: float = 0.0,
        least: float = 0.0,
        warmup: float = 0.0,
    ):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be {' or '.join(MODES)}. Received: {mode!r}.")
        if not is_number(factor) or not 0 < factor < 1:
            raise ValueError(f"factor must be a number between 0 and 1. Received: {factor!r}.")
        for name, value in (("min_delta", min_delta), ("least", least)):
            if not is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number from 0 on. Received: {value!r}.")
        self.monitor, self.mode, self.factor = monitor, mode, float(factor)
        self.patience = whole_number("patience", patience, 1)
        self.min_delta, self.least = float(min_delta), float(least)
        self.warmup = checked_share("warmup", warmup)
        # Plain numbers, so that a checkpoint can hold them.
        self.best: float | None = None
        self.waited, self.taken = 0, 0
        self.peak: float | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        optimizer = self.model.optimizer
        rate = self._rate()
        try:
            optimizer.learning_rate = rate
        except TypeError as error:
            raise ValueError(
                "ReduceOnPlateau changes the learning rate, and that of the optimizer is a "
                f"schedule already. Received: {type(optimizer).__name__} with a schedule. Take "
                "schedule=plateau, which brings both."
            ) from error
        self.peak = rate if self.peak is None else self.peak
        self.rise = warmup_steps(self.warmup, self.params["epochs"] * self.params["steps"])

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.rise and self.taken <= self.rise:
            share = (self.taken + 1) / (self.rise + 1)
            self.model.optimizer.learning_rate = self.peak * share
        self.taken += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        if self.monitor not in logs:
            known = ", ".join(sorted(logs))
            raise ValueError(f"There is no {self.monitor!r} in the log. It has: {known}.")
        score, logs["learning_rate"] = float(logs[self.monitor]), self._rate()
        if math.isnan(score):
            return
        if self._better(score):
            self.best, self.waited = score, 0
        elif self.taken > self.rise:
            self.waited += 1
        if self.waited >= self.patience:
            self._reduce(epoch)

    def _better(self, score: float) -> bool:
        if self.best is None:
            return True
        gain = score - self.best if self.mode == "max" else self.best - score
        return gain > self.min_delta

    def _reduce(self, epoch: int) -> None:
        before, self.waited = self._rate(), 0
        after = max(before * self.factor, self.least)
        if after < before:
            self.model.optimizer.learning_rate = after
            log.info(
                "epoch %d  no better %s in %d epoch%s: the learning rate goes down to %.3g",
                *(epoch + 1, self.monitor, self.patience, "s" * (self.patience > 1), after),
            )

    def _rate(self) -> float:
        return float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

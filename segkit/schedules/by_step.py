"""Learning rates as functions of the step: a rise, then one of several ways down."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import is_number, whole_number

RUN = "of the steps of the run (3 epochs of 60 are 0.05)"
RATE = "of the learning rate"


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A rise to the learning rate of the optimizer, then a share of it that depends on progress.

    With T steps in the run, W = round(warmup T) of them (at most T - 1) to warm up, and t = 0, 1,
    ... steps taken before this one,

        rate(t) = r (t + 1) / (W + 1)   for t < W
        rate(t) = r share(p),  p = min((t - W) / (T - W), 1)   from t = W on

    so the first step is not wasted on a rate of 0, step W has the rate r, and past the end the
    last value stays. Subclasses say what `share` is.

    Args:
        initial_learning_rate: r, above 0.
        decay_steps: T, from 1 on: all steps of the run, the warm-up included.
        warmup: share of the run, from 0 to below 1. Three epochs of sixty are 0.05.

    Raises:
        ValueError: if a number is out of its range.

    Ref: warm-up: Goyal et al. 2017, arXiv:1706.02677. Differs: by step, from r / (W + 1).
    """

    def __init__(self, initial_learning_rate: float, decay_steps: int, warmup: float = 0.0):
        self.initial_learning_rate = checked_rate(initial_learning_rate)
        self.decay_steps = whole_number("decay_steps (the steps of the run)", decay_steps, 1)
        self.warmup = checked_share("warmup", warmup, RUN)
        self.warmup_steps = warmup_steps(self.warmup, self.decay_steps)

    def __call__(self, step: Any) -> Any:
        """The learning rate, float32 (), after `step` steps."""
        taken, rise = ops.cast(step, "float32"), self.warmup_steps
        progress = ops.clip((taken - rise) / (self.decay_steps - rise), 0.0, 1.0)
        share = ops.where(taken < rise, (taken + 1) / (rise + 1), self.share(progress))
        return self.initial_learning_rate * share

    def share(self, progress: Any) -> Any:
        """The share of r at progress p in [0, 1], as a tensor."""
        raise NotImplementedError(f"{type(self).__name__} does not say what share(progress) is.")

    def get_config(self) -> dict[str, Any]:
        """The arguments, for saving."""
        return {key: getattr(self, key) for key in self._arguments()}

    def _arguments(self) -> tuple[str, ...]:
        return "initial_learning_rate", "decay_steps", "warmup"


@keras.saving.register_keras_serializable("segkit")
class Constant(Schedule):
    """The learning rate of the optimizer throughout: share(p) = 1. Arguments: see `Schedule`."""

    def share(self, progress: Any) -> Any:
        return ops.ones_like(progress)


@keras.saving.register_keras_serializable("segkit")
class Cosine(Schedule):
    """Half a cosine: share(p) = alpha + (1 - alpha) (1 + cos(pi p)) / 2.

    Args:
        initial_learning_rate, decay_steps, warmup: see `Schedule`.
        alpha: what is left at the end, a share from 0 to below 1.

    Ref: Loshchilov, Hutter 2017, arXiv:1608.03983. Differs: no restarts.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        warmup: float = 0.0,
        alpha: float = 0.0,
    ):
        super().__init__(initial_learning_rate, decay_steps, warmup)
        self.alpha = checked_share("alpha", alpha, RATE)

    def share(self, progress: Any) -> Any:
        return _between(1.0, self.alpha, progress)

    def _arguments(self) -> tuple[str, ...]:
        return (*super()._arguments(), "alpha")


@keras.saving.register_keras_serializable("segkit")
class Polynomial(Schedule):
    """The "poly" rate of many segmentation papers: share(p) = alpha + (1 - alpha) (1 - p)^power.

    Args:
        initial_learning_rate, decay_steps, warmup: see `Schedule`.
        alpha: what is left at the end, a share from 0 to below 1.
        power: above 0; 1 is a straight line.

    Ref: Chen et al. 2018 (DeepLab), arXiv:1606.00915, section 4.1: power 0.9.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        warmup: float = 0.0,
        alpha: float = 0.0,
        power: float = 0.9,
    ):
        super().__init__(initial_learning_rate, decay_steps, warmup)
        self.alpha = checked_share("alpha", alpha, RATE)
        self.power = _positive("power", power)

    def share(self, progress: Any) -> Any:
        return self.alpha + (1 - self.alpha) * ops.power(1.0 - progress, self.power)

    def _arguments(self) -> tuple[str, ...]:
        return (*super()._arguments(), "alpha", "power")


@keras.saving.register_keras_serializable("segkit")
class Step(Schedule):
    """A staircase: share(p) = factor^n, with n the number of marks that are not above p.

    Args:
        initial_learning_rate, decay_steps, warmup: see `Schedule`.
        marks: where it goes down, as progress after the warm-up, rising, each between 0 and 1.
        factor: what is left each time, between 0 and 1.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        warmup: float = 0.0,
        marks: Sequence[float] = (0.6, 0.85),
        factor: float = 0.1,
    ):
        super().__init__(initial_learning_rate, decay_steps, warmup)
        self.marks, self.factor = _rising(marks), _fraction("factor", factor)

    def share(self, progress: Any) -> Any:
        gone = ops.cast(progress >= ops.array(self.marks, "float32"), "float32")
        return ops.power(self.factor, ops.sum(gone))

    def _arguments(self) -> tuple[str, ...]:
        return (*super()._arguments(), "marks", "factor")


@keras.saving.register_keras_serializable("segkit")
class OneCycle(Schedule):
    """Up by half a cosine, then down by another, to far below where it began.

        share(p) = from start to 1 while p goes from 0 to rise, then from 1 to end

    along a cosine. The learning rate of the optimizer is the highest one.

    Args:
        initial_learning_rate, decay_steps: see `Schedule`; the rise is the warm-up.
        rise: share of the run, between 0 and 1.
        start, end: shares of the learning rate, from 0 to below 1.

    Ref: Smith, Topin 2018, arXiv:1708.07120. Differs: cosines for straight lines; the momentum
    stays.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        rise: float = 0.3,
        start: float = 0.04,
        end: float = 4e-6,
    ):
        super().__init__(initial_learning_rate, decay_steps)
        self.rise = _fraction("rise", rise)
        self.start = checked_share("start", start, RATE)
        self.end = checked_share("end", end, RATE)

    def share(self, progress: Any) -> Any:
        up = _between(self.start, 1.0, progress / self.rise)
        down = _between(1.0, self.end, (progress - self.rise) / (1 - self.rise))
        return ops.where(progress < self.rise, up, down)

    def _arguments(self) -> tuple[str, ...]:
        return "initial_learning_rate", "decay_steps", "rise", "start", "end"


def _between(first: float, last: float, progress: Any) -> Any:
    return last + (first - last) * (0.5 * (1.0 + ops.cos(math.pi * progress)))


def warmup_steps(warmup: float, steps: int) -> int:
    """W of `Schedule`, for a share of the steps of a run; at most `steps` - 1."""
    return min(round(warmup * steps), steps - 1)


def checked_rate(value: float) -> float:
    """A learning rate as a float; a ValueError if it is no number above 0."""
    return _positive("optimizer.learning_rate", value)


def checked_share(name: str, value: float, of: str = RUN) -> float:
    """A share as a float; a ValueError if it is not from 0 to below 1."""
    if not _finite(value) or not 0 <= value < 1:
        raise ValueError(f"{name} is a share {of}, from 0 to below 1. Received: {value!r}.")
    return float(value)


def _finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)


def _positive(name: str, value: Any) -> float:
    if not _finite(value) or value <= 0:
        raise ValueError(f"{name} must be a number above 0. Received: {value!r}.")
    return float(value)


def _fraction(name: str, value: Any) -> float:
    if not _finite(value) or not 0 < value < 1:
        raise ValueError(f"{name} must be a number between 0 and 1. Received: {value!r}.")
    return float(value)


def _rising(marks: Sequence[float]) -> list[float]:
    found = [_fraction("each of marks", mark) for mark in marks]
    if not found or any(b <= a for a, b in zip(found, found[1:])):
        raise ValueError(f"marks must be rising numbers, at least one. Received: {found}.")
    return found

"""How one key of a search is drawn: numbers between two ends, or one of a list."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Mapping

from segkit.contract import is_number
from segkit.searching.names import text

_WORDS = ("low", "high", "log", "step")
_MOST = 10_000  # values of a grid


@dataclass(frozen=True)
class Numbers:
    """Numbers from low to high, both included.

    log: evenly over orders of magnitude.
    step: low, low + step, ...; None: any number, or any whole one.
    whole: whole numbers only.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def draw(self, trial: Any, key: str) -> Any:
        """The value that an Optuna trial suggests."""
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(key, int(self.low), int(self.high), step=step, log=self.log)
        low, high = float(self.low), float(self.high)
        return self.value(trial.suggest_float(key, low, high, step=self.step, log=self.log))

    def value(self, suggested: Any) -> Any:
        """What is drawn if Optuna suggests this."""
        # Of steps: 0.1 + 2 * 0.1 is 0.3, whatever binary fractions say.
        return suggested if self.whole or self.step is None else float(f"{suggested:.10g}")

    def suggested(self, value: Any) -> Any:
        """What Optuna suggests where this is drawn."""
        return value

    def probes(self) -> tuple[Any, ...]:
        """Values to try a config with: both ends."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)

    def listed(self) -> list[Any] | None:
        """All values; None where they cannot be listed."""
        if self.step is None and not self.whole:
            return None
        step = Decimal(str(1 if self.step is None else self.step))
        count = int((Decimal(str(self.high)) - Decimal(str(self.low))) / step) + 1
        if count > _MOST:
            return None
        values = [Decimal(str(self.low)) + step * number for number in range(count)]
        return [int(value) if self.whole else float(value) for value in values]


@dataclass(frozen=True)
class Choices:
    """One of a list: choices of a config group, or values of a key."""

    values: tuple[Any, ...]

    def draw(self, trial: Any, key: str) -> Any:
        """The value that an Optuna trial suggests."""
        return self.value(trial.suggest_categorical(key, self._names()))

    def value(self, suggested: Any) -> Any:
        """What is drawn if Optuna suggests this."""
        return self.values[self._names().index(suggested)]

    def suggested(self, value: Any) -> Any:
        """What Optuna suggests where this is drawn."""
        return _name(value)

    def probes(self) -> tuple[Any, ...]:
        """Values to try a config with: all."""
        return self.values

    def listed(self) -> list[Any]:
        """All values."""
        return list(self.values)

    def _names(self) -> list[str]:
        return [_name(value) for value in self.values]


def parse(key: str, how: Any) -> Numbers | Choices:
    """Reads how a key is drawn.

    Args:
        key: named in errors.
        how: a list, or a mapping with low and high, and log or step.

    Raises:
        ValueError: naming the key and what is wrong.
    """
    if isinstance(how, (list, tuple)):
        return _choices(key, how)
    if isinstance(how, Mapping):
        return _numbers(key, how)
    raise ValueError(
        f"search.space, {key}: it is drawn from a list, [A, B], or between two numbers, "
        f"{{low: A, high: B}}. Received: {how!r}. A value that is to stay is no part of a search: "
        f"give it as {key}={text(how)}."
    )


def _name(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _choices(key: str, values: Any) -> Choices:
    if not values:
        raise ValueError(f"search.space, {key}: the list is empty. Name what to choose from.")
    names = [_name(value) for value in values]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"search.space, {key}: {', '.join(twice)} stands there more than once.")
    return Choices(tuple(values))


def _numbers(key: str, how: Mapping[str, Any]) -> Numbers:
    unknown = [str(word) for word in how if word not in _WORDS]
    absent = [word for word in ("low", "high") if word not in how]
    if unknown or absent:
        fault = f"there is no {unknown[0]!r}" if unknown else f"{absent[0]} is not there"
        raise ValueError(
            f"search.space, {key}: numbers are given as {{low: A, high: B}}, and log: true or "
            f"step: S; {fault}. Received: {dict(how)!r}."
        )
    low, high, log, step = how["low"], how["high"], how.get("log", False), how.get("step")
    for word in ("low", "high", "step"):
        value = how.get(word)
        if (value is not None or word != "step") and not _is_finite(value):
            raise ValueError(f"search.space, {key}: {word} must be a number. Received: {value!r}.")
    if not isinstance(log, bool):
        raise ValueError(f"search.space, {key}: log is true or false. Received: {log!r}.")
    if low > high:
        raise ValueError(
            f"search.space, {key}: low must not be above high. Received: {low} and {high}."
        )
    if log and low <= 0:
        raise ValueError(f"search.space, {key}: log needs a low above 0. Received: {low}.")
    if step is not None and (log or step <= 0):
        raise ValueError(
            f"search.space, {key}: a step is above 0, and there is none with log. "
            f"Received: step {step}, log {log}."
        )
    whole = all(isinstance(value, int) for value in (low, high, 1 if step is None else step))
    if step is not None:  # high is reached, or never passed
        exact = [Decimal(str(value)) for value in (low, high, step)]
        top = exact[0] + (exact[1] - exact[0]) // exact[2] * exact[2]
        high = int(top) if whole else float(top)
    return Numbers(low, high, log, step, whole)


def _is_finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)

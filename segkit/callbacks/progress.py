"""What the terminal shows while a model trains."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
from time import monotonic
from typing import Any, Iterator

from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress as Bar
from rich.progress import TaskID, TextColumn

from segkit.callbacks.writing import Writer

log = logging.getLogger(__name__)

Streams = list[tuple[logging.StreamHandler, Any]]


class Progress(Writer):
    """A bar while an epoch runs, and one line when it is done.

    The bar is drawn on terminals only; it says what is waited for while no step is taken. The
    line goes to the log: loss, mean IoU on known cells of the validation split (* where it is the
    best so far), the class that is worst there, and how long the whole run will still take.

    Args:
        width: of the bar, in characters.
    """

    passing = frozenset({"task"})  # of the bar on this terminal

    def __init__(self, width: int = 30):
        super().__init__()
        text = TextColumn("{task.description}"), BarColumn(width), TextColumn("{task.fields[now]}")
        self.bar = Bar(*text, console=Console(stderr=True), transient=True)
        self.task: TaskID | None = None
        self.best: float = -math.inf
        self._epoch, self._loss, self._clock = 0, "", _Clock()
        self._diverted: Streams = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.close()
        self._epoch, self._loss = epoch, ""
        self._clock.begin_epoch()
        if self.writes and self.bar.console.is_terminal:
            self.bar.start()
            self._diverted = _divert()
            now = "" if self._clock.steps else "compiling the first step"
            self.task = self.bar.add_task(f"epoch {self._of()}", total=None, now=now)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._clock.step(batch)
        if self.task is None:
            return
        done, steps = batch + 1, self.params["steps"]
        if "loss" in (logs or {}):
            self._loss = f"loss {float(logs['loss']):.4f}"
        now = "scoring val" if done == steps else _joined(self._loss, self._left(epoch_done=False))
        self.bar.update(self.task, completed=done, total=steps, now=now)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.close()
        line = self._line(logs or {})
        if self.writes:
            log.info("epoch %s  %s", self._of(), _joined(line, self._left(epoch_done=True)))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar off the terminal."""
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.bar.stop()
            self.task = None
        _put_back(self._diverted)
        self._diverted = []

    def _of(self) -> str:
        epochs = self.params["epochs"]
        return f"{self._epoch + 1:>{len(str(epochs))}}/{epochs}"

    def _left(self, epoch_done: bool) -> str:
        ends = self.params["epochs"] - self._epoch - epoch_done
        done = 0 if epoch_done else self._clock.batch + 1
        seconds = self._clock.left(ends * self.params["steps"] - done, ends)
        return "" if seconds is None or not ends else f"{duration(seconds)} left"

    def _line(self, logs: dict[str, Any]) -> str:
        parts = [f"loss {logs['loss']:.4f}"]
        if "val_loss" in logs:
            parts.append(f"val {logs['val_loss']:.4f}")
        mean = logs.get("val_mean_iou", math.nan)
        if not math.isnan(mean):
            prefix = "val_iou_"
            classes = {k: v for k, v in logs.items() if k.startswith(prefix) and v == v}
            worst = min(classes, key=classes.__getitem__)
            better = mean > self.best
            self.best = max(mean, self.best)
            parts.append(f"mean IoU {mean:.4f}{' *' if better else '  '}")
            parts.append(f"worst {worst.removeprefix(prefix)[:30]} {classes[worst]:.4f}")
        error = logs.get("val_mean_absolute_error", math.nan)  # of ordered classes alone
        if not math.isnan(error):
            parts.append(f"MAE {error:.4f}")
        return "  ".join(parts)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """While this is open, a line on the terminal says what is waited for; elsewhere, nothing."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(text):
        diverted = _divert()
        try:
            yield
        finally:
            _put_back(diverted)


class _Clock:
    """Guesses how long a run will still take from the steps and ends of epochs seen so far.

    The first step, which compiles, is no example of the others; nor is the first end of an epoch.
    """

    def __init__(self) -> None:
        self.batch, self.steps = -1, 0
        self._seconds, self._counted = 0.0, 0
        self._last: float | None = None  # when the last step of this epoch ended
        self._ends: list[float] = []  # what the ends of epochs took, scoring included

    def begin_epoch(self) -> None:
        """An epoch begins."""
        if self._last is not None:
            self._ends.append(monotonic() - self._last)
        self._last, self.batch = None, -1

    def step(self, batch: int) -> None:
        """The batches up to this one, from 0, are done; not each of them need be told."""
        now = monotonic()
        if self._last is not None:
            self._seconds += now - self._last
            self._counted += batch - self.batch
        self._last, self.batch, self.steps = now, batch, self.steps + 1

    def left(self, steps: int, ends: int) -> float | None:
        """Seconds that so many steps and ends of epochs take; None before there is an example."""
        if not self._counted:
            return None
        ended = self._ends[1:] or self._ends
        if not ended:  # within the end of the first epoch, or before it
            ended = [0.0 if self._last is None else monotonic() - self._last]
        return steps * self._seconds / self._counted + ends * sum(ended) / len(ended)


def duration(seconds: float) -> str:
    """A time in words, no finer than anybody wants it: `40 s`, `12 min`, `3 h 20 min`."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    hours, rest = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {rest} min" if hours < 48 else f"{hours / 24:.0f} days"


def _joined(*parts: str) -> str:
    return "  ".join(filter(None, parts))


def _divert() -> Streams:
    """Lets the log write above what is drawn, where it goes to a terminal."""
    diverted: Streams = []
    for handler in logging.root.handlers:
        stream = getattr(handler, "stream", None)
        if isinstance(handler, logging.StreamHandler) and getattr(stream, "isatty", bool)():
            handler.setStream(sys.stdout)  # which is that of the bar, as long as it is drawn
            diverted.append((handler, stream))
    return diverted


def _put_back(diverted: Streams) -> None:
    for handler, stream in diverted:
        handler.setStream(stream)

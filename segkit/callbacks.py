"""Keras callbacks: what is shown, kept and stopped while a model trains."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn
from rich.progress import Progress as Bar
from rich.progress import TaskID, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


class Progress(keras.callbacks.Callback):
    """A bar while an epoch runs, and one line when it is done.

    The bar is drawn on terminals only. The line goes to the log: loss, mean IoU on known cells of
    the validation split, and the class that is worst there.

    Args:
        width: of the bar, in characters.
    """

    def __init__(self, width: int = 30):
        super().__init__()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(width),
            TextColumn("{task.fields[loss]}"),
        )
        self.bar = Bar(
            *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
        )
        self.task: TaskID | None = None
        self.best = -math.inf

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.of = f"{epoch + 1:>{len(str(self.params['epochs']))}}/{self.params['epochs']}"
        if self.bar.console.is_terminal:
            self.bar.start()
            self.task = self.bar.add_task(
                f"epoch {self.of}", total=self.params["steps"], loss="starting"
            )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.task is not None:
            self.bar.update(self.task, completed=batch + 1, loss=f"loss {float(logs['loss']):.4f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.close()
        log.info("epoch %s  %s", self.of, self._line(logs or {}))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bar off the terminal."""
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.bar.stop()
            self.task = None

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
        return "  ".join(parts)


class BestModel(keras.callbacks.Callback):
    """Keeps the model of the epoch with the highest score, in one file that is never half written.

    As long as the score is NaN (nothing known to measure it on), the latest model is kept.

    Args:
        filepath: the `.keras` file.
        monitor: the score in the log; up is good. None keeps the latest model.
    """

    def __init__(self, filepath: str | Path, monitor: str | None = "val_mean_iou"):
        super().__init__()
        self.filepath, self.monitor = Path(filepath), monitor
        self.best, self.epoch = -math.inf, None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        score = math.nan if self.monitor is None else _score(self.monitor, logs or {})
        if math.isnan(score):
            if self.best == -math.inf:
                self._warn_once()
                self.save(epoch)
        elif score > self.best:
            self.best = score
            self.save(epoch)

    def save(self, epoch: int | None) -> None:
        """Writes the model as it is now over the one kept so far; `epoch` counts from 0."""
        unfinished = self.filepath.with_name(f".{self.filepath.stem}.unfinished.keras")
        self.filepath.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.model.save(unfinished)
            os.replace(unfinished, self.filepath)
        except BaseException as error:
            unfinished.unlink(missing_ok=True)
            if not isinstance(error, OSError):
                raise
            kept = (
                f"; the model of epoch {self.epoch + 1} is kept" if self.epoch is not None else ""
            )
            raise OSError(
                f"The model could not be written to {self.filepath} ({error}){kept}. "
                "Free some space or choose another folder with output=DIR."
            ) from error
        self.epoch = epoch

    def _warn_once(self) -> None:
        if self.epoch is None and self.monitor is not None:
            log.warning(
                "%s cannot be measured: no (image, class) cell of the validation split is known. "
                "The latest model is kept instead of the best.",
                self.monitor,
            )


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping for scores that may be NaN: such epochs do not count.

    Args:
        monitor: the score in the log; up is good.
        patience: epochs without a better score after which training stops.
        kwargs: see `keras.callbacks.EarlyStopping`.
    """

    def __init__(self, monitor: str = "val_mean_iou", patience: int = 15, **kwargs: Any):
        super().__init__(monitor=monitor, patience=patience, **{"mode": "max", **kwargs})

    def get_monitor_value(self, logs: dict[str, Any]) -> float | None:
        """The score, or None (which Keras passes over) if it is NaN."""
        score = _score(self.monitor, logs or {})
        return None if math.isnan(score) else score


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with a clear error as soon as the loss is not a number."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise ValueError(
                f"The loss is {loss} at epoch {self.epoch + 1}, batch {batch + 1}; training cannot "
                "go on. Look for NaN in the images, or lower optimizer.learning_rate, or try "
                "trainer.precision=float32. What was kept before is still there."
            )


def _score(monitor: str, logs: dict[str, Any]) -> float:
    if monitor not in logs:
        raise ValueError(f"There is no {monitor!r} in the log. It has: {', '.join(sorted(logs))}.")
    return float(logs[monitor])

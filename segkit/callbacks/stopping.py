"""What ends training before its last epoch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras

from segkit.callbacks.writing import broken, direction, score


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping for scores that may be NaN: such epochs do not count.

    Args:
        monitor: the score in the log.
        patience: epochs without a better score after which training stops.
        mode: "max": up is good; "min": down is; "auto": down for a loss or an error, else up.
        kwargs: see `keras.callbacks.EarlyStopping`.
    """

    def __init__(
        self,
        monitor: str = "val_mean_iou",
        patience: int = 15,
        mode: str = "auto",
        **kwargs: Any,
    ):
        mode = direction(mode, monitor)
        super().__init__(monitor=monitor, patience=patience, mode=mode, **kwargs)

    def get_monitor_value(self, logs: dict[str, Any]) -> float | None:
        """The score, or None (which Keras passes over) if it is NaN."""
        reached = score(self.monitor, logs or {})
        return None if math.isnan(reached) else reached


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with a clear error once the loss, or that of the validation, is not finite.

    Looks after each batch that logs a loss, and after each epoch.

    Args:
        filepath: of the model that another callback keeps, for the words of the error.
    """

    def __init__(self, filepath: str | Path | None = None):
        super().__init__()
        self.filepath = None if filepath is None else Path(filepath)
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._check(logs or {}, f"at epoch {self.epoch + 1}, batch {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._check(logs or {}, f"at the end of epoch {epoch + 1}")

    def _check(self, logs: dict[str, Any], when: str) -> None:
        words = broken(logs)
        if words is not None:
            raise ValueError(
                f"The {words} {when}; training cannot go on. Look for NaN in the images; or lower "
                "optimizer.learning_rate; or clip gradients, optimizer.global_clipnorm=1; or let "
                "the learning rate warm up, see the group schedule; or compute with "
                f"trainer.precision=float32. {self._kept()}"
            )

    def _kept(self) -> str:
        if self.filepath is None:
            return "What was kept before is still there."
        if self.filepath.exists():
            return f"The best model before that is kept: {self.filepath}."
        return "No model was kept before that."

"""The model that is kept."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import keras

from segkit.callbacks.writing import Writer, broken, direction, replacing, score

log = logging.getLogger(__name__)


class BestModel(Writer):
    """Keeps the model of the epoch with the best score, in one file that is never half written.

    As long as the score is NaN (nothing known to measure it on), the latest model is kept. After
    an epoch whose loss is not a finite number, none is. The file holds layers and weights; what a
    model is trained with (optimizer, loss, metrics) is left out, so that it opens without them.

    Args:
        filepath: the `.keras` file.
        monitor: the score in the log. None keeps the latest model.
        mode: "max": up is good; "min": down is; "auto": down for a loss or an error, else up.

    Raises:
        ValueError: on another mode.
    """

    def __init__(
        self,
        filepath: str | Path,
        monitor: str | None = "val_mean_iou",
        mode: str = "auto",
    ):
        super().__init__()
        self.filepath, self.monitor = Path(filepath), monitor
        self._sign = 1 if direction(mode, monitor) == "max" else -1
        self.best: float = -math.inf
        self.epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = logs or {}
        reached = math.nan if self.monitor is None else self._sign * score(self.monitor, logs)
        words = broken(logs)
        if words is not None:
            log.warning("The model after epoch %d is not kept: its %s.", epoch + 1, words)
        elif math.isnan(reached):
            if self.best == -math.inf:
                self._warn_once()
                self.save(epoch)
        elif reached > self.best:
            self.save(epoch)
            self.best = reached

    def save(self, epoch: int | None) -> None:
        """Writes the model as it is now over the one kept so far; `epoch` counts from 0.

        Raises:
            OSError: if that fails; the model there was is left as it was.
        """
        if self.writes:
            try:
                with replacing(self.filepath) as unfinished:
                    _bare(self.model).save(unfinished)
            except OSError as error:
                before = self.epoch
                kept = "" if before is None else f"; the model of epoch {before + 1} is kept"
                raise OSError(
                    f"The model could not be written to {self.filepath} ({error}){kept}. "
                    "Free some space, and the same command goes on from the last whole epoch; or "
                    "choose another folder with output=DIR."
                ) from error
        self.epoch = epoch

    def _warn_once(self) -> None:
        if self.epoch is None and self.monitor is not None and self.writes:
            log.warning(
                "%s cannot be measured: no (image, class) cell of the validation split is known. "
                "The latest model is kept instead of the best.",
                self.monitor,
            )


def _bare(model: keras.Model) -> keras.Model:
    """The same layers without what they are trained with; a subclass of its own stays as it is."""
    if not getattr(model, "inputs", None):
        return model
    # Keras takes include_optimizer=False for a .keras file, and writes the optimizer all the same.
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    bare = keras.Model(model.input, model.output, name=model.name)
    return bare if type(model) is type(bare) else model

"""Going on with a run where it ended: what a checkpoint holds, and how it is put back."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

import keras
import numpy as np
import tensorflow as tf

import segkit
from segkit import checkpoints
from segkit.checkpoints import Checkpoint
from segkit.loop import Loop

log = logging.getLogger(__name__)

# Of a callback, and not its state. Keras turns min_delta round once it begins to monitor.
_KERAS = {"params", "_model", "validation_data", "writes", "min_delta"}


class Position(NamedTuple):
    """Where a run stands: `epoch` epochs and `step` steps of the next one are done."""

    epoch: int = 0
    step: int = 0


class Saver:
    """Writes checkpoints of a run and puts the newest one back.

    A checkpoint holds every variable that a step changes, bit for bit, the plain attributes of
    the callbacks (numbers, words, lists and dicts of them, arrays), whether training was to stop,
    and a sum over the data. The order of the images, their augmentation and the schedule are
    functions of the position, and need no place in it.

    Args:
        folder: of the checkpoints.
        loop: what is trained.
        callbacks: in an order that does not change. One that has a method `restored` is called
            when its attributes are back.
        data: what the data are known by, see `digest`; going on with others is refused.
        writes: False only reads: of several workers, one writes.
    """

    def __init__(
        self,
        folder: Path,
        loop: Loop,
        callbacks: Sequence[keras.callbacks.Callback],
        data: str,
        writes: bool = True,
    ):
        self.folder, self.loop, self.callbacks = folder, loop, list(callbacks)
        self.data, self.writes = data, writes

    def save(self, position: Position) -> None:
        """Writes a checkpoint.

        Raises:
            OSError: if that fails; the last one is still there.
        """
        if not self.writes:
            return
        arrays = {name: _read(value) for name, value in self._variables().items()}
        state = {
            "data": self.data,
            "versions": _versions(),
            "stopped": bool(self.loop.model.stop_training),
            "callbacks": [],
        }
        for i, callback in enumerate(self.callbacks):
            values, found = checkpoints.plain(_own(callback))
            state["callbacks"].append({"class": type(callback).__name__, "values": values})
            arrays |= {f"callback/{i}/{name}": array for name, array in found.items()}
        checkpoints.write(self.folder, Checkpoint(*position, arrays, state))

    def restore(self) -> Position:
        """Puts the newest whole checkpoint back, and returns where it stands.

        Raises:
            ValueError: if it is of other data or another network, or was made by other versions
                of what computes.
        """
        found = checkpoints.newest(self.folder)
        if found is None:
            return Position()
        if found.state["data"] != self.data:
            raise ValueError(
                f"The data are not those that the run in {self.folder.parent} was begun with: "
                "splits or annotations were changed since. Bring them back to go on with it, or "
                "choose another folder with output=DIR."
            )
        if found.state["versions"] != _versions():
            log.warning(
                "The run goes on with other versions, and may end a little differently: %s",
                _changes(found.state["versions"], _versions()),
            )
        self._put_back(found)
        log.info("goes on from %s", said(Position(found.epoch, found.step)))
        return Position(found.epoch, found.step)

    def _put_back(self, found: Checkpoint) -> None:
        variables = self._variables()
        arrays = {k: v for k, v in found.arrays.items() if not k.startswith("callback/")}
        shapes = {name: tuple(v.shape) for name, v in variables.items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise ValueError(
                f"The checkpoint in {self.folder} is of another network or optimizer. Choose "
                "another folder with output=DIR."
            )
        for name, variable in variables.items():
            variable.assign(tf.constant(arrays[name]))
        self.loop.model.stop_training = found.state["stopped"]
        for i, callback in enumerate(self.callbacks):
            prefix = f"callback/{i}/"
            own = {
                name.removeprefix(prefix): array
                for name, array in found.arrays.items()
                if name.startswith(prefix)
            }
            values = checkpoints.from_plain(found.state["callbacks"][i]["values"], own)
            vars(callback).update(values)
            if hasattr(callback, "restored"):
                callback.restored()

    def _variables(self) -> dict[str, Any]:
        """By a name of its own each: layers of one type may share theirs."""
        return {
            f"variable/{i:06d}": (
                variable.value if isinstance(variable, keras.Variable) else variable
            )
            for i, variable in enumerate(self.loop.variables)
        }


def digest(*parts: Any) -> str:
    """A sum over what JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def said(position: Position) -> str:
    """A position in words."""
    if position.step:
        return f"epoch {position.epoch + 1}, after step {position.step}"
    return f"epoch {position.epoch + 1}" if position.epoch else "the beginning"


def _read(variable: tf.Variable) -> np.ndarray:
    return np.asarray(variable.read_value())


def _own(callback: keras.callbacks.Callback) -> Mapping[str, Any]:
    return {name: value for name, value in vars(callback).items() if name not in _KERAS}


def _versions() -> dict[str, str]:
    return {"segkit": segkit.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {before.get(k)} -> {now[k]}" for k in now if before.get(k) != now[k])

"""Going on with a run where it ended: what a checkpoint holds, and how it is put back."""

from __future__ import annotations

import collections
import hashlib
import json
import logging
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import keras
import numpy as np
import tensorflow as tf

import segkit
from segkit import checkpoints, devices, environment
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
    """Writes checkpoints of a run and puts one back.

    A checkpoint holds every variable that a step changes, bit for bit, the plain attributes of
    the callbacks (numbers, words, lists and dicts of them, arrays), whether training was to stop,
    and a sum over the data. The order of the images, their augmentation and the schedule are
    functions of the position, and need no place in it.

    Args:
        folder: of the checkpoints.
        loop: what is trained.
        callbacks: each is known by its class; several of one class must keep their order. A
            method `restored`, where there is one, is called when the attributes are back.
        data: what the data are known by, see `digest`; going on with others is refused.
        writes: False only reads: of several workers, one writes.
        found: the checkpoint to go on from; None: from the beginning.
    """

    def __init__(
        self,
        folder: Path,
        loop: Loop,
        callbacks: Sequence[keras.callbacks.Callback],
        data: str,
        writes: bool = True,
        found: Checkpoint | None = None,
    ):
        self.folder, self.loop, self.callbacks = folder, loop, list(callbacks)
        self.data, self.writes, self.found = data, writes, found

    def save(self, position: Position) -> None:
        """Writes a checkpoint.

        Raises:
            OSError: if that fails; the last one is still there.
        """
        # Every worker reads: what replicas count apart is added up among all of them.
        arrays = {name: _read(value) for name, value in self._variables().items()}
        if not self.writes:
            return
        state = {
            "data": self.data,
            "versions": _versions(self.loop.strategy),
            "stopped": bool(self.loop.model.stop_training),
            "callbacks": {},
        }
        for key, callback in _named(self.callbacks):
            state["callbacks"][key], found = checkpoints.plain(_own(callback))
            arrays |= {f"callback/{key}/{name}": array for name, array in found.items()}
        checkpoints.write(self.folder, Checkpoint(*position, arrays, state))

    def restore(self) -> Position:
        """Puts back the checkpoint that was found, and returns where it stands.

        Raises:
            ValueError: if it is of other data or another network, or was made by other versions
                of what computes.
        """
        found, self.found = self.found, None
        position = Position() if found is None else Position(found.epoch, found.step)
        # A worker on another machine may not see yet what the first one wrote last.
        devices.require_same(
            self.loop.strategy,
            digest(position),
            f"Workers find different checkpoints in {self.folder}: is it on a shared disk? Give "
            "all of them the same folder with output=DIR.",
        )
        if found is None:
            return position
        if found.state["data"] != self.data:
            raise ValueError(
                f"The data are not those that the run in {self.folder.parent} was begun with: "
                "splits or annotations were changed since. Bring them back to go on with it, or "
                "choose another folder with output=DIR."
            )
        versions = _versions(self.loop.strategy)
        if found.state["versions"] != versions:
            log.warning(
                "The run goes on elsewhere than before, and may end a little differently: %s",
                _changes(found.state["versions"], versions),
            )
        self._put_back(found)
        log.info("goes on from %s", said(position))
        return position

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
            _put(variable, arrays[name], devices.local_replicas(self.loop.strategy))
        self.loop.model.stop_training = found.state["stopped"]
        for key, callback in _named(self.callbacks):
            if key not in found.state["callbacks"]:
                continue  # the progress that was not shown before
            prefix = f"callback/{key}/"
            own = {
                name.removeprefix(prefix): array
                for name, array in found.arrays.items()
                if name.startswith(prefix)
            }
            values = checkpoints.from_plain(found.state["callbacks"][key], own)
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


def _counted(variable: Any) -> bool:
    """Whether each replica has a number of its own, of which the sum is meant."""
    on_read = tf.VariableSynchronization.ON_READ
    several = isinstance(variable, tf.distribute.DistributedValues)
    return several and variable.synchronization == on_read


def _read(variable: Any) -> np.ndarray:
    if _counted(variable) and len(devices.workers()) < 2:  # adding them up in float32 would round
        parts = [part.read_value() for part in variable.values]
        return np.sum(parts, axis=0, dtype=variable.dtype.as_numpy_dtype)
    return np.asarray(variable.read_value())


def _put(variable: Any, array: np.ndarray, replicas: Sequence[int]) -> None:
    if _counted(variable):  # assigning to all of them would divide, and round
        for number, part in zip(replicas, variable.values):
            part.assign(array if number == 0 else np.zeros_like(array))
    else:
        variable.assign(tf.constant(array))


def _named(
    callbacks: Sequence[keras.callbacks.Callback],
) -> Iterator[tuple[str, keras.callbacks.Callback]]:
    """Each with a name of its own, which does not change when others come or go."""
    seen: collections.Counter = collections.Counter()
    for callback in callbacks:
        name = type(callback).__name__
        yield f"{name}-{seen[name]}", callback
        seen[name] += 1


def _own(callback: keras.callbacks.Callback) -> Mapping[str, Any]:
    passing = _KERAS | getattr(callback, "passing", frozenset())
    return {name: value for name, value in vars(callback).items() if name not in passing}


def _versions(strategy: tf.distribute.Strategy) -> dict[str, str]:
    return {
        "segkit": segkit.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "processor": environment.processor(),
        "precision": keras.config.dtype_policy().name,
        "devices": str(strategy.num_replicas_in_sync),
    }


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    return ", ".join(f"{k} {before.get(k)} -> {now[k]}" for k in now if before.get(k) != now[k])

"""The epochs of a run: from its last checkpoint until the end, or a signal."""

from __future__ import annotations

import contextlib
import gc
import logging
import re
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from typing import Any, Callable, Iterator, NamedTuple, Sequence

import keras
import tensorflow as tf

from segkit import devices
from segkit.loop import Loop
from segkit.resuming import Position, Saver, said

log = logging.getLogger(__name__)

_LOGGED_EVERY = 0.2  # seconds; reading the loss makes an accelerator wait
_AGREED_EVERY = 8  # steps, after which the workers of a cluster ask each other whether to stop


class Steps(NamedTuple):
    """How long a run is: epochs, and batches of an epoch and of the validation after it."""

    epochs: int
    train: int
    watched: int


def fit(
    loop: Loop,
    train: Callable[[Position], tf.data.Dataset],
    watched: tf.data.Dataset,
    steps: Steps,
    callbacks: Sequence[keras.callbacks.Callback],
    saver: Saver | None = None,
) -> None:
    """Trains from where the newest checkpoint stands to the last epoch.

    After each epoch the callbacks get the scores of training and, with `val_` before their
    names, of validation; then a checkpoint is written. SIGTERM and Ctrl-C end the step at hand,
    write a checkpoint, and end the process; a second one ends it at once.

    Args:
        loop: what is trained.
        train: position -> batches from there to the end of the run.
        watched: the batches of the validation split, once.
        steps: how many of each there are.
        callbacks: of Keras; called in this order.
        saver: of these callbacks and this loop; None: no checkpoints.

    Raises:
        ValueError: in the words of whatever went wrong while batches were loaded.
        KeyboardInterrupt, SystemExit: 143 after SIGTERM.
    """
    for callback in callbacks:
        callback.set_model(loop.model)
        callback.set_params({"epochs": steps.epochs, "steps": steps.train, "verbose": 0})
    try:
        with _signals() as asked:
            _Run(loop, watched, steps, callbacks, saver, asked).go(train)
            if asked:  # while the last checkpoint was written
                _end(asked[0])
        for callback in callbacks:
            callback.on_train_end({})
    except BaseException as error:
        for callback in callbacks:
            with contextlib.suppress(Exception):  # of one that had not begun
                callback.on_train_end({})  # closes its files, and takes the bar off the terminal
        _stop_loading(error)
        if isinstance(error, tf.errors.OpError) and (worded := in_words(error)) is not error:
            raise worded from error
        raise


def in_words(error: tf.errors.OpError) -> Exception:
    """What Python raised inside tf.data, which arrives wrapped in notes on graph nodes.

    Too little memory is said in words, too. Anything else comes back as it is.
    """
    if isinstance(error, tf.errors.ResourceExhaustedError):
        return ValueError(
            "The device has too little memory for a batch. Lower trainer.batch_size, or compute "
            "it in parts with trainer.accumulate=2 or more."
        )
    wrapped = r"\w*(?:Error|Exception): (.*?)(?:\nTraceback|\n\n)"
    found = re.search(wrapped, error.message, re.S)
    return error if found is None else ValueError(found.group(1).strip())


@dataclass
class _Run:
    loop: Loop
    watched: tf.data.Dataset
    steps: Steps
    callbacks: Sequence[keras.callbacks.Callback]
    saver: Saver | None
    asked: list[int]  # the signals that came

    def go(self, train: Callable[[Position], tf.data.Dataset]) -> None:
        model = self.loop.model
        model.stop_training = False
        self._call("on_train_begin", {})
        position = Position() if self.saver is None else self.saver.restore()
        if position.epoch == self.steps.epochs or (model.stop_training and position.step == 0):
            return
        batches = iter(train(position))
        for epoch in range(position.epoch, self.steps.epochs):
            self._call("on_epoch_begin", epoch, {})
            self._train(batches, Position(epoch, position.step))
            position = Position(epoch + 1)
            with self._averaged():
                judged = self._validated()
                if judged is not None:
                    logs = self.loop.trained.results()
                    logs |= {f"val_{name}": value for name, value in judged.items()}
                    self._call("on_epoch_end", epoch, logs)
            if judged is None:  # what is saved are the weights themselves, not their average
                self._stop_if_asked(Position(epoch, self.steps.train))
            self._save(position)
            if model.stop_training:
                break

    def _train(self, batches: Iterator, first: Position) -> None:
        if first.step == 0:
            self.loop.trained.reset()
        logged, alone = time.monotonic(), len(devices.workers()) < 2
        for step in range(first.step, self.steps.train):
            if alone or step % _AGREED_EVERY == 0:
                self._stop_if_asked(Position(first.epoch, step))
            self._call("on_train_batch_begin", step, {})
            self.loop.train(batches)
            logs = {}
            # Workers read together what they count together, so not by the clock of one.
            due = alone and time.monotonic() - logged > _LOGGED_EVERY
            if step + 1 == self.steps.train or due:
                logs, logged = {"loss": self.loop.trained.loss()}, time.monotonic()
            self._call("on_train_batch_end", step, logs)

    def _validated(self) -> dict[str, float] | None:
        """The scores of the validation split; None if there is a signal to stop."""
        self.loop.validated.reset()
        batches = iter(self.watched)
        for _ in range(self.steps.watched):
            if self.asked and len(devices.workers()) < 2:
                return None
            self.loop.validate(batches)
        return self.loop.validated.results()

    def _averaged(self) -> contextlib.AbstractContextManager:
        average = self.loop.average
        return contextlib.nullcontext() if average is None else average.in_place()

    def _stop_if_asked(self, position: Position) -> None:
        # Of several workers, all stop if one is asked to.
        (number,) = devices.highest(self.loop.strategy, self.asked[:1] or [0])
        if not number:
            return
        self._save(position)
        log.warning("Stopped in %s. The same command goes on from there.", said(position))
        _end(number)

    def _save(self, position: Position) -> None:
        if self.saver is not None:
            self.saver.save(position)

    def _call(self, moment: str, *arguments: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, moment)(*arguments)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """While this is open, SIGTERM and Ctrl-C are noted in a list; the second one ends all."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals go to the main thread, whoever that is
        return

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1:
            _end(number)
        log.warning("Stopping after this step. Once more, to stop at once.")

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


def _stop_loading(error: BaseException | None) -> None:
    """Deletes the iterators that the frames of an error hold.

    Left to the end of the process, they would wait for threads that wait for Python, for ever.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            # TensorFlow takes its own frames out of the traceback; they called these.
            while frame is not None:
                try:
                    frame.clear()
                except RuntimeError:  # still running, as are all that called it
                    break
                frame = frame.f_back
        error = error.__cause__ or error.__context__
    gc.collect()

"""Exponential moving average of the weights of a model while it trains."""

from __future__ import annotations

import contextlib
from typing import Iterator

import keras
import numpy as np
import tensorflow as tf

from segkit.contract import is_number


class Average:
    """Follows the weights of a model, and puts their average in their place for a while.

        a_t = d_t a_(t-1) + (1 - d_t) w_t,  d_t = min(momentum, (1 + t) / (10 + t))

    over all weights that are real numbers, moving statistics among them; t counts steps from 1.
    The d_t of the first steps forget the random weights that training began with.

    Args:
        model: built, under the scope of the strategy in which this is called.
        momentum: in [0, 1).

    Raises:
        ValueError: if the momentum is out of range.

    Ref: Polyak, Juditsky 1992, doi:10.1137/0330046; d_t as in tf.train.ExponentialMovingAverage.
    """

    def __init__(self, model: keras.Model, momentum: float):
        if not is_number(momentum) or not 0 <= momentum < 1:
            raise ValueError(f"trainer.ema must be in [0, 1), or null. Received: {momentum!r}.")
        self.momentum, self._strategy = momentum, tf.distribute.get_strategy()
        self._followed = [v.value for v in model.weights if "float" in str(v.dtype)]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = [tf.Variable(v.read_value(), trainable=False) for v in self._followed]
        self._swap = tf.function(self._swapped)

    def update(self) -> None:
        """Takes one step towards the weights as they are; outside of replicas."""
        self.steps.assign_add(1)
        steps = tf.cast(self.steps, tf.float32)
        rest = 1 - tf.minimum(np.float32(self.momentum), (1 + steps) / (10 + steps))
        with self._strategy.scope():
            for average, weight in zip(self.variables, self._followed):
                self._strategy.extended.update(average, _approach, args=(weight, rest))

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """While this is open the model has the average weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swapped(self) -> None:
        with self._strategy.scope():
            for average, weight in zip(self.variables, self._followed):
                self._strategy.extended.update(average, _exchange, args=(weight,))


def _approach(average: tf.Variable, weight: tf.Tensor, rest: tf.Tensor) -> None:
    average.assign_sub(tf.cast(rest, average.dtype) * (average - weight))


def _exchange(average: tf.Variable, weight: tf.Variable) -> None:
    old, new = tf.identity(weight), tf.identity(average)
    with tf.control_dependencies([old, new]):
        average.assign(old)
        weight.assign(new)

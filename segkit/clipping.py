"""Clipping of gradients that several replicas have a share of each."""

from __future__ import annotations

import keras
import tensorflow as tf


class Clip:
    """Clips the sum of the gradients of all replicas, which Keras would clip before adding up."""

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self.norm, self.together = optimizer.clipnorm, optimizer.global_clipnorm
        self.value = optimizer.clipvalue
        optimizer.clipnorm = optimizer.global_clipnorm = optimizer.clipvalue = None

    def __call__(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.norm is self.together is self.value is None:
            return gradients
        context = tf.distribute.get_replica_context()
        whole = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.norm is not None:
            whole = [tf.clip_by_norm(g, self.norm) for g in whole]
        elif self.together is not None:
            whole, _ = tf.clip_by_global_norm(whole, self.together)
        else:
            whole = [tf.clip_by_value(g, -self.value, self.value) for g in whole]
        # The optimizer adds the replicas up once more.
        return [g / context.num_replicas_in_sync for g in whole]

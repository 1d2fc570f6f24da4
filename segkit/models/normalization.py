"""Batch normalisation over TensorFlow's fused kernel."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("segkit")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, computed by one fused kernel where TensorFlow is the backend.

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    over batch, height and width of (B, H, W, K). Statistics are float32 whatever the activations
    are; Keras' own layer rounds them to bfloat16 and takes several passes over the data. The
    weights are the same, so saved models fit either. Other backends and options use Keras' code.

    Differs from Keras: the moving variance takes the unbiased estimate, N / (N - 1) times the
    variance of the batch.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        plain = self.scale and self.center and not self.synchronized and mask is None
        last = self.axis in (-1, 3) and len(inputs.shape) == 4
        kernel = keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        if keras.backend.backend() != "tensorflow" or not (plain and last and kernel):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        learning = bool(training) and self.trainable
        nothing = tf.zeros([0], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=nothing if learning else tf.cast(self.moving_mean, tf.float32),
            variance=nothing if learning else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs

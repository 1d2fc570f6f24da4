"""Batch normalisation over TensorFlow's fused kernel, over all replicas where there are several."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable("segkit")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras' batch normalisation, computed by one fused kernel where TensorFlow is the backend.

        y = gamma (x - mean) / sqrt(variance + epsilon) + beta

    over batch, height and width of (B, H, W, K). Statistics are float32 whatever the activations
    are; Keras' own layer rounds them to bfloat16 and takes several passes over the data. The
    weights are the same, so saved models fit either. Other backends, a mask, `renorm`, float64
    and shapes other than (B, H, W, K) use Keras' code.

    Under a `tf.distribute` strategy of several replicas, batch means the batches of all replicas
    together, each with the pixels it has; a replica may have none. `synchronized` need not be set.
    The sums are exchanged once on the way forward and once on the way back, outside of any
    `tf.cond` and `tf.while_loop` of the replica: MirroredStrategy cannot exchange inside of them.

    Differs from Keras: the moving variance takes the unbiased estimate, N / (N - 1) times the
    variance of the N pixels of the batch.

    Raises:
        ValueError: if several replicas learn, and the options or the input are none of those
            above, unless `synchronized` asks for Keras' code.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        learning = bool(training) and self.trainable
        replica = one_of_several_replicas() if learning else None
        if not self._fits_the_kernel(inputs, mask):
            if replica and not self.synchronized:
                raise ValueError(
                    f"BatchNormalization takes the statistics of {replica.num_replicas_in_sync} "
                    f"replicas together only for (B, H, W, K) in float32 or less, axis=-1, "
                    f"no mask, no renorm. Received: {tuple(inputs.shape)} in "
                    f"{keras.backend.standardize_dtype(inputs.dtype)}, "
                    f"axis={self.axis}, mask={mask is not None}, renorm={self.renorm}. "
                    f"Set synchronized=True for Keras' code."
                )
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        channels = [inputs.shape[-1]]
        gamma = tf.cast(self.gamma, tf.float32) if self.scale else tf.ones(channels)
        beta = tf.cast(self.beta, tf.float32) if self.center else tf.zeros(channels)
        if replica:
            statistics = _moments(replica, tf.stop_gradient(inputs))
            self._remember(*statistics)
            return _normalized(replica, inputs, gamma, beta, statistics, self.epsilon)
        nothing = tf.zeros([0], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=gamma,
            offset=beta,
            mean=nothing if learning else tf.cast(self.moving_mean, tf.float32),
            variance=nothing if learning else tf.cast(self.moving_variance, tf.float32),
            epsilon=self.epsilon,
            is_training=learning,
        )
        if learning:
            self._remember(mean, variance)
        return outputs

    def _fits_the_kernel(self, inputs: Any, mask: Any) -> bool:
        kernel = keras.backend.standardize_dtype(inputs.dtype) in ("float16", "bfloat16", "float32")
        last = self.axis in (-1, 3) and len(inputs.shape) == 4
        plain = mask is None and not self.renorm
        return keras.backend.backend() == "tensorflow" and plain and last and kernel

    def _remember(self, mean: Any, variance: Any, pixels: Any = None) -> None:
        """Moves the moving statistics to those of a batch; of several replicas, with N in it."""
        import tensorflow as tf

        if pixels is not None:
            variance = variance * (pixels / tf.maximum(pixels - 1, 1))
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            old = tf.cast(moving, tf.float32)
            new = old * self.momentum + batch * (1 - self.momentum)
            moving.assign(new if pixels is None else tf.where(pixels > 0, new, old))


def one_of_several_replicas() -> Any:
    """The context of the replica that runs now; None where it is the only one."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    return replica if replica and replica.num_replicas_in_sync > 1 else None


def _moments(replica: Any, x: Any) -> tuple[Any, Any, Any]:
    """Mean (K,), variance (K,) and number N of the pixels of all replicas.

        mean = sum_r N_r mean_r / N
        variance = sum_r (M_r + N_r (mean_r - mean)^2) / N

    with M_r the squared deviations from the mean of replica r. Unlike mean(x^2) - mean^2, it loses
    no digits where the mean is far from zero.

    Ref: Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115.
    """
    import tensorflow as tf

    channels, nothing = x.shape[-1], tf.zeros([0], tf.float32)
    # Quicker than reductions, although the output is thrown away.
    _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=tf.ones([channels]),
        offset=tf.zeros([channels]),
        mean=nothing,
        variance=nothing,
        is_training=True,
    )
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), tf.float32)
    # The statistics of no pixels are NaN; the variance has been divided by count - 1.
    mean = tf.math.multiply_no_nan(mean, tf.minimum(count, 1))
    deviations = tf.math.multiply_no_nan(variance, tf.maximum(count - 1, 0))
    # A row for each replica, and all others zero: one sum gathers what all of them found, so that
    # all go on with the same bits, whatever the order in which the sum was taken.
    own = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)
    rows = own[:, None] * tf.concat([[count], mean, deviations], axis=0)
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, rows)
    counts, means, deviations = tf.split(rows, [1, channels, channels], axis=1)
    pixels = tf.reduce_sum(counts)
    mean = tf.reduce_sum(counts * means, axis=0) / tf.maximum(pixels, 1)
    deviations += counts * tf.square(means - mean)
    return mean, tf.reduce_sum(deviations, axis=0) / tf.maximum(pixels, 1), pixels


def _normalized(
    replica: Any, x: Any, gamma: Any, beta: Any, statistics: tuple[Any, Any, Any], epsilon: float
) -> Any:
    """y = gamma x_hat + beta, with x_hat = (x - mean) / sqrt(variance + epsilon), and back

        dx = gamma / sqrt(variance + epsilon) (dy - mean(dy) - x_hat mean(dy x_hat))

    with the means over the pixels of all replicas. The gradients of gamma and beta are those of
    this replica: optimizers add them up.
    """
    import tensorflow as tf

    mean, variance, pixels = statistics
    fixed = {"epsilon": epsilon, "is_training": False}
    moments = {"mean": mean, "variance": variance}

    @tf.custom_gradient
    def normalized(x, gamma, beta):
        y, *_, reserve = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, **moments, **fixed
        )

        def gradient(dy):
            if tf.config.list_physical_devices("GPU"):
                # That kernel has no deterministic form on GPUs, and is refused there.
                dx, dgamma, dbeta = _plain_gradients(dy, x, gamma, mean, variance + epsilon)
            else:
                dx, dgamma, dbeta, *_ = tf.raw_ops.FusedBatchNormGradV3(
                    y_backprop=dy,
                    x=x,
                    scale=gamma,
                    reserve_space_1=mean,
                    reserve_space_2=variance,
                    reserve_space_3=reserve,
                    **fixed,
                )
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([dgamma, dbeta]))
            factor = -gamma * tf.math.rsqrt(variance + epsilon) / tf.maximum(pixels, 1)
            # a x_hat + b is what the kernel computes, with other numbers for gamma and beta.
            through_moments, *_ = tf.raw_ops.FusedBatchNormV3(
                x=x, scale=factor * sums[0], offset=factor * sums[1], **moments, **fixed
            )
            return dx + through_moments, dgamma, dbeta

        return y, gradient

    return normalized(x, gamma, beta)


def _plain_gradients(dy: Any, x: Any, gamma: Any, mean: Any, variance: Any) -> tuple[Any, Any, Any]:
    """Of y = gamma (x - mean) / sqrt(variance), for x, gamma and the shift that is added."""
    import tensorflow as tf

    scale, g = tf.math.rsqrt(variance), tf.cast(dy, tf.float32)
    dbeta = tf.reduce_sum(g, [0, 1, 2])
    dgamma = scale * tf.reduce_sum(g * (tf.cast(x, tf.float32) - mean), [0, 1, 2])
    return dy * tf.cast(gamma * scale, dy.dtype), dgamma, dbeta

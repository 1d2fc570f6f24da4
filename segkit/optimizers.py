"""Adam in one kernel, and what the optimizers of Keras need to be told before they begin."""

from __future__ import annotations

from typing import Any, Sequence

import keras


def spare_from_decay(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]
) -> keras.optimizers.Optimizer:
    """Leaves biases, scales and shifts out of weight decay, and returns the optimizer.

    They are the variables with one axis or none. Decay draws kernels towards 0, and what follows
    them can make up for that; drawing a scale of a normalisation towards 0 closes its channel.
    Without weight decay nothing changes.

    Args:
        optimizer: that has not been built yet.
        variables: of the model to train.

    Raises:
        ValueError: if the optimizer has been built.

    Ref: He et al. 2019, arXiv:1812.01187, section 3.1.
    """
    if optimizer.built:
        raise ValueError(
            "Weight decay is settled before the optimizer is built. Received: one that has "
            f"{len(optimizer.variables)} variables already."
        )
    # As variables, not by name: under TensorFlow the optimizer sees other names than the model.
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    return optimizer


class _OneKernel:
    """Adam's update as one kernel of TensorFlow instead of a dozen; the same numbers."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if keras.backend.backend() != "tensorflow" or self.amsgrad:
            return super().update_step(gradient, variable, learning_rate)
        import tensorflow as tf

        if isinstance(gradient, tf.IndexedSlices) or variable.dtype != tf.float32:
            return super().update_step(gradient, variable, learning_rate)
        step = tf.cast(self.iterations + 1, tf.float32)
        index = self._get_variable_index(variable)
        m, v = self._momentums[index].value, self._velocities[index].value
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


@keras.saving.register_keras_serializable("segkit")
class Adam(_OneKernel, keras.optimizers.Adam):
    """Keras' Adam, in one kernel a variable where TensorFlow is the backend.

        m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
        w = w - a sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)

    Args, state and saved optimizers: those of `keras.optimizers.Adam`.

    Ref: Kingma and Ba 2015, arXiv:1412.6980, algorithm 1 in the order of its section 2.
    """


@keras.saving.register_keras_serializable("segkit")
class AdamW(_OneKernel, keras.optimizers.AdamW):
    """The same with decoupled weight decay, see `keras.optimizers.AdamW`."""

"""Convolutions with better gradients on processors, in bfloat16."""

from __future__ import annotations

from typing import Any

import keras

# Up to this width, oneDNN's gradient of a kernel wastes most of what its tiles hold.
NARROW = 8


@keras.saving.register_keras_serializable("segkit")
class Conv2D(keras.layers.Conv2D):
    """Keras' convolution, with gradients that are quicker or more exact on processors in bfloat16.

        dK[i, j] = sum_bhw x[b, h + i, w + j]^T dy[b, h, w],  dbias = sum_bhw dy[b, h, w]

    On few columns (W <= 8, a stride of 1, "same" padding) dK is computed as one product of
    matrices, from shifted copies of x side by side: half the time. dbias is summed in float32;
    TensorFlow's own kernel adds up in bfloat16 there, and stops counting after a few hundred
    pixels. The weights are the same, so saved models fit either.
    """

    def call(self, inputs: Any) -> Any:
        if not _quick(inputs) or self.lora_enabled:
            return super().call(inputs)
        if self._narrow(inputs.shape):
            outputs = _narrow_convolution(inputs, self.kernel)
        else:
            outputs = self.convolution_op(inputs, self.kernel)
        if self.use_bias:
            outputs = _shifted(outputs, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def _narrow(self, shape: tuple[int | None, ...]) -> bool:
        plain = (self.strides, self.dilation_rate, self.groups) == ((1, 1), (1, 1), 1)
        odd = all(size % 2 for size in self.kernel_size) and self.kernel_size != (1, 1)
        same = self.padding == "same" and self.data_format == "channels_last"
        return plain and odd and same and None not in shape[1:3] and shape[2] <= NARROW


@keras.saving.register_keras_serializable("segkit")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras' transposed convolution; where kernel and stride are equal, a product of matrices.

        y[b, s h + i, s w + j] = K[i, j] x[b, h, w] + bias

    for 0 <= i, j < s: windows do not overlap, and each pixel of x becomes s x s pixels of y. On a
    processor in bfloat16 this takes half the time, and the gradient of the bias is summed in
    float32: the kernel of TensorFlow adds up in bfloat16 there, and stops counting after a few
    hundred pixels. The weights are the same, so saved models fit either.
    """

    def call(self, inputs: Any) -> Any:
        apart = self.kernel_size == self.strides and len(set(self.strides)) == 1
        plain = self.dilation_rate == (1, 1) and self.output_padding is None
        last = self.data_format == "channels_last"
        if not (apart and plain and last and _quick(inputs) and self.use_bias):
            return super().call(inputs)
        outputs = _spread(inputs, self.kernel, self.bias, self.strides[0])
        return outputs if self.activation is None else self.activation(outputs)


def _quick(x: Any) -> bool:
    """Whether x is bfloat16 on a processor under TensorFlow."""
    if keras.backend.backend() != "tensorflow" or x.dtype != "bfloat16":
        return False
    import tensorflow as tf

    return not tf.config.list_physical_devices("GPU")


def _narrow_convolution(x: Any, kernel: Any) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(dy):
            rows, columns, k_in, k_out = kernel.shape
            height, width = x.shape[1:3]
            margins = [[0, 0], [rows // 2] * 2, [columns // 2] * 2, [0, 0]]
            padded = tf.pad(x, margins)
            shifts = [(i, j) for i in range(rows) for j in range(columns)]
            copies = tf.concat([padded[:, i : i + height, j : j + width] for i, j in shifts], -1)
            flat = tf.reshape(copies, [-1, len(shifts) * k_in])
            dk = tf.matmul(flat, tf.reshape(dy, [-1, k_out]), transpose_a=True)
            dx = tf.nn.conv2d_transpose(dy, kernel, tf.shape(x), 1, "SAME")
            return dx, tf.reshape(dk, kernel.shape)

        return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient

    return convolve(x, tf.cast(kernel, x.dtype))


def _shifted(x: Any, bias: Any) -> Any:
    import tensorflow as tf

    @tf.custom_gradient
    def shift(x, bias):
        # TensorFlow's reductions of bfloat16 add up in float32, unlike its BiasAddGrad.
        return tf.nn.bias_add(x, bias), lambda dy: (dy, tf.reduce_sum(dy, [0, 1, 2]))

    return shift(x, tf.cast(bias, x.dtype))


def _spread(x: Any, kernel: Any, bias: Any, stride: int) -> Any:
    import tensorflow as tf

    windows = stride * stride

    @tf.custom_gradient
    def spread(x, kernel, bias):
        k_out, k_in = kernel.shape[2:]
        matrix = tf.reshape(kernel, [windows * k_out, k_in])

        def gradient(dy):
            folded = tf.reshape(tf.nn.space_to_depth(dy, stride), [-1, windows * k_out])
            dk = tf.matmul(folded, tf.reshape(x, [-1, k_in]), transpose_a=True)
            # TensorFlow's reductions of bfloat16 add up in float32, unlike its BiasAddGrad.
            db = tf.reduce_sum(tf.reshape(tf.reduce_sum(folded, 0), [windows, k_out]), 0)
            dx = tf.nn.conv2d(dy, kernel, stride, "VALID")
            return dx, tf.reshape(dk, kernel.shape), db

        y = tf.nn.conv2d(x, tf.transpose(matrix)[None, None], 1, "SAME")
        return tf.nn.depth_to_space(tf.nn.bias_add(y, tf.tile(bias, [windows])), stride), gradient

    return spread(x, tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype))

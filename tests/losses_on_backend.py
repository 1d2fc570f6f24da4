"""Values and gradients of all losses on whatever backend Keras runs: python THIS IN.npz OUT.npz."""

import sys

import keras
import numpy as np
from gradients import gradient
from keras import ops
from loss_table import TABLE, WEIGHTS, make

# Factors of the logits: as they come, and so far apart that probabilities underflow.
SCALES = (1, 100)


def compute(target, logits):
    """{"loss, what": arrays of all scales} of every loss, with class weights."""
    found = {}
    for name in TABLE:
        both = on_backend(make(name, class_weights=WEIGHTS, reduction=None))
        values, gradients = zip(*(both(target, np.float32(k) * logits) for k in SCALES))
        found |= {f"{name}, value": np.stack(values), f"{name}, gradient": np.stack(gradients)}
    return found


def on_backend(loss):
    """(target, logits) -> the values (B,) and the gradient of their sum, compiled on JAX."""
    if keras.backend.backend() == "tensorflow":
        return lambda target, logits: (loss(target, logits), gradient(loss, target, logits))
    import jax

    def total(logits, target):
        values = loss(target, logits)
        return ops.sum(values), values

    compiled = jax.jit(jax.value_and_grad(total, has_aux=True))

    def both(target, logits):
        (_, values), pulls = compiled(logits, target)
        return np.asarray(values), np.asarray(pulls)

    return both


if __name__ == "__main__":
    inputs = np.load(sys.argv[1])
    np.savez(sys.argv[2], **compute(inputs["target"], inputs["logits"]))

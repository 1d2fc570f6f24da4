"""What the optimizers of Keras need to be told before they begin."""

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

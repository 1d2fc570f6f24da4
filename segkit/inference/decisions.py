"""Probabilities -> what is decided: temperature, and a threshold a class."""

from __future__ import annotations

from typing import Sequence

import numpy as np

_EVEN = 0.5


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities that softmax(logits / T) would have given.

        q_c = p_c^(1/T) / sum over k of p_k^(1/T)

    Args:
        probabilities: (..., C), each in [0, 1].
        temperature: T > 0; above 1 the model becomes less sure, below 1 surer.

    Ref: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    if temperature == 1:
        return probabilities
    logits = np.log(np.maximum(probabilities, np.finfo("float32").tiny)) / temperature
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def decide(probabilities: np.ndarray, thresholds: Sequence[float] | None = None) -> np.ndarray:
    """The id of the class that is chosen at each pixel.

        id = argmax over c of p_c (1 - t_c) / t_c

    So t_c is the probability from which class c wins against a class with t = 0.5, the background,
    where no other competes; 0.5 everywhere, or None, chooses the most probable class. Of equals,
    the first.

    Args:
        probabilities: (..., C).
        thresholds: t, (C,), each between 0 and 1.

    Returns:
        (...,) of uint8, or uint16 with more than 256 classes.
    """
    if thresholds is not None and any(t != _EVEN for t in thresholds):
        t = np.asarray(thresholds, "float64")
        probabilities = probabilities * ((1 - t) / t).astype("float32")
    kind = "uint8" if probabilities.shape[-1] <= 256 else "uint16"
    return np.argmax(probabilities, axis=-1).astype(kind)

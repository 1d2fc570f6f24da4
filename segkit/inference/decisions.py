"""Probabilities -> what is decided: temperature, and a threshold a class."""

from __future__ import annotations

from typing import Sequence

import numpy as np
from scipy.special import expit, logit

_EVEN = 0.5


def tempered(
    probabilities: np.ndarray, temperature: float, *, exclusive: bool = True
) -> np.ndarray:
    """The probabilities that softmax(logits / T), or sigmoid(logits / T), would have given.

        q_c = p_c^(1/T) / sum over k of p_k^(1/T)               classes that exclude each other
        q_c = p_c^(1/T) / (p_c^(1/T) + (1 - p_c)^(1/T))         independent classes

    A p_c of 1 in float32 stands for every logit above 16.6, and is taken for that one.

    Args:
        probabilities: (..., C), each in [0, 1].
        temperature: T > 0; above 1 the model becomes less sure, below 1 surer.
        exclusive: False: each class is there or not by itself.

    Ref: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    if temperature == 1:
        return probabilities
    if not exclusive:
        p = np.clip(probabilities, np.finfo("float32").tiny, 1 - np.finfo("float32").epsneg)
        return expit(logit(p) / temperature)
    logits = np.log(np.maximum(probabilities, np.finfo("float32").tiny)) / temperature
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def decide(
    probabilities: np.ndarray,
    thresholds: Sequence[float] | None = None,
    *,
    exclusive: bool = True,
) -> np.ndarray:
    """The id of the class that is chosen at each pixel; or, independent, which classes are.

        id = argmax over c of p_c (1 - t_c) / t_c       classes that exclude each other
        plane_c = p_c >= t_c                            independent classes

    So t_c is the probability from which class c wins against a class with t = 0.5, the background,
    where no other competes; 0.5 everywhere, or None, chooses the most probable class. Of equals,
    the first. Independent classes are chosen each by itself: none, some or all at a pixel.

    Args:
        probabilities: (..., C).
        thresholds: t, (C,), each between 0 and 1; None: 0.5.
        exclusive: False: each class is there or not by itself.

    Returns:
        (...,) of uint8, or uint16 with more than 256 classes; independent: planes (..., C) of
        uint8, 0 and 1.
    """
    if not exclusive:
        t = _EVEN if thresholds is None else np.asarray(thresholds, probabilities.dtype)
        return (probabilities >= t).view("uint8")
    if thresholds is not None and any(t != _EVEN for t in thresholds):
        t = np.asarray(thresholds, "float64")
        probabilities = probabilities * ((1 - t) / t).astype("float32")
    kind = "uint8" if probabilities.shape[-1] <= 256 else "uint16"
    return np.argmax(probabilities, axis=-1).astype(kind)

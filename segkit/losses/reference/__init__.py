"""NumPy twins of the losses: loops over pixels in float64, written from the formulas.

Slow on purpose: each reads like its formula, and a run of the fast loss is debugged by
comparing it with its twin on a few pixels. One function a loss, same arguments; all take a
target (B, H, W, C) and logits (B, H, W, C) and return one value an image, float64 (B,).
"""

from segkit.losses.reference.cells import (
    binary_cross_entropy,
    cosine_similarity,
    mean_squared_error,
)
from segkit.losses.reference.estimated import estimated_cross_entropy, estimated_dice
from segkit.losses.reference.pixels import log_softmax, softmax
from segkit.losses.reference.pixelwise import (
    cross_entropy,
    earth_movers,
    focal_cross_entropy,
    gated_cross_entropy,
    marginal_cross_entropy,
)
from segkit.losses.reference.regions import (
    bce_dice,
    exclusion,
    leaf_dice,
    marginal_dice,
    soft_dice,
    tversky,
    weighted_sum,
)

__all__ = [
    "bce_dice",
    "binary_cross_entropy",
    "cosine_similarity",
    "cross_entropy",
    "earth_movers",
    "estimated_cross_entropy",
    "estimated_dice",
    "exclusion",
    "focal_cross_entropy",
    "gated_cross_entropy",
    "leaf_dice",
    "log_softmax",
    "marginal_cross_entropy",
    "marginal_dice",
    "mean_squared_error",
    "soft_dice",
    "softmax",
    "tversky",
    "weighted_sum",
]

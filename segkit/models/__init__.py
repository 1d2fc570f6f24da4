"""Networks that map images (B, H, W, K) to logits (B, H, W, C)."""

from segkit.models.centers import CenterLoss, with_center_loss, without_feature_loss
from segkit.models.encoders import ENCODERS
from segkit.models.folding import fold
from segkit.models.precision import recast
from segkit.models.unet import unet

__all__ = [
    "CenterLoss",
    "ENCODERS",
    "fold",
    "recast",
    "unet",
    "with_center_loss",
    "without_feature_loss",
]

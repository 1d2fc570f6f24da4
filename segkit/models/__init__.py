"""Networks that map images (B, H, W, K) to logits (B, H, W, C)."""

from segkit.models.unet import unet

__all__ = ["unet"]

"""Losses that read three-state targets and logits; one family per file.

`reference` holds a NumPy twin of each, to read and to debug against.
"""

from segkit.losses import reference
from segkit.losses.base import SegmentationLoss
from segkit.losses.compound import BCEDice, WeightedSum
from segkit.losses.cross_entropy import CrossEntropy, GatedCrossEntropy, MarginalCrossEntropy
from segkit.losses.overlap import SoftDice

__all__ = [
    "BCEDice",
    "CrossEntropy",
    "GatedCrossEntropy",
    "MarginalCrossEntropy",
    "SegmentationLoss",
    "SoftDice",
    "WeightedSum",
    "reference",
]

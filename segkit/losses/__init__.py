"""Losses that read three-state targets and logits; one family per file.

`reference` holds a NumPy twin of each, to read and to debug against.
"""

from segkit.losses import reference
from segkit.losses.base import SegmentationLoss
from segkit.losses.compound import WeightedSum
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.estimated import EstimatedCrossEntropy, EstimatedDice
from segkit.losses.gated import GatedCrossEntropy
from segkit.losses.independent import BCEDice, Exclusion
from segkit.losses.label_sets import LeafDice, MarginalDice
from segkit.losses.marginal import FocalCrossEntropy, MarginalCrossEntropy
from segkit.losses.overlap import SoftDice, Tversky

__all__ = [
    "BCEDice",
    "CrossEntropy",
    "EstimatedCrossEntropy",
    "EstimatedDice",
    "Exclusion",
    "FocalCrossEntropy",
    "GatedCrossEntropy",
    "LeafDice",
    "MarginalCrossEntropy",
    "MarginalDice",
    "SegmentationLoss",
    "SoftDice",
    "Tversky",
    "WeightedSum",
    "reference",
]

"""Losses that read three-state targets and logits; one family per file.

`reference` holds a NumPy twin of each, to read and to debug against.
"""

from segkit.losses import reference
from segkit.losses.base import SegmentationLoss
from segkit.losses.cellwise import BinaryCrossEntropy, MeanSquaredError
from segkit.losses.compound import WeightedSum
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.estimated import EstimatedCrossEntropy, EstimatedDice
from segkit.losses.gated import GatedCrossEntropy
from segkit.losses.independent import BCEDice, Exclusion
from segkit.losses.label_sets import LeafDice, MarginalDice
from segkit.losses.marginal import FocalCrossEntropy, MarginalCrossEntropy
from segkit.losses.ordered import EarthMovers
from segkit.losses.overlap import SoftDice, Tversky
from segkit.losses.similarity import CosineSimilarity

__all__ = [
    "BCEDice",
    "BinaryCrossEntropy",
    "CosineSimilarity",
    "CrossEntropy",
    "EarthMovers",
    "EstimatedCrossEntropy",
    "EstimatedDice",
    "Exclusion",
    "FocalCrossEntropy",
    "GatedCrossEntropy",
    "LeafDice",
    "MarginalCrossEntropy",
    "MarginalDice",
    "MeanSquaredError",
    "SegmentationLoss",
    "SoftDice",
    "Tversky",
    "WeightedSum",
    "reference",
]

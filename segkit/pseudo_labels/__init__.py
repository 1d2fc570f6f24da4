"""Pseudo-labels: what a model, or the neighbours, say about pixels that nobody annotated."""

from segkit.pseudo_labels.choosing import NothingUnknown, Settings
from segkit.pseudo_labels.completing import Completed, complete
from segkit.pseudo_labels.deciding import Thresholds, decided
from segkit.pseudo_labels.filling import Filled, fill

__all__ = [
    "Completed",
    "Filled",
    "NothingUnknown",
    "Settings",
    "Thresholds",
    "complete",
    "decided",
    "fill",
]

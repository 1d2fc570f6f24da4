"""Learning rates over a run: as functions of the step, or following a score."""

from segkit.schedules.by_score import ReduceOnPlateau, adjustable
from segkit.schedules.by_step import Constant, Cosine, OneCycle, Polynomial, Schedule, Step

__all__ = [
    "Constant",
    "Cosine",
    "OneCycle",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "adjustable",
]

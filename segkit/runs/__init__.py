"""What a run folder says to those who use its model: classes, sizes, decisions, and the model."""

from segkit.runs.decisions import EVEN, Decisions
from segkit.runs.loading import load_model
from segkit.runs.parsing import DECISIONS
from segkit.runs.reading import CONFIG, LABELS, MODEL, NORMALIZATION, Run, read, require_alike

__all__ = [
    "CONFIG",
    "DECISIONS",
    "Decisions",
    "EVEN",
    "LABELS",
    "MODEL",
    "NORMALIZATION",
    "Run",
    "load_model",
    "read",
    "require_alike",
]

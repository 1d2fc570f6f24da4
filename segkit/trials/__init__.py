"""Trials of sweeps and searches: each in a folder and a process of its own, and recorded."""

from segkit.trials.records import Record, mean_iou, read
from segkit.trials.running import Outcome, composed, is_busy, run, run_here, setting

__all__ = [
    "Outcome",
    "Record",
    "composed",
    "is_busy",
    "mean_iou",
    "read",
    "run",
    "run_here",
    "setting",
]

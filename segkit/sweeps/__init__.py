"""Sweeps: what `segkit train -m` does."""

from segkit.sweeps.planning import FILE, Sweep, Trial, plan
from segkit.sweeps.running import run

__all__ = ["FILE", "Sweep", "Trial", "plan", "run"]

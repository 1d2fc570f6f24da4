"""Training in several processes: those that Ray starts, and those that Slurm has started."""

from segkit.clusters.driving import run_on_workers, starts_workers
from segkit.clusters.joining import WorkerLost, in_words, join, leave_the_log

__all__ = [
    "WorkerLost",
    "in_words",
    "join",
    "leave_the_log",
    "run_on_workers",
    "starts_workers",
]

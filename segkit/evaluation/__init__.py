"""What `segkit evaluate` does: the scores of a run on any data, and how sure they are."""

from segkit.evaluation.running import Evaluation, evaluate, run

__all__ = ["Evaluation", "evaluate", "run"]

"""Keras callbacks: what is shown, kept and stopped while a model trains."""

from segkit.callbacks.centers import KeptCenters
from segkit.callbacks.history import History
from segkit.callbacks.kept import BestModel
from segkit.callbacks.progress import Progress
from segkit.callbacks.stopping import EarlyStopping, StopOnNaN
from segkit.callbacks.tensorboard import TensorBoard
from segkit.callbacks.tracking import MLflow
from segkit.callbacks.writing import AtEnd, NeedsValidation, Writer

__all__ = [
    "AtEnd",
    "BestModel",
    "EarlyStopping",
    "History",
    "KeptCenters",
    "MLflow",
    "NeedsValidation",
    "Progress",
    "StopOnNaN",
    "TensorBoard",
    "Writer",
]

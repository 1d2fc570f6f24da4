"""Prediction: files of any size and number -> masks, probabilities and overlays."""

from segkit.prediction.files import predict, run
from segkit.prediction.outputs import Outputs, Summary

__all__ = ["Outputs", "Summary", "predict", "run"]

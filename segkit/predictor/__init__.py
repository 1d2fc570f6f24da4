"""A run, or several together, as a function from images to probabilities and decisions."""

from segkit.predictor.loading import load
from segkit.predictor.predicting import Predictor

__all__ = ["Predictor", "load"]

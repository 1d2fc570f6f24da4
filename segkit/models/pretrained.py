"""Weights of encoders: from the cache of Keras, the network or a file, or a word on what to do."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, Callable

ENDINGS = (".h5", ".hdf5", ".keras")


def pretrained(make: Callable[..., Any], weights: str, encoder: str, file: str) -> Any:
    """What `make` returns, a keras.Model with the weights asked for.

    Args:
        make: a function of keras.applications, called with `weights` alone.
        weights: "imagenet" or a path.
        encoder: what errors call the model.
        file: the name that Keras gives the ImageNet weights.

    Raises:
        ValueError: if they are neither there nor to be had, or do not fit; with the way out.
    """
    if weights == "imagenet":
        return _downloaded(make, encoder, file)
    path = Path(weights).expanduser()
    if not path.is_file() or not path.name.endswith(ENDINGS):
        reason = f"its name ends in none of {', '.join(ENDINGS)}" if path.is_file() else "no file"
        raise ValueError(
            f"weights must be null, imagenet, or the path of a file of weights. "
            f"Received: {weights!r}; {reason}."
        )
    try:
        with warnings.catch_warnings():
            # Keras warns of every part that it misses in the file, and then refuses the file.
            warnings.simplefilter("ignore")
            return make(weights=str(path))
    except Exception as error:  # HDF5, zip and Keras each have their own
        raise ValueError(
            f"{path} does not hold weights of {encoder} without its top: {_reason(error)}. "
            f"Expected: Keras' own {file}, or what save_weights of the model with "
            "include_top=False has written."
        ) from error


def _downloaded(make: Callable[..., Any], encoder: str, file: str) -> Any:
    cached = _cache() / file
    damaged = cached.is_file()
    try:
        return make(weights="imagenet")
    except Exception as error:  # Keras raises a plain Exception where the network fails
        state = "incomplete or of another version" if damaged else "missing"
        raise ValueError(
            f"The ImageNet weights of {encoder} could not be had: {cached} was {state}, and the "
            f"download ended with: {_reason(error)}. Put the file {file} into the folder "
            f"{cached.parent} (the environment variable KERAS_HOME names another one), or set "
            "model.weights to the path of the file, or model.weights=null for random weights."
        ) from error


def _cache() -> Path:
    """Where Keras looks for weights. It turns from a folder that it may not write to."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    return (home if os.access(home, os.W_OK) else Path("/tmp/.keras")) / "models"


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return text or type(error).__name__

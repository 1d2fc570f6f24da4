"""The model of a run, without running anything that its file may hold."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from segkit.runs.reading import Run


def load_model(path: str | os.PathLike | Run) -> Any:
    """The model of a run, or of a `.keras` file, without running any code the file may hold.

    Layers are found by the names under which they are registered, so `segkit.models` must have
    been imported; no other module is.

    Returns:
        keras.Model, not compiled.

    Raises:
        ValueError: naming the file, if it cannot be read, holds code, has weights that are no
            numbers, or is not for the classes and channels of the run.
    """
    import keras

    run, path = (path, path.model_path) if isinstance(path, Run) else (None, Path(path))
    if path.is_file() and not zipfile.is_zipfile(path):  # which Keras says is not there
        raise ValueError(
            f"segkit cannot read {path} as a model (it is no .keras file, or was cut short: "
            f"{path.stat().st_size:,} bytes). It is damaged. Take another run."
        )
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever zip, JSON, HDF5 and Keras say of a damaged file
        said = str(error).strip().split("\n")[0][:200]
        raise ValueError(
            f"segkit cannot read {path} as a model ({type(error).__name__}: {said}). It is "
            "damaged, or was not written by segkit. Take another run."
        ) from error
    for variable in model.variables:
        values = np.asarray(keras.ops.convert_to_numpy(variable))
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            layer = variable.path.rpartition("/")[0]
            raise ValueError(
                f"segkit cannot use {path}: the weights of {layer} in {path.name} are not all "
                "numbers. Take another run."
            )
    if run is not None:
        _require_fitting(model, run)
    return model


def _require_fitting(model: Any, run: Run) -> None:
    shape, classes = model.input_shape, len(run.labels.names)
    if (len(shape), model.output_shape[-1], shape[-1]) != (4, classes, run.channels):
        raise ValueError(
            f"{run.model_path} must map images of {run.channels} channels to {classes} classes, as "
            f"the run says. Received: {shape} to {model.output_shape}. Take another run."
        )

"""LiteRT, formerly TensorFlow Lite: one file for phones and small devices.

What is known about the model is an associated file, as TensorFlow Lite packs them: the `.tflite` is
a ZIP archive at its end, with `segkit.json` in it.
"""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import tensorflow as tf

from segkit.formats import saved_model
from segkit.formats.probabilities import Probabilities

NEEDS = ("ai_edge_litert",)

ABOUT = "segkit.json"


def write(module: Probabilities, path: Path, about: Mapping[str, Any]) -> None:
    """Writes the file `path`, with operations of LiteRT alone, none of TensorFlow's."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        saved_model.graph(module, Path(folder))
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(ABOUT, json.dumps(about, indent=1) + "\n")


def runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs the file with LiteRT, on the processor."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    image, probabilities = (
        details[0]["index"]
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(image, images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image, images)
        interpreter.invoke()
        return interpreter.get_tensor(probabilities)

    return run

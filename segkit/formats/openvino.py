"""OpenVINO, a file `.xml` with its weights in `.bin`, for processors and GPUs of Intel.

What is known about the model is its runtime information under `segkit`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np

from segkit.formats import KEY, saved_model
from segkit.formats.probabilities import OUTPUT, Probabilities

NEEDS = ("openvino",)


def write(module: Probabilities, path: Path, about: Mapping[str, Any]) -> None:
    """Writes the files `path` and, beside it, that of the weights, in float32."""
    import openvino

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        saved_model.graph(module, Path(folder))
        model = openvino.convert_model(folder)
        model.set_rt_info(json.dumps(about), [KEY])
        openvino.save_model(model, path, compress_to_fp16=False)


def runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs the file with OpenVINO, on the processor, in float32.

    Its own choice on processors with bfloat16 is bfloat16.
    """
    import openvino

    options = {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(path, "CPU", options)
    return lambda images: model(images)[OUTPUT]

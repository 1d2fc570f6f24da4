"""ONNX, one file for ONNX Runtime and much else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np

from segkit.formats import KEY
from segkit.formats.probabilities import INPUT, OUTPUT, Probabilities

NEEDS = ("tf2onnx", "onnx", "onnxruntime")

OPSET = 18  # of 2022: the newest that tf2onnx writes; ONNX Runtime reads it from 1.14 on
_AXES = ("batch", "height", "width", "channels")


def write(module: Probabilities, path: Path, about: Mapping[str, Any]) -> None:
    """Writes the file `path`; what is known about the model is its metadata entry `segkit`."""
    import onnx
    import tf2onnx

    function = module.probabilities
    proto, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_erfc, [])},
    )
    _require_known(proto)
    for value in (*proto.graph.input, *proto.graph.output):
        for axis, dimension in zip(_AXES, value.type.tensor_type.shape.dim):
            if not dimension.dim_value:
                dimension.dim_param = axis  # in place of numbers that nobody can read
    onnx.helper.set_model_props(proto, {KEY: json.dumps(about)})
    onnx.save(proto, path)
    onnx.checker.check_model(path)


def runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs the file with ONNX Runtime, on the processor."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """1 - erf(x), which tf2onnx leaves out: the GELU of Keras computes it."""
    one = graph.make_const(f"{name}_one", np.ones((), "float32"))
    erf = graph.make_node("Erf", node.input, name=f"{name}_erf")
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=node.output)


def _require_known(proto: Any) -> None:
    """tf2onnx writes down operations that it does not know, and the file cannot be run."""
    import onnx

    strange = sorted(
        {node.op_type for node in proto.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    )
    if strange:
        raise ValueError(
            f"ONNX has no operation for {', '.join(strange)} of TensorFlow. Take another format."
        )

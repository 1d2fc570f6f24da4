"""A few lines of Python that run a file of a format without segkit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from jinja2 import Environment, FileSystemLoader, StrictUndefined

RUNTIMES = {
    "onnx": "onnxruntime",
    "saved_model": "tensorflow",
    "litert": "ai-edge-litert",
    "openvino": "openvino",
}


def script(format_name: str, file: str, about: Mapping[str, Any]) -> str:
    """Python that segments an image with the file and writes the mask as a palette PNG.

    Independent classes: their planes as .npy.

    Args:
        format_name: one of `segkit.formats.FORMATS`.
        file: name of the file; it is to stand beside the script.
        about: what the file says about itself: exclusive, channels, value_range, size, fit,
            thresholds and names decide on the lines.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=False,  # Python: what is put in are numbers, and names by repr
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["repr"] = repr
    return environment.get_template("predict.py.jinja").render(
        format=format_name,
        runtime=RUNTIMES[format_name],
        file=str(file),
        channels=int(about["channels"]),
        value_range=about["value_range"] is not None,
        resized=about["size"] is not None and about["fit"] == "resize",
        thresholds=about["thresholds"] is not None,
        classes=len(about["names"]),
        exclusive=about["exclusive"],
    )

"""Formats that a model can be written in for others to run: one file a format.

Each of them has NEEDS (packages, as they are imported), `write(module, path, about)` and
`runner(path)`.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping, Protocol

if TYPE_CHECKING:  # names of formats are known without TensorFlow
    import numpy as np

    from segkit.formats.probabilities import Probabilities

# Format -> how the names of its files end; "" is a folder.
SUFFIXES = {"onnx": ".onnx", "saved_model": "", "litert": ".tflite", "openvino": ".xml"}
FORMATS = tuple(SUFFIXES)

# Under which the JSON about the model stands in the file itself.
KEY = "segkit"


class Format(Protocol):
    """What each module of a format has."""

    NEEDS: tuple[str, ...]

    def write(self, module: Probabilities, path: Path, about: Mapping[str, Any]) -> None:
        """Writes `path`, with `about` inside; files that belong to it stand beside it."""

    def runner(self, path: Path) -> Callable[[np.ndarray], np.ndarray]:
        """Images (B, H, W, K) -> probabilities (B, H, W, C), by the runtime of the format."""


def named(name: str) -> Format:
    """The format of a name, one of `FORMATS`.

    Raises:
        ValueError: if there is none of this name, or a package that it needs is not installed.
    """
    if name not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, all. Received: {name!r}.")
    found = importlib.import_module(f"segkit.formats.{name}")
    missing = [package for package in found.NEEDS if importlib.util.find_spec(package) is None]
    if missing:
        raise ValueError(
            f"format={name} needs packages that are not installed: {', '.join(missing)}. Install "
            "them: pip install 'segkit[export]'."
        )
    return found

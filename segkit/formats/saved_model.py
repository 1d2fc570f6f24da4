"""SavedModel, the folder that TensorFlow and TensorFlow Serving run.

The signature is `serving_default`; what is known about the model stands in
`assets.extra/segkit.json`, the place that TensorFlow leaves to others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import tensorflow as tf

from segkit.formats.probabilities import INPUT, OUTPUT, Probabilities

NEEDS = ("tensorflow",)

SIGNATURE = "serving_default"
ABOUT = Path("assets.extra", "segkit.json")


def write(module: Probabilities, path: Path, about: Mapping[str, Any]) -> None:
    """Writes the folder `path`."""
    graph(module, path)
    file = path / ABOUT
    file.parent.mkdir()
    file.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def graph(module: Probabilities, path: Path) -> None:
    """Writes the folder `path` without anything about the model: what other formats begin from."""
    tf.saved_model.save(module, str(path), signatures={SIGNATURE: module.probabilities})


def runner(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Runs the folder with TensorFlow."""
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures[SIGNATURE]

    def run(images: np.ndarray, kept: Any = loaded) -> np.ndarray:  # its weights live with it
        return signature(**{INPUT: tf.constant(images)})[OUTPUT].numpy()

    return run

"""Train semantic-segmentation models on the annotations people actually have.

Importing this package imports nothing else: rooms such as `segkit.losses` are loaded when
they are first named, so that `segkit --help` need not wait for TensorFlow.
"""

import importlib

__version__ = "0.1.0.dev0"

_ROOMS = (
    "assembly",
    "callbacks",
    "checking",
    "class_counts",
    "class_weights",
    "coarse",
    "config",
    "contract",
    "data",
    "environment",
    "erasing",
    "estimation",
    "evaluation",
    "evidence",
    "explaining",
    "findings",
    "labels",
    "losses",
    "metrics",
    "models",
    "palette",
    "parallel",
    "preflight",
    "previewing",
    "report",
    "sources",
    "synthesis",
    "synthetic",
    "tables",
    "targets",
    "training",
    "weighting",
)


def __getattr__(name: str):
    """Imports a room on first use: `segkit.losses` works after a plain `import segkit`."""
    if name in _ROOMS:
        return importlib.import_module(f"segkit.{name}")
    raise AttributeError(f"segkit has no {name!r}. It has: {', '.join(_ROOMS)}.")


def __dir__() -> list[str]:
    return [*globals(), *_ROOMS]

"""Train semantic-segmentation models on the annotations people actually have.

Importing this package imports nothing else: rooms such as `segkit.losses` are loaded when
they are first named, so that `segkit --help` need not wait for TensorFlow.
"""

import importlib

__version__ = "0.1.0.dev0"

_ROOMS = (
    "assembly",
    "audit",
    "averaging",
    "calibration",
    "callbacks",
    "checking",
    "checkpoints",
    "class_counts",
    "class_weights",
    "clipping",
    "clusters",
    "coarse",
    "combinations",
    "comparison",
    "completion",
    "config",
    "contract",
    "data",
    "devices",
    "environment",
    "epochs",
    "erasing",
    "estimation",
    "evaluation",
    "evidence",
    "explaining",
    "export",
    "features",
    "findings",
    "finishing",
    "formats",
    "grouping",
    "helping",
    "inference",
    "labels",
    "loop",
    "losses",
    "lr_finding",
    "metrics",
    "models",
    "optimizers",
    "ordered",
    "palette",
    "parallel",
    "prediction",
    "predictor",
    "preflight",
    "previewing",
    "replicates",
    "pseudo_labels",
    "report",
    "resuming",
    "rounds",
    "run_data",
    "run_folders",
    "runs",
    "schedules",
    "scoring",
    "search",
    "searching",
    "sources",
    "spelling",
    "surroundings",
    "sweeps",
    "synthesis",
    "synthetic",
    "tables",
    "targets",
    "training",
    "transfer",
    "trials",
    "watching",
    "weighting",
)


def __getattr__(name: str):
    """Imports a room on first use: `segkit.losses` works after a plain `import segkit`."""
    if name == "load":
        return importlib.import_module("segkit.predictor").load
    if name in _ROOMS:
        return importlib.import_module(f"segkit.{name}")
    raise AttributeError(f"segkit has no {name!r}. It has: {', '.join(_ROOMS)}.")


def __dir__() -> list[str]:
    return [*globals(), *_ROOMS, "load"]

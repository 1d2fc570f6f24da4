"""What a file says about the model in it."""

from __future__ import annotations

from typing import Any, Sequence

import segkit
from segkit.formats.probabilities import INPUT, OUTPUT
from segkit.runs import Decisions, Run


def about(
    run: Run, name: str, shape: Sequence[int | None], decisions: Decisions | None
) -> dict[str, Any]:
    """What the metadata of a file and the JSON beside it hold.

    Args:
        run: whose model it is.
        name: of the format.
        shape: of the images, (B, H, W, K); None: any.
        decisions: whose temperature is inside; None: none.
    """
    labels = run.labels
    mean, std = (run.normalization.get(key) for key in ("mean", "std"))
    return {
        "segkit": segkit.__version__,
        "format": name,
        "input": {"name": INPUT, "dtype": "float32", "shape": list(shape), "range": [0, 1]},
        "output": {
            "name": OUTPUT,
            "dtype": "float32",
            "shape": [*shape[:-1], labels.num_classes],
        },
        "names": list(labels.names),
        "exclusive": labels.exclusive,
        "background": labels.background,
        "ignore_index": labels.ignore_index,
        "values": labels.values and list(labels.values),
        "unit": labels.unit,
        "palette": [list(color) for color in labels.palette],
        "channels": run.channels,
        "value_range": run.value_range,
        "size": None if run.size is None else list(run.size),
        "fit": run.fit,
        "inside": {
            "mean": mean,
            "std": std,
            "temperature": decisions.temperature if decisions else 1.0,
        },
        "thresholds": dict(zip(labels.names, decisions.thresholds)) if decisions else None,
    }

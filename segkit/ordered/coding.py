"""From scores to classes, and from the probabilities of classes back to a mean."""

from __future__ import annotations

from typing import Any, Sequence

import numpy as np

from segkit.contract import backend_of, dtype_name, shape_text
from segkit.ordered.bins import OUTSIDE, ascending


def encode(
    scores: Any, edges: Sequence[float], ignore_index: int | None = None, outside: str = "ignore"
) -> Any:
    """Cuts scores into classes.

        id = c where edges[c] <= score < edges[c + 1]; the last class has its upper edge, too

    NaN becomes the ignore_index, and so do scores outside of the edges, unless they are clipped.

    Args:
        scores: numbers of any shape.
        edges: C + 1 of them, ascending.
        ignore_index: of what is in no class; None if there is no such thing.
        outside: "ignore" or "clip".

    Returns:
        ids of that shape: int64 of a NumPy array, int32 of a tensor.

    Raises:
        ValueError: if there is a score in no class, and ignore_index is None (of tensors this is
            not looked at: such scores get -1).
    """
    edges = ascending("edges", edges, 2)
    if outside not in OUTSIDE:
        raise ValueError(f"outside must be {' or '.join(OUTSIDE)}. Received: {outside!r}.")
    xp = backend_of(scores)
    scores = np.asarray(scores) if xp is np else scores
    # In the precision of the scores: 0.7 in a file of float32 is the edge 0.7.
    real = dtype_name(scores).startswith(("float", "bfloat"))
    limits = np.asarray(edges, dtype_name(scores) if real and xp is np else "float64")
    if xp is not np:
        limits = xp.convert_to_tensor(limits, scores.dtype if real else "float32")
        scores = scores if real else xp.cast(scores, "float32")
    last = len(edges) - 2
    ids = xp.clip(xp.digitize(scores, limits) - 1, 0, last)
    lost = xp.isnan(scores)
    if outside == "ignore":
        lost = xp.logical_or(lost, xp.logical_or(scores < limits[0], scores > limits[-1]))
    if ignore_index is None and xp is np and lost.any():
        received = scores[lost].ravel()
        raise ValueError(
            f"Every score must lie in {edges[0]:g} to {edges[-1]:g}, or an ignore_index must stand "
            f"for those that do not. Received: {', '.join(f'{s:g}' for s in received[:5])} and "
            f"such in {received.size:,} of {scores.size:,} pixels."
        )
    found = xp.where(lost, -1 if ignore_index is None else ignore_index, ids)
    return found.astype("int64") if xp is np else xp.cast(found, "int32")


def decode(probabilities: Any, values: Sequence[float]) -> tuple[Any, Any]:
    """Mean and standard deviation of what the classes stand for, under their probabilities.

        mean = sum over c of p_c v_c,  deviation = sqrt(sum over c of p_c (v_c - mean)^2)

    Args:
        probabilities: (..., C), which sum to 1 over the classes. NumPy or tensors.
        values: v, (C,), of `LabelSpace.values`.

    Returns:
        both (...,), in the unit of the values and the precision of the probabilities.

    Raises:
        ValueError: if their numbers differ.
    """
    if values is None or probabilities.shape[-1] != len(values):
        count = "none" if values is None else len(values)
        raise ValueError(
            f"Each class needs a value. Received: probabilities {shape_text(probabilities)}, "
            f"values: {count}."
        )
    xp = backend_of(probabilities)
    if xp is np:
        v = np.asarray(values, probabilities.dtype)
    else:
        v = xp.convert_to_tensor(values, dtype=probabilities.dtype)
    mean = xp.sum(probabilities * v, axis=-1)
    squares = (v - mean[..., None]) ** 2
    return mean, xp.sqrt(xp.sum(probabilities * squares, axis=-1))

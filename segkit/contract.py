"""What every part of segkit agrees on: the letters, the three states, one sample, one source.

Dimension letters, in every docstring: B batch, H height, W width, K image channels, C classes;
arrays are channels-last.

A *mask* is what lies on disk: integer ids (H, W). *annotated* is a boolean (C,) per image: was
anyone looking for this class here? A *target* is int8 (B, H, W, C), made from the two by
`segkit.targets.encode` just before the loss and never stored; each cell holds one of the three
states below. A pixel is *judged* if at least one of its channels is not UNKNOWN, and its
*candidates* are the channels that are not RULED_OUT.

Nothing here imports a tensor library until a tensor is handed in.
"""

from __future__ import annotations

import numbers
import operator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Sequence

import numpy as np

if TYPE_CHECKING:
    from segkit.labels import LabelSpace

LABELLED = 1  # the annotation puts this class here
RULED_OUT = 0  # the annotation excludes this class here
UNKNOWN = -1  # nobody looked (the convention of scikit-learn's semi-supervised module)


class Sample(NamedTuple):
    """One image with what is known about it.

    image: uint8 (H, W, K), or float32 (H, W, K) in [0, 1].
    mask: integer ids (H, W), as annotated; independent classes: 0/1 planes (H, W, C).
    annotated: bool (C,), the classes somebody looked for.
    truth: like `mask`, with everything outlined; None where nobody knows.
    name: what errors, logs and reports call the image.
    weight: how far the annotation is trusted, from 0 on; multiplies the loss of the image.
    """

    image: np.ndarray
    mask: np.ndarray
    annotated: np.ndarray
    truth: np.ndarray | None = None
    name: str = ""
    weight: float = 1.0


class Source(Protocol):
    """Anything with a length, a label space, and a `Sample` at each index, always the same one.

    `annotation` gives the `mask` and `annotated` of a sample without making its image.
    """

    labels: LabelSpace

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]: ...


def innermost(source: Any) -> Any:
    """The source inside those that change what is known of it, such as `HiddenAnnotations`."""
    while hasattr(source, "source"):
        source = source.source
    return source


def backend_of(array: Any):
    """The namespace to compute on `array` with: NumPy for NumPy, keras.ops for tensors."""
    if isinstance(array, (np.ndarray, np.generic, list, tuple)):
        return np
    from keras import ops

    return ops


def dtype_name(array: Any) -> str:
    """The dtype of an array or tensor of any library, as NumPy names it."""
    dtype = array.dtype
    return str(getattr(dtype, "name", dtype)).removeprefix("torch.")


def shape_text(array: Any) -> str:
    """A shape for an error message, `(2, None, None, 4)`; unknown sizes are None."""
    shape: Sequence[int | None] | None = getattr(array, "shape", None)
    return "of unknown rank" if shape is None else str(tuple(shape))


def require_target(target: Any, logits: Any, who: str) -> None:
    """Checks that a loss or metric got a target (B, H, W, C) and logits of the same shape.

    Raises:
        ValueError: if the shapes differ, are not four-dimensional, or the target is unsigned.
            In an unsigned array UNKNOWN (-1) has become 255 and would never be recognised.
    """
    if dtype_name(target).startswith("uint") or dtype_name(target) == "bool":
        raise ValueError(
            f"{who} needs a signed target: UNKNOWN is -1, which an unsigned type stores as 255. "
            f"Received: dtype {dtype_name(target)}. "
            "Make the target with segkit.targets.encode (int8)."
        )
    expected, received = tuple(logits.shape), tuple(target.shape)
    known = len(expected) == len(received) == 4
    if not known or any(a != b for a, b in zip(expected, received) if None not in (a, b)):
        raise ValueError(
            f"{who} needs a target and logits of one shape (B, H, W, C). "
            f"Received: target {shape_text(target)}, logits {shape_text(logits)}. "
            "Turn integer masks into a target with segkit.targets.encode."
        )


def judged_pixels(target: Any) -> Any:
    """Where anything is known: bool (..., H, W), False at ignored pixels. NumPy or tensors."""
    xp = backend_of(target)
    return xp.any(xp.not_equal(target, UNKNOWN), axis=-1)


def candidates(target: Any) -> Any:
    """The classes a pixel may still belong to: bool, the shape of `target`. NumPy or tensors."""
    xp = backend_of(target)
    return xp.not_equal(target, RULED_OUT)


def whole_number(name: str, value: int, least: int = 0) -> int:
    """`value` as an int.

    Raises:
        ValueError: if it is no whole number from `least` on.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, (bool, np.bool_)) or number < least:
        raise ValueError(f"{name} must be a whole number from {least} on. Received: {value!r}.")
    return number


def is_number(value: Any) -> bool:
    """Whether a value is a real number; true and false are none."""
    flag = isinstance(value, (bool, np.bool_))
    return isinstance(value, (numbers.Real, np.number)) and not flag


def share(name: str, value: float) -> float:
    """`value` as a float.

    Raises:
        ValueError: if it is no number from 0 to 1.
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1. Received: {value!r}.")
    return float(value)

"""Which axes of a zarr array are height, width and channels."""

from __future__ import annotations

from typing import NamedTuple, Sequence

from segkit.data.places import Place
from segkit.data.readers.formats import Unreadable

_ROWS, _COLUMNS = ("y", "row", "rows", "height", "h"), ("x", "column", "columns", "width", "w")
_CHANNELS = ("c", "k", "channel", "channels", "band", "bands", "s", "sample", "samples")
_COLORS = range(1, 5)  # bands that are nearly always the last or first axis: grey to RGBA


class Arrangement(NamedTuple):
    """The axes of an array: those of rows, of columns and of channels (None: there is one)."""

    rows: int
    columns: int
    channels: int | None


def arrangement(
    shape: Sequence[int], names: Sequence[str] | None, channels: int, path: Place
) -> Arrangement:
    """Finds the axes by their names, or else by their lengths.

    Args:
        shape: of the array.
        names: one an axis, if the store has them.
        channels: that are expected.
        path: named in errors.

    Raises:
        Unreadable: if that is no image: other axes that are longer than 1.
    """
    if names is not None and len(names) == len(shape):
        found = _by_name([str(name).lower() for name in names], shape)
    else:
        found = _by_length(shape, channels)
    if found is None:
        called = f" called {', '.join(map(str, names))}" if names is not None else ""
        raise Unreadable(
            f"{path} must hold one image: (H, W), (H, W, K) or (K, H, W), other axes of length 1. "
            f"Received: shape {tuple(shape)}{called}. Save each image as an array of its own, or "
            "name its axes y, x and c (dimension_names)."
        )
    return found


def _by_name(names: list[str], shape: Sequence[int]) -> Arrangement | None:
    rows = [axis for axis, name in enumerate(names) if name in _ROWS]
    columns = [axis for axis, name in enumerate(names) if name in _COLUMNS]
    bands = [axis for axis, name in enumerate(names) if name in _CHANNELS]
    others = set(range(len(shape))) - {*rows, *columns, *bands}
    if len(rows) != 1 or len(columns) != 1 or len(bands) > 1:
        return None
    if any(shape[axis] != 1 for axis in others):
        return None
    return Arrangement(rows[0], columns[0], bands[0] if bands else None)


def _by_length(shape: Sequence[int], channels: int) -> Arrangement | None:
    ahead = 0
    while len(shape) - ahead > 3 and shape[ahead] == 1:
        ahead += 1
    if len(shape) - ahead == 2:
        return Arrangement(ahead, ahead + 1, None)
    if len(shape) - ahead != 3:
        return None
    first, last = shape[ahead], shape[-1]
    for wanted in ((channels,), _COLORS):
        if last in wanted:
            return Arrangement(ahead, ahead + 1, ahead + 2)
        if first in wanted:
            return Arrangement(ahead + 1, ahead + 2, ahead)
    return None

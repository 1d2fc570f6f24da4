"""Of ordered classes: the mean of what they stand for at each pixel, and how sure it is."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Iterator, Mapping

import numpy as np

from segkit.data import rasters
from segkit.labels import LabelSpace
from segkit.ordered import decode

MOMENTS = ("means", "deviations")  # in the order of `segkit.ordered.decode`


class Moments:
    """Hands mean and standard deviation to those of the writers that are there.

    Args:
        writers: by name, of `MOMENTS`.
        labels: with values.
    """

    def __init__(self, writers: Mapping[str, Any], labels: LabelSpace):
        self._writers, self._labels = writers, labels

    def write(self, rows: slice, probabilities: np.ndarray) -> None:
        """Probabilities (h, W, C) of some rows, from the top to the bottom."""
        if not self._writers:
            return
        for name, numbers in zip(MOMENTS, decode(probabilities, self._labels.values)):
            if name in self._writers:
                self._writers[name].write(rows, numbers)


@contextlib.contextmanager
def writing(
    paths: Mapping[str, Path], shape: tuple[int, int], labels: LabelSpace, like: Any
) -> Iterator[Moments]:
    """Writes what `paths` names of `MOMENTS`, in the unit of the values; the files say which."""
    about = {"unit": labels.unit, "values": labels.values and list(labels.values)}
    with contextlib.ExitStack() as stack:
        writers = {}
        for name in MOMENTS:
            if name in paths:
                said = {"holds": name, **about}
                writer = rasters.write_numbers(paths[name], shape, labels, like, said)
                writers[name] = stack.enter_context(writer)
        yield Moments(writers, labels)


def require_values(wanted: Any, labels: LabelSpace) -> None:
    """Refuses means of classes that stand for no numbers.

    Raises:
        ValueError: naming what was asked for.
    """
    asked = [name for name in MOMENTS if getattr(wanted, name)]
    if asked and labels.values is None:
        raise ValueError(
            f"{' and '.join(asked)} need classes with values, and those of the run have none. "
            f"Received: {', '.join(f'{name}={getattr(wanted, name)}' for name in asked)}. Ordered "
            'classes have "values" in classes.json, one number a class; train on those.'
        )

"""Planes of independent classes as a folder of black and white PNG files, one a class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from segkit.data.class_folders import file_stems
from segkit.data.rasters.sinks import Png
from segkit.labels import LabelSpace


class ClassPngs:
    """`FOLDER/CLASS.png` for each class, also for those that are nowhere: they were looked for.

    Between two strips no file is open, however many classes there are.

    Args:
        folder: where to write.
        shape: (H, W).
        labels: the names of the classes.
        metadata: more that the description of each file is to hold, for JSON.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int], labels: LabelSpace, metadata: Mapping[str, Any]
    ):
        folder.mkdir(exist_ok=True)
        self._files = []
        for name, stem in zip(labels.names, file_stems(labels)):
            text = json.dumps({"class": name, **metadata})
            file = _Appended(folder / f"{stem}.png")
            self._files.append(Png(file, shape, None, text, binary=True))

    def put(self, values: np.ndarray) -> None:
        """Planes (h, W, C); what is not 0 becomes white."""
        planes = np.ascontiguousarray(np.moveaxis(values, -1, 0))  # else each is read in steps of C
        for file, plane in zip(self._files, planes):
            file.put(plane)

    def close(self) -> None:
        """Completes the files."""
        for file in self._files:
            file.close()

    def abort(self) -> None:
        """Nothing is open."""


class _Appended:
    """A file that is open only while it is written to."""

    def __init__(self, path: Path):
        self._path = path

    def write(self, data: bytes) -> None:
        with open(self._path, "ab") as file:
            file.write(data)

    def close(self) -> None:
        """Nothing is open."""

"""What is written for an image, and what came of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from segkit.data import rasters
from segkit.data.inputs import Input


@dataclass(frozen=True)
class Outputs:
    """What is written for each image, and how.

    masks: the kind of file of the ids: png, tif, zarr or npy.
    probabilities: tif, zarr or npy; None: none are written.
    overlays: png or jpg; None: none.
    means, deviations: of the values of ordered classes, one number a pixel: tif, zarr or npy;
        None: none.
    """

    masks: str = "png"
    probabilities: str | None = None
    overlays: str | None = None
    means: str | None = None
    deviations: str | None = None

    def __post_init__(self):
        numbers = rasters.PLANE_SUFFIXES
        kinds = (rasters.ID_SUFFIXES, numbers, rasters.OVERLAY_SUFFIXES, numbers, numbers)
        for (key, value), known in zip(vars(self).items(), kinds):
            if value is not None and f".{value}" not in known or (key, value) == ("masks", None):
                there = ", ".join(suffix.removeprefix(".") for suffix in known)
                raise ValueError(f"{key} must be one of {there}. Received: {value!r}.")

    def paths(self, folder: Path, name: str) -> dict[str, Path]:
        """{what: file} for an image of that name."""
        return {what: folder / what / f"{name}.{kind}" for what, kind in vars(self).items() if kind}


@dataclass
class Summary:
    """What came of it: written, there already, and {path of an input: what is wrong with it}."""

    written: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Job(NamedTuple):
    """An image, and the files to write for it: {what: path}."""

    input: Input
    paths: dict[str, Path]

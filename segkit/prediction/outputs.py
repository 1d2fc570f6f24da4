"""What is written for an image, and what came of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Sequence

from segkit.data import rasters
from segkit.data.class_folders import file_stems
from segkit.data.inputs import Input
from segkit.labels import LabelSpace


@dataclass(frozen=True)
class Outputs:
    """What is written for each image, and how.

    masks: the kind of file of the ids: png, tif, zarr or npy. Independent classes: a black and
        white png a class, in a folder an image; or planes (H, W, C) of 0 and 1 in one file.
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

    def paths(self, folder: Path, name: str, labels: LabelSpace) -> dict[str, Path]:
        """{what: file} for an image of that name; "class_files" is a folder with one a class."""
        found = {
            what: folder / what / f"{name}.{kind}" for what, kind in vars(self).items() if kind
        }
        if not labels.exclusive and self.masks == "png":
            file_stems(labels)  # refuses what cannot be written, before anything is predicted
            del found["masks"]
            found["class_files"] = folder / "masks" / name
        return found


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


def require_apart(jobs: Sequence[Job]) -> None:
    """Refuses images whose class files would lie in the folder of those of another image.

    Raises:
        ValueError: naming two of them.
    """
    folders = {job.paths["class_files"]: job for job in jobs if "class_files" in job.paths}
    for path, job in folders.items():
        for above in path.parents:
            if above in folders:
                raise ValueError(
                    f"The masks of {folders[above].input.path} would be the folder {above}, and "
                    f"those of {job.input.path} lie in it. Write one file an image with masks=tif, "
                    "or rename one of them."
                )

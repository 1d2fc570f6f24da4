"""Which image each prediction in a folder was made from."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Sequence

from segkit.data.places import is_local
from segkit.prediction.outputs import Job
from segkit.tables import cell

FILE = "images.csv"  # a row for each that was written, the last one of a name counts


def add(folder: Path, job: Job) -> None:
    """Notes that the outputs of an image are there."""
    path = folder / FILE
    new = not path.exists()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([["name", "image"]] * new + [[cell(job.input.name), _image(job)]])


def require_same(folder: Path, jobs: Sequence[Job]) -> None:
    """Refuses to leave alone what was made from other images of the same names.

    Raises:
        ValueError: naming one of them.
    """
    made_from = _read(folder / FILE)
    for job in jobs:
        image = made_from.get(cell(job.input.name), _image(job))
        there = [path for path in job.paths.values() if path.exists()]
        if there and image != _image(job):
            raise ValueError(
                f"{there[0]} was made from {image}. Received: {_image(job)}, another image of that "
                "name. Choose another folder with output=DIR, or overwrite=true to make it anew."
            )


def _image(job: Job) -> str:
    path = job.input.path
    return cell(os.path.abspath(path) if is_local(path) else path)


def _read(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return {row[0]: row[1] for row in csv.reader(file) if len(row) == 2}
    except FileNotFoundError:
        return {}

"""A completed data set as a folder that appears whole or not at all."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import os
import shutil
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import numpy as np
from PIL import Image

from segkit import sources
from segkit.contract import Sample, Source
from segkit.data.manifest import FILE_NAME, format_annotated
from segkit.data.places import Place, is_local, read_bytes
from segkit.grouping import groups_of
from segkit.labels import LabelSpace
from segkit.pseudo_labels.opening import (
    inside,
    is_as_filed,
    may_have_truth,
    name_of,
    pair_of,
    weight_of,
)
from segkit.pseudo_labels.storing import Stored

IMAGES = ("copy", "link")


class Row(NamedTuple):
    """A line of annotations.csv: image "SPLIT/NAME", what it was looked at for, weight, group."""

    image: str
    annotated: np.ndarray
    weight: float
    group: str


def check_output(
    output: str | os.PathLike, root: str | None, reports: tuple[str, ...] = ()
) -> Path:
    """The folder to write to, which must be new, and no part of the source or around it.

    Args:
        output: the folder.
        root: of the source, if it is one.
        reports: files that may lie there already: those of a dry run.

    Raises:
        FileExistsError: if something is there. ValueError: if it lies in the source, or around it.
    """
    path = Path(output)
    if root is not None and "://" not in str(root):
        if inside(path, root) or inside(Path(root), path):
            raise ValueError(
                f"The completed data set needs a folder of its own, outside {root}, which is never "
                f"changed. Received: output={path}."
            )
    if path.exists() and (not path.is_dir() or {p.name for p in path.iterdir()} - {*reports}):
        raise FileExistsError(
            f"{path} is there and not empty. Name a new folder: output=DIR, or delete it."
        )
    return path


@contextlib.contextmanager
def staged(output: Path, reports: tuple[str, ...] = ()) -> Iterator[Path]:
    """A hidden folder beside `output` that becomes it at the end, and is removed after an error.

    What a killed process left there is removed by the next one; and `reports` of a dry run, which
    lie where the data set comes to lie.

    Raises:
        FileExistsError: if another process writes there.
    """
    sources.make_folder(output.parent)
    stage = output.with_name(f".{output.name}.unfinished")
    handle = os.open(f"{stage}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FileExistsError(f"Another process writes {output}. Wait for it.") from error
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir()
        try:
            yield stage
            for name in reports:
                (output / name).unlink(missing_ok=True)
            os.replace(stage, output)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.unlink(f"{stage}.lock")
    finally:
        os.close(handle)


class Writer:
    """Writes the images of one split, one after the other, and remembers what to declare.

    Args:
        folder: of the split.
        source: the images as they were.
        images: copy the files, or link them where the disk can.
        plain: whether every mask is written anew, in one file.
    """

    def __init__(self, folder: Path, source: Source, images: str, plain: bool):
        self._folder, self._source, self._images, self._plain = folder, source, images, plain
        self._groups = groups_of(source)
        self.rows: list[Row] = []
        self._names: set[str] = set()
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def write(
        self, index: int, sample: Sample | None, stored: Stored | None, factor: float = 1.0
    ) -> None:
        """One image, with its mask as given, or as it is now.

        Args:
            index: of the source.
            sample: read from it; None if files alone are copied.
            stored: the new mask and declaration; None: as given.
            factor: of the weight, of images that were completed.
        """
        name = name_of(self._source, index, sample)
        if name in self._names:
            raise ValueError(f"Two images would be called {name!r}. Rename one of them.")
        self._names.add(name)
        self._write_image(index, sample, name)
        if stored is None and is_as_filed(self._source, index) and not self._plain:
            annotated = self._source.annotation(index)[1]
            self._carry(pair_of(self._source, index).mask, name, "masks")
        else:
            mask, annotated = stored or self._source.annotation(index)
            save_mask(mask, self._folder / "masks" / name, self._source.labels)
        self._write_truth(index, sample, name)
        self.rows.append(
            Row(
                f"{self._folder.name}/{name}",
                annotated,
                weight_of(self._source, index) * (factor if stored else 1.0),
                self._groups[index],
            )
        )

    def _write_image(self, index: int, sample: Sample | None, name: str) -> None:
        folder = self._folder / "images"
        pair = pair_of(self._source, index)
        if pair is not None:
            end = pair.image.name.rpartition(".")[2]
            carry(pair.image, folder, self._images, f"{name}.{end}")
            return
        image = (sample or self._source[index]).image
        if image.dtype == np.uint8 and image.shape[-1] in (1, 3):
            grey = image.shape[-1] == 1
            Image.fromarray(image[..., 0] if grey else image).save(folder / f"{name}.png")
        else:
            np.save(folder / f"{name}.npy", image)

    def _write_truth(self, index: int, sample: Sample | None, name: str) -> None:
        if is_as_filed(self._source, index) and not self._plain:
            truth = pair_of(self._source, index).truth
            if truth is not None:
                self._carry(truth, name, "truth")
            return
        if may_have_truth(self._source, index):  # an image that cannot be decoded need not have it
            self._save_truth((sample or self._source[index]).truth, name)

    def _save_truth(self, truth: np.ndarray | None, name: str) -> None:
        if truth is not None:
            (self._folder / "truth").mkdir(exist_ok=True)
            save_mask(truth, self._folder / "truth" / name, self._source.labels)

    def _carry(self, files: Any, name: str, part: str) -> None:
        """A mask as it lies there: one file, or one a class."""
        folder = self._folder / part
        if not hasattr(files, "items"):
            folder.mkdir(exist_ok=True)
            carry(files, folder, "copy", f"{name}.{files.name.rpartition('.')[2]}")
            return
        for label, path in files.items():
            (folder / label).mkdir(parents=True, exist_ok=True)
            carry(path, folder / label, "copy", f"{name}.{path.name.rpartition('.')[2]}")


def carry(path: Place, folder: Path, how: str, name: str) -> None:
    """Copies a file into a folder under a name, or links it there."""
    target = folder / name
    if not is_local(path):
        target.write_bytes(read_bytes(path))
        return
    if how == "link":
        with contextlib.suppress(OSError):  # another disk, or one without links
            os.link(os.path.realpath(path), target)
            return
    shutil.copyfile(path, target)


def save_mask(mask: np.ndarray, stem: Path, labels: LabelSpace) -> None:
    """Ids as PNG, with the palette of the classes where they are bytes; planes as .npy."""
    if mask.ndim == 3:
        np.save(stem.with_name(f"{stem.name}.npy"), mask.astype(np.uint8))
        return
    wide = mask.max(initial=0) > 255
    picture = Image.fromarray(mask.astype(np.uint16 if wide else np.uint8))
    if not wide:
        colors = [*labels.palette[:256], *[(255, 255, 255)] * max(0, 256 - len(labels.palette))]
        picture.putpalette([value for color in colors for value in color])
    picture.save(stem.with_name(f"{stem.name}.png"))


def write_declarations(root: Path, rows: list[Row], labels: LabelSpace) -> None:
    """annotations.csv: what was looked for, and weights and groups where there are any."""
    weights, groups = any(row.weight != 1 for row in rows), any(row.group for row in rows)
    header = ["image", "annotated", *["weight"] * weights, *["group"] * groups]
    with open(root / FILE_NAME, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            more = [f"{row.weight:g}"] * weights + [row.group] * groups
            writer.writerow([row.image, format_annotated(row.annotated, labels), *more])

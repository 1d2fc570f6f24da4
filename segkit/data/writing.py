"""Writes any source in the folder format, so that `folder.splits` reads it back bit for bit."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from segkit.contract import Sample, Source
from segkit.data.layout import SPLITS
from segkit.data.manifest import FILE_NAME, HEADER, format_annotated
from segkit.labels import LabelSpace

_PARTS = ("truth", "masks", "images")  # images last: once it is there, everything is
_STAGE = ".writing"


def write_labels(labels: LabelSpace, root: str | Path) -> None:
    """Writes `root/classes.json`."""
    path = Path(root) / "classes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    labels.to_json(unfinished)
    os.replace(unfinished, path)


def write(source: Source, directory: str | Path, *, overwrite: bool = False) -> None:
    """Writes every sample of `source` as images/NAME.png, masks/NAME.png and truth/NAME.png.

    Planes of independent classes become TIFFs of a band a class, masks/NAME.tif.

    What was annotated goes to annotations.csv, in `directory`, or beside it if it is called
    train, val or test: lines of other splits stay. All files are finished under a hidden folder
    and then moved into place, so a run that is killed leaves nothing that looks complete.

    Args:
        source: the samples; uint8 images of 1 or 3 channels. A sample without a name is called
            by its index. A truth is written where there is one.
        directory: where to write, for example `root / "train"`.
        overwrite: True replaces the images, masks and truth that are there.

    Raises:
        FileExistsError: if there are some and `overwrite` is False.
        ValueError: if a sample does not fit the format, or two have one name.
    """
    directory = Path(directory)
    present = [part for part in _PARTS if (directory / part).exists()]
    if present and not overwrite:
        raise FileExistsError(
            f"{directory} already holds {', '.join(f'{part}/' for part in present)}. "
            "Choose another folder, or pass overwrite=True to replace them."
        )
    stage = directory / _STAGE
    shutil.rmtree(stage, ignore_errors=True)  # of a run that was killed
    stage.mkdir(parents=True)
    try:
        annotated = _write_samples(source, stage)
        manifest, rows = _manifest(directory, annotated)
        for part in present:
            shutil.rmtree(directory / part)
        # Before the images: a manifest of images that are not there is an error when read, but
        # images without their manifest would pass for fully annotated.
        _write_rows(manifest, rows)
        for part in _PARTS:
            if (stage / part).exists():
                os.replace(stage / part, directory / part)
    finally:
        shutil.rmtree(stage)


def _write_samples(source: Source, stage: Path) -> dict[str, str]:
    annotated: dict[str, str] = {}
    for index in range(len(source)):
        sample = source[index]
        name = sample.name or f"{index:06d}"
        _check(sample, name, annotated, source.labels)
        annotated[name] = format_annotated(sample.annotated, source.labels)
        image = sample.image[..., 0] if sample.image.shape[-1] == 1 else sample.image
        _save(image, stage / "images" / f"{name}.png")
        _save_mask(sample.mask, stage / "masks", name)
        if sample.truth is not None:
            _save_mask(sample.truth, stage / "truth", name)
    if not annotated:
        raise ValueError("There is nothing to write: the source is empty.")
    return annotated


def _manifest(directory: Path, annotated: dict[str, str]) -> tuple[Path, list[list[str]]]:
    """The file that declares the images of `directory`, and all its rows."""
    if directory.name not in SPLITS:
        return directory / FILE_NAME, [list(row) for row in annotated.items()]
    path, prefix = directory.parent / FILE_NAME, f"{directory.name}/"
    rows = []
    if path.is_file():
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
        if header != list(HEADER):
            raise ValueError(
                f"{path} needs the columns {', '.join(HEADER)} alone, for lines to be added. "
                f"Received: {', '.join(header)}. Move it elsewhere."
            )
    others = [row for row in rows if row and not row[0].startswith(prefix)]
    return path, others + [[prefix + name, text] for name, text in annotated.items()]


def _write_rows(path: Path, rows: list[list[str]]) -> None:
    unfinished = path.with_name(f".{path.name}")
    with open(unfinished, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([list(HEADER), *rows])
    os.replace(unfinished, path)


def _check(sample: Sample, name: str, written: dict[str, str], labels: LabelSpace) -> None:
    if name in written or name != Path(name).name or name.startswith("."):
        raise ValueError(
            "Sample names become file names: each one different, without '/', not hidden. "
            f"Received: {name!r}{' twice' if name in written else ''}."
        )
    shape, dtype = sample.image.shape, sample.image.dtype
    if dtype != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            "A PNG holds uint8 images (H, W, 1) or (H, W, 3). "
            f"Received: {name!r}, {dtype} {shape}. "
            "Scale the image to 0..255 and convert it."
        )
    for ids in (sample.mask, sample.truth):
        if ids is not None and not labels.exclusive:
            _check_planes(ids, name, (*shape[:2], labels.num_classes))
        elif ids is not None and (ids.shape != shape[:2] or ids.min() < 0 or ids.max() > 65_535):
            raise ValueError(
                "A PNG holds masks (H, W) of ids in 0..65535, as large as their image. "
                f"Received: {name!r}, {ids.shape}, ids {ids.min()}..{ids.max()}, image {shape}."
            )


def _check_planes(planes: np.ndarray, name: str, shape: tuple[int, ...]) -> None:
    if planes.shape != shape or planes.dtype != np.uint8:
        raise ValueError(
            f"Masks of independent classes are uint8 planes {shape}. "
            f"Received: {name!r}, {planes.dtype} {planes.shape}."
        )


def _save_mask(mask: np.ndarray, folder: Path, name: str) -> None:
    if mask.ndim == 2:
        return _save(_narrow(mask), folder / f"{name}.png")
    folder.mkdir(exist_ok=True)
    options = {"photometric": "minisblack", "planarconfig": "contig", "compression": "zlib"}
    tifffile.imwrite(folder / f"{name}.tif", mask, **options)


def _narrow(ids: np.ndarray) -> np.ndarray:
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)


def _save(array: np.ndarray, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(array).save(path)

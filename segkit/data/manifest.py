"""annotations.csv: which classes somebody looked for, image by image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from segkit.data.layout import Pair
from segkit.labels import LabelSpace

FILE_NAME = "annotations.csv"
HEADER = ("image", "annotated")
ALL = "*"
SEPARATOR = ";"


class _Row(NamedTuple):
    origin: str  # file and line, for errors
    image: str
    annotated: str


def read_annotations(
    root: Path, pairs: Mapping[str, Sequence[Pair]], labels: LabelSpace
) -> dict[Path, np.ndarray] | None:
    """Reads `root/annotations.csv` and `root/SPLIT/annotations.csv`.

    The columns are `image` (stem or file name, with `SPLIT/` in front where a name is in several
    splits) and `annotated` (`*` for all, class names joined by `;`, or nothing); others are left
    alone. The background is always annotated.

    Args:
        root: the data set's folder.
        pairs: the images of each split; the split "" lies in root itself.
        labels: the label space.

    Returns:
        bool (C,) for each image file that is named; None if there is no such file.

    Raises:
        ValueError: naming file and line, on a wrong header or row, an unknown class, and an
            unknown, ambiguous or repeated image.
    """
    files = {root / FILE_NAME: list(pairs)}
    files.update({root / split / FILE_NAME: [split] for split in pairs if split})
    files = {path: splits for path, splits in files.items() if path.is_file()}
    if not files:
        return None
    declared: dict[Path, np.ndarray] = {}
    origins: dict[Path, str] = {}
    for path, splits in files.items():
        known = _names({split: pairs[split] for split in splits})
        for row in _rows(path):
            image = _find(row, known)
            if image in declared:
                raise ValueError(
                    f"{row.origin}: the image {row.image!r} was already declared in "
                    f"{origins[image]}. Keep one of the two lines."
                )
            declared[image] = parse_annotated(row.annotated, labels, row.origin)
            origins[image] = row.origin
    return declared


def parse_annotated(text: str, labels: LabelSpace, origin: str) -> np.ndarray:
    """`*`, names joined by `;`, or nothing -> bool (C,); the background is always True.

    Raises:
        ValueError: naming `origin`, on a class that does not exist.
    """
    annotated = np.full(labels.num_classes, text.strip() == ALL)
    names = [name.strip() for name in text.split(SEPARATOR)]
    for name in names if text.strip() not in (ALL, "") else ():
        try:
            annotated[labels.index(name)] = True
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from None
    if labels.background is not None:
        annotated[labels.background] = True
    return annotated


def format_annotated(annotated: np.ndarray, labels: LabelSpace) -> str:
    """bool (C,) -> what `parse_annotated` reads; `LabelSpace` keeps the names apart."""
    if all(annotated[c] for c in labels.foreground):
        return ALL
    return SEPARATOR.join(labels.names[c] for c in labels.foreground if annotated[c])


def _rows(path: Path) -> Iterator[_Row]:
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front.
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if any(header.count(name) != 1 for name in HEADER):
                raise ValueError(
                    f"{path}:1: expected a header with the columns {' and '.join(HEADER)}, "
                    f"separated by a comma. Received: {','.join(header)!r}."
                )
            places = [header.index(name) for name in HEADER]
            for cells in reader:
                origin = f"{path}:{reader.line_num}"
                if cells and len(cells) != len(header):
                    raise ValueError(
                        f"{origin}: expected {len(header)} cells ({','.join(header)}). "
                        f"Received: {len(cells)}, {','.join(cells)!r}."
                    )
                if cells:
                    yield _Row(origin, *(cells[place].strip() for place in places))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}.") from error


def _names(pairs: Mapping[str, Sequence[Pair]]) -> dict[str, list[Path]]:
    """Every way to write an image -> the files it may mean."""
    known: dict[str, list[Path]] = {}
    for split, found in pairs.items():
        for pair in found:
            for name in {pair.name, pair.image.name}:
                known.setdefault(name, []).append(pair.image)
                if split:
                    known.setdefault(f"{split}/{name}", []).append(pair.image)
    return known


def _find(row: _Row, known: Mapping[str, Sequence[Path]]) -> Path:
    files = known.get(row.image, ())
    if len(files) == 1:
        return files[0]
    if files:
        raise ValueError(
            f"{row.origin}: {row.image!r} may be any of {', '.join(str(file) for file in files)}. "
            f"Write the split in front: {files[0].parents[1].name}/{row.image}."
        )
    raise ValueError(
        f"{row.origin}: there is no image {row.image!r}. Give the stem or the file name, for "
        f"example {next(iter(known))!r}."
    )

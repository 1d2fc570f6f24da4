"""annotations.csv: what is declared of each image - classes looked for, split, group, weight."""

from __future__ import annotations

import math
from typing import Mapping, NamedTuple, Sequence

import numpy as np

from segkit.data.layout import SPLITS, Pair
from segkit.data.manifest.naming import Names
from segkit.data.manifest.table import Line, Report, lines_of, shortened
from segkit.data.places import Place, composed, is_file
from segkit.data.problems import Problem
from segkit.labels import LabelSpace

FILE_NAME = "annotations.csv"
HEADER = ("image", "annotated")  # of the files that segkit writes
ALL = "*"
SEPARATOR = ";"

_HEAVIEST = 1000  # a weight beyond would be a mistake, and drown all other images


class Row(NamedTuple):
    """What is declared of one image; None where its file has no such column.

    origin: file and line, for errors.
    annotated: bool (C,), the classes somebody looked for; read-only.
    split: train, val or test; None where the cell is empty.
    group: what the image belongs to and is not parted from; None where the cell is empty.
    weight: how far the annotation is trusted, from 0 on; 1 where the cell is empty.
    """

    origin: str
    annotated: np.ndarray | None
    split: str | None
    group: str | None
    weight: float | None


class Manifest(NamedTuple):
    """What all annotations.csv of a data set declare.

    rows: {image file: its row}.
    columns: those that stand in at least one of the files, of annotated, split, group, weight.
    files: the files that were read.
    problems: what is wrong with them; with a fatal one, `rows` is what is left without it.
    """

    rows: dict[Place, Row]
    columns: frozenset[str]
    files: tuple[str, ...]
    problems: list[Problem]


def read_manifest(
    root: Place, pairs: Mapping[str, Sequence[Pair]], labels: LabelSpace
) -> Manifest | None:
    """Reads `root/annotations.csv` and `root/SPLIT/annotations.csv`.

    The columns are `image` and at least one of `annotated` (`*` for all, class names joined by
    `;`, or nothing; the background is always annotated), `split`, `group` and `weight`; others
    are left alone. An image is named by its stem or file name; `SPLIT/` or `images/` or both may
    stand in front, and `SPLIT/` must where a name is in several splits.

    What is wrong is collected, not raised: a file that is no CSV in UTF-8 with such a header, an
    unknown class, an unknown, ambiguous or repeated image, a split or weight that is none.

    Args:
        root: the data set's folder.
        pairs: the images of each split; the split "" lies in root itself.
        labels: the label space.

    Returns:
        The declarations; None if there is no such file.
    """
    files = {root / FILE_NAME: list(pairs)}
    files.update({root / split / FILE_NAME: [split] for split in pairs if split})
    files = {path: splits for path, splits in files.items() if is_file(path)}
    if not files:
        return None
    reading = _Reading(labels)
    for path, splits in files.items():
        reading.read(path, Names({split: pairs[split] for split in splits}))
    names = tuple(str(path) for path in files)
    return Manifest(reading.rows, frozenset(reading.columns), names, reading.report.problems())


def parse_annotated(text: str, labels: LabelSpace, origin: str) -> np.ndarray:
    """`*`, names joined by `;`, or nothing -> bool (C,); the background is always True.

    Raises:
        ValueError: naming `origin`, on a class that does not exist.
    """
    annotated = np.full(labels.num_classes, text.strip() == ALL)
    names = [name.strip() for name in text.split(SEPARATOR)]
    for name in names if text.strip() not in (ALL, "") else ():
        same = (other for other in labels.names if composed(other) == composed(name))
        try:
            annotated[labels.index(name if name in labels.names else next(same, name))] = True
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


class _Reading:
    """The rows of several files, as far as they were read."""

    def __init__(self, labels: LabelSpace):
        self.rows: dict[Place, Row] = {}
        self.columns: set[str] = set()
        self.report = Report(FILE_NAME)
        self._labels = labels
        self._parsed: dict[str, np.ndarray | str] = {}  # or what is wrong; few texts, many rows

    def read(self, path: Place, names: Names) -> None:
        columns, lines = lines_of(path, self.report)
        self.columns |= columns
        for line in lines:
            try:
                image = names.find(line.image)
            except ValueError as error:
                self.report.add(line.origin, f"{line.origin}: {error}")
                continue
            if image in self.rows:
                self.report.add(
                    line.origin,
                    f"{line.origin}: the image {shortened(line.image)} was already "
                    f"declared in {self.rows[image].origin}. Keep one of the two lines.",
                )
                continue
            self.rows[image] = self._row(line)

    def _row(self, line: Line) -> Row:
        annotated, split = self._annotated(line.annotated, line.origin), line.split or None
        if split is not None and split not in SPLITS:
            self.report.add(
                line.origin,
                f"{line.origin}: split must be one of {', '.join(SPLITS)}, or empty. "
                f"Received: {shortened(split)}.",
            )
            split = None
        group = composed(line.group or "") or None
        weight = self._weight(line.weight, line.origin)
        return Row(line.origin, annotated, split, group, weight)

    def _annotated(self, text: str | None, origin: str) -> np.ndarray | None:
        if text is None:
            return None
        if text not in self._parsed:
            try:
                self._parsed[text] = parse_annotated(text, self._labels, "")
                self._parsed[text].setflags(write=False)
            except ValueError as error:
                self._parsed[text] = str(error)
        annotated = self._parsed[text]
        if not isinstance(annotated, str):
            return annotated
        self.report.add(origin, origin + annotated)
        return None

    def _weight(self, text: str | None, origin: str) -> float | None:
        try:
            weight = None if text is None else float(text or 1)
        except ValueError:
            weight = math.nan
        if weight is None or 0 <= weight <= _HEAVIEST:
            return weight
        self.report.add(
            origin,
            f"{origin}: weight must be a number from 0 to {_HEAVIEST:,}, such as 0.5, or empty for "
            f"1. Received: {shortened(text)}.",
        )
        return None

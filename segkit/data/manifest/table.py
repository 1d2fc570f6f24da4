"""annotations.csv as a table: its lines, and plain words for what spreadsheets make of them."""

from __future__ import annotations

import csv
import difflib
import io
import re
from operator import itemgetter
from typing import Iterator, NamedTuple

from segkit.data.places import Place, read_bytes
from segkit.data.problems import Problem

DECLARED = ("annotated", "split", "group", "weight")
COLUMNS = ("image", *DECLARED)
MOST = 1000  # problems that are spelt out
_SHOWN = 80  # characters of a cell in an error
_ALIKE = 0.83  # "weights" and "wieght" are likely to mean "weight", "weight_kg" is not
# What others call a group.
_GROUPS = re.compile(
    r"(patients?|subjects?|cases?|videos?|sequences?|scans?|series|study|studies)([ _-]?ids?)?",
    re.IGNORECASE,
)
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
_SAVE = "Save it again as 'CSV UTF-8', with commas between the columns."


class Line(NamedTuple):
    """One line of the table.

    origin: file and line, for errors.
    image, annotated, split, group, weight: the cells without spaces around; None for no column.
    """

    origin: str
    image: str
    annotated: str | None
    split: str | None
    group: str | None
    weight: str | None


class Report:
    """Collects problems of one kind: the first ones, and how many there were."""

    def __init__(self, kind: str):
        self._kind, self._found, self._more = kind, [], 0

    def add(self, path: str, text: str, fatal: bool = True) -> None:
        """Adds a problem, or counts it where there are too many to be read."""
        if len(self._found) < MOST:
            self._found.append(Problem(self._kind, path, text, fatal))
        else:
            self._more += fatal

    def problems(self) -> list[Problem]:
        """What was added."""
        if not self._more:
            return self._found
        text = f"and {self._more} more problems of the kind: {self._kind}."
        return [*self._found, Problem(self._kind, self._found[-1].path, text)]


def shortened(text: str) -> str:
    """The text in quotation marks, cut where it is long."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def lines_of(path: Place, report: Report) -> tuple[set[str], Iterator[Line]]:
    """The columns of annotations.csv among `DECLARED`, and its lines; blank ones are left out.

    Args:
        path: the file.
        report: receives what is wrong. Where the file is not what it should be, the lines end.
    """
    try:
        # newline="": csv is to see the line breaks as they are, in quotation marks, too.
        reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
        header = _header(path, next(reader, []))
    except (OSError, ValueError, csv.Error) as error:
        damaged = isinstance(error, csv.Error)
        report.add(str(path), _damaged(f"{path}:1", error) if damaged else str(error))
        return set(), iter(())
    for name in header:
        meant = _meant(name, header)
        if meant:
            text = f"{path}:1: the column {shortened(name)} is left alone. {meant}"
            report.add(f"{path}:1", text, fatal=False)
    return set(header) & set(DECLARED), _lines(path, reader, header, report)


def _meant(name: str, header: list[str]) -> str:
    """The question whether a column is one of `DECLARED` by another name; "" where it is not."""
    if name in COLUMNS:
        return ""
    if _GROUPS.fullmatch(name):
        asked = "Is 'group' meant? Call it so, and images of one group stay in one split."
        return "" if "group" in header else asked
    meant = difflib.get_close_matches(name.lower(), DECLARED, 1, _ALIKE)
    return f"Is {meant[0]!r} meant?" if meant else ""


def _text(path: Place) -> str:
    data = read_bytes(path)
    if data.startswith(_UTF16):
        raise ValueError(
            f"{path} is not a CSV file in UTF-8: it is UTF-16, Excel's 'Unicode text'. {_SAVE}"
        )
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise ValueError(
            f"{path}:{line} is not a CSV file in UTF-8: it holds a NUL byte, as spreadsheets and "
            f"damaged files do. {_SAVE}"
        )
    try:
        return data.decode("utf-8-sig")  # spreadsheets put a byte order mark in front
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line} is not a CSV file in UTF-8: {error}. {_SAVE}") from None


def _header(path: Place, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for separator, name in _SEPARATORS.items():
        if len(header) == 1 and "image" in [c.strip() for c in header[0].split(separator)]:
            raise ValueError(
                f"{path}:1: the columns must be separated by commas. Received: {name}, "
                f"{shortened(header[0])}, as Excel writes in some countries. {_SAVE} (Several "
                "classes in one cell stay joined by semicolons.)"
            )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if "image" not in header or not set(header) & set(DECLARED) or twice:
        asked = ["", *(f"{shortened(name)}: {_meant(name, header)}" for name in header)]
        asked = [text for text in asked if not text.endswith(": ")]
        raise ValueError(
            f"{path}:1: expected a header with the column image and at least one of "
            f"{', '.join(DECLARED)}, each once, separated by commas. "
            f"Received: {shortened(','.join(header))}.{' '.join(asked)}"
        )
    return header


def _lines(path: Place, reader: Iterator, header: list[str], report: Report) -> Iterator[Line]:
    pick = itemgetter(*(header.index(name) if name in header else -1 for name in COLUMNS))
    file = str(path)
    while True:
        origin = f"{file}:{reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            report.add(origin, _damaged(origin, error))
            return
        if len(cells) == len(header):
            cells = [cell.strip() for cell in cells]
            if any(cells):  # spreadsheets keep rows that were emptied
                yield Line(origin, *pick([*cells, None]))
        elif any(cell.strip() for cell in cells):
            text = (
                f"{origin}: expected {len(header)} cells ({','.join(header)}). Received: "
                f"{len(cells)}, {shortened(','.join(cells))}. A cell that holds a comma needs "
                "quotation marks."
            )
            report.add(origin, text)


def _damaged(origin: str, error: csv.Error) -> str:
    return (
        f"{origin} is not a CSV file in UTF-8: {error}. The line begins there; is a quotation "
        "mark missing?"
    )

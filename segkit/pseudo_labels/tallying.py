"""What was filled: one row an image and class, and sums a class."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, NamedTuple, Sequence

import numpy as np

from segkit.contract import LABELLED, UNKNOWN, judged_pixels
from segkit.labels import LabelSpace
from segkit.pseudo_labels.deciding import Decision
from segkit.targets import encode

GIVEN = "given"
COLUMNS = (
    "image",
    "class",
    "before",
    "source",
    "after",
    "labelled",
    "ruled_out",
    "open",
    "confidence",
    "runs",
)


class Cell(NamedTuple):
    """One class in one image.

    before: annotated, partly (unknown at some pixels only) or unknown.
    source: given, model or propagation.
    after: annotated, labelled, absent, partly (open at some pixels) or unknown.
    labelled, ruled_out, open: pixels that were unknown, and what they are now.
    confidence: mean probability of what was labelled, or, where nothing was, of its absence; None
        where nothing was decided.
    """

    image: str
    name: str
    before: str
    source: str
    after: str
    labelled: int
    ruled_out: int
    open: int
    confidence: float | None


class Tally:
    """Adds up what became of images.

    Args:
        labels: the label space.
        source: what fills: model or propagation.
        runs: the ids of the runs, for each row.
    """

    def __init__(self, labels: LabelSpace, source: str, runs: Sequence[str] = ()):
        self._labels, self._source, self._runs = labels, source, ";".join(runs)
        self.cells: list[Cell] = []
        self.images = self.changed = 0
        self._right = np.zeros((3, labels.num_classes), np.int64)  # labelled, right, there to find
        self.has_truth = False

    def add(
        self,
        image: str,
        annotated: np.ndarray,
        decision: Decision | None,
        truth: np.ndarray | None = None,
        stored: bool = True,
    ) -> float | None:
        """One image; returns how sure the labels that are new in it are, None without any.

        Args:
            image: what to call it.
            annotated: bool (C,), as given.
            decision: what became of it; None: nothing, it could not be read.
            truth: its full mask, if anybody knows it.
            stored: whether the decision was kept.
        """
        self.images += 1
        if decision is not None and not stored:
            decision = decision._replace(target=decision.given)
        rows = [self._cell(image, c, annotated, decision) for c in self._labels.foreground]
        self.cells += rows
        self.changed += any(row.source != GIVEN for row in rows)
        if decision is not None and truth is not None:
            self._judge(decision, truth)
        sure = [(row.confidence, row.labelled) for row in rows if row.labelled]
        return sum(c * n for c, n in sure) / sum(n for _, n in sure) if sure else None

    def _cell(self, image: str, c: int, annotated: np.ndarray, decision: Decision | None) -> Cell:
        name, looked = self._labels.names[c], bool(annotated[c])
        if decision is None:
            state = "annotated" if looked else "unknown"
            return Cell(image, name, state, GIVEN, state, 0, 0, 0, None)
        unknown = (decision.given[..., c] == UNKNOWN) & judged_pixels(decision.given)
        labelled, ruled_out, open_ = (
            plane[..., c] for plane in (decision.labelled, decision.ruled_out, decision.doubtful)
        )
        numbers = tuple(int(plane.sum()) for plane in (labelled, ruled_out, open_))
        before = "unknown" if not looked else "partly" if unknown.any() else "annotated"
        if not numbers[0] and not numbers[1]:
            return Cell(image, name, before, GIVEN, before, *numbers, None)
        q = decision.conditional[..., c]
        confidence = q[labelled].mean() if numbers[0] else 1 - q[ruled_out].mean()
        after = "partly" if numbers[2] else "labelled" if numbers[0] else "absent"
        return Cell(image, name, before, self._source, after, *numbers, float(confidence))

    def _judge(self, decision: Decision, truth: np.ndarray) -> None:
        whole = np.ones((1, self._labels.num_classes), bool)
        there = encode(truth[None], whole, self._labels)[0] == LABELLED
        unknown = (decision.given == UNKNOWN) & judged_pixels(decision.given)[..., None]
        self.has_truth = True
        self._right += np.stack(
            [
                decision.labelled.sum((0, 1)),
                (decision.labelled & there).sum((0, 1)),
                (unknown & there).sum((0, 1)),
            ]
        )

    @property
    def share_filled(self) -> float:
        """Of the cells that were unknown, the share of which something was decided."""
        were = [cell for cell in self.cells if cell.before != "annotated"]
        return sum(cell.source != GIVEN for cell in were) / len(were) if were else 0.0

    def by_class(self) -> list[dict[str, Any]]:
        """Sums over the images, one row a foreground class."""
        rows = []
        for c in self._labels.foreground:
            mine = [cell for cell in self.cells if cell.name == self._labels.names[c]]
            sure = [(cell.confidence, cell.labelled) for cell in mine if cell.labelled]
            pixels = sum(count for _, count in sure)
            row = {
                "class": self._labels.names[c],
                "unknown_cells": sum(cell.before != "annotated" for cell in mine),
                "filled_cells": sum(cell.source != GIVEN for cell in mine),
                "labelled_cells": len(sure),
                "labelled_pixels": pixels,
                "ruled_out_pixels": sum(cell.ruled_out for cell in mine),
                "open_pixels": sum(cell.open for cell in mine),
                "confidence": sum(p * n for p, n in sure) / pixels if pixels else None,
            }
            if self.has_truth:
                given, right, there = (int(count) for count in self._right[:, c])
                row["true_precision"] = right / given if given else None
                row["true_recall"] = right / there if there else None
            rows.append(row)
        return rows

    def write(self, path: Path) -> None:
        """provenance.csv: where each cell comes from."""
        with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for cell in self.cells:
                sure = "" if cell.confidence is None else f"{cell.confidence:.4f}"
                runs = "" if cell.source == GIVEN else self._runs
                writer.writerow([*cell[:8], sure, runs])

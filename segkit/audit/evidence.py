"""What out-of-fold predictions say about every cell, one image and one class, of a data set."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Iterator, NamedTuple, Sequence

import cv2
import numpy as np

from segkit import parallel
from segkit.audit.regions import (
    Drawn,
    Found,
    Shift,
    best_shift,
    found_in,
    largest_area,
    objects,
    regions_of,
)
from segkit.contract import Sample, Source
from segkit.labels import LabelSpace
from segkit.predictor import Predictor

SHOWN_PIXELS = 192  # of the longer edge of a picture
GAIN, MATCHED = 0.15, 0.5  # of soft IoU by a shift, and with it, from which it is pointed out
DOUBT = 0.5  # mean probability of another class from which a region is pointed out
FEWEST = 9  # pixels of a drawn region that is doubted


class Place(NamedTuple):
    """Where an image is: in which split, and its number there."""

    split: str
    index: int


class Doubt(NamedTuple):
    """A drawn region in which another class is predicted.

    says: its id; None where independent classes do not compete, and this one is not there.
    confidence: its mean p in the region.
    area: pixels of the region. box: (top, left, height, width).
    """

    says: int | None
    confidence: float
    area: int
    box: tuple[int, int, int, int]


@dataclass
class Cell:
    """One image and one class.

    image: its number among those that were looked at. id: of the class.
    annotated: whether the class is declared to have been looked for.
    drawn: pixels that the mask gives to the class; area: those of its largest region.
    found: what is predicted where the class may be, not outlined. Where some of it is drawn, in
        regions that do not touch that.
    as_if: what would be found had nothing of it been drawn; None where nothing is.
    doubt, shift: of what is drawn; None where there is none.
    outlines: bool (h, w) at the size of the picture, by "found" and "doubt".
    """

    image: int
    id: int
    annotated: bool
    drawn: int
    area: int
    found: Found
    as_if: Found | None = None
    doubt: Doubt | None = None
    shift: Shift | None = None
    outlines: dict[str, np.ndarray] = field(default_factory=dict)


class Seen(NamedTuple):
    """An image that was looked at: where it is, its name, (H, W), and its cells."""

    place: Place
    name: str
    size: tuple[int, int]
    cells: list[Cell]


def look(
    model: Predictor, splits: dict[str, Source], places: Sequence[Place], first: int = 0
) -> Iterator[Seen]:
    """Predicts images and looks at each of their cells; no probability is kept.

    Args:
        model: that has not seen the images.
        splits: the sources, by name.
        places: of the images.
        first: the number of the first one.
    """
    waiting: deque[Sample] = deque()

    def images() -> Iterator[np.ndarray]:
        read = lambda place: splits[place.split][place.index]  # noqa: E731
        for place, sample in zip(places, parallel.ordered(read, places, "predicting")):
            _require_form(sample, place)
            waiting.append(sample)
            yield sample.image

    def predicted() -> Iterator[tuple[int, Sample, np.ndarray]]:
        for number, probabilities in enumerate(model.each(images())):
            yield number, waiting.popleft(), probabilities

    labels = splits[places[0].split].labels if places else None

    def judged(item: tuple[int, Sample, np.ndarray]) -> Seen:
        number, sample, probabilities = item
        found = cells(sample, probabilities, labels, first + number)
        place = places[number]
        name = sample.name or f"{place.split} {place.index}"
        return Seen(place, name, sample.mask.shape[:2], found)

    yield from parallel.ordered(judged, _Sized(predicted(), len(places)))


class _Sized:
    """An iterator that knows how many items it has."""

    def __init__(self, items: Iterator, count: int):
        self._items, self._count = items, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator:
        return self._items


def cells(
    sample: Sample, probabilities: np.ndarray, labels: LabelSpace, image: int = 0
) -> list[Cell]:
    """The cells of an image, one a foreground class.

    Args:
        sample: the image.
        probabilities: of its pixels, (H, W, C).
        labels: the label space of its mask.
        image: its number.
    """
    drawn = Drawn.of(np.asarray(sample.mask), labels)
    size = shown_size(sample.mask.shape[:2])
    found = []
    for c in labels.foreground:
        p, labelled, open_ = (a[..., c] for a in (probabilities, drawn.labelled, drawn.open))
        pixels, looked = int(labelled.sum()), bool(sample.annotated[c])
        if not pixels:
            cell = Cell(image, c, looked, 0, 0, found_in(p, open_))
            regions = regions_of(p, open_) if cell.found.regions else None
        else:
            other = found_in(p, open_, labelled)
            as_if = found_in(p, open_ | labelled)
            cell = Cell(image, c, looked, pixels, largest_area(labelled), other, as_if)
            regions = regions_of(p, open_, labelled) if other.regions else None
            cell.doubt, doubted = _doubt(probabilities, labelled, c, labels)
            cell.shift = _shift(p, labelled)
            if doubted is not None:
                cell.outlines["doubt"] = shrunk(doubted, size)
            if cell.shift is not None:
                cell.outlines["shift"] = shrunk(p >= 0.5, size)
        if regions is not None:
            cell.outlines["found"] = shrunk(regions, size)
        found.append(cell)
    return found


def shown_size(shape: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the picture of an image."""
    factor = min(1.0, SHOWN_PIXELS / max(shape))
    height, width = (max(1, round(edge * factor)) for edge in shape)
    return height, width


def shrunk(region: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A region, bool (H, W), at the size of a picture: whatever it touches there, (h, w)."""
    if region.shape == size:
        return region
    share = cv2.resize(region.astype("float32"), size[::-1], interpolation=cv2.INTER_AREA)
    return share > 0


def _doubt(
    probabilities: np.ndarray, labelled: np.ndarray, c: int, labels: LabelSpace
) -> tuple[Doubt | None, np.ndarray | None]:
    """The drawn region in which another class is the most probable one, if there is one."""
    if (probabilities[..., c][labelled] >= DOUBT).all():
        return None, None
    worst, inside = None, None
    for region in objects(labelled):
        area = int(region.sum())
        if area < FEWEST:
            continue
        means = probabilities[region].mean(0)
        if labels.exclusive:
            others = np.where(np.arange(len(means)) == c, -1, means)
            says = int(others.argmax())
            confidence = float(others[says])
        else:
            says, confidence = None, float(1 - means[c])
        if confidence > max(DOUBT, means[c]) and (worst is None or confidence > worst.confidence):
            rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
            box = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
            worst, inside = Doubt(says, confidence, area, tuple(map(int, box))), region
    return worst, inside


def _shift(p: np.ndarray, labelled: np.ndarray) -> Shift | None:
    """A shift that mends much, if there is one."""
    total = p.sum() + labelled.sum()
    shared = p[labelled].sum()
    before = shared / (total - shared)
    if before > 1 - GAIN or p.sum() < FEWEST:  # nothing to gain
        return None
    shift = best_shift(p, labelled)
    moved = shift.rows or shift.columns
    good = shift.after >= MATCHED and shift.after - shift.before >= GAIN
    return shift if moved and good else None


def _require_form(sample: Sample, place: Place) -> None:
    if sample.image.shape[:2] != np.shape(sample.mask)[:2]:
        raise ValueError(
            f"An image and its mask need one size. Received: {sample.name or place} with "
            f"{sample.image.shape[:2]} and {np.shape(sample.mask)[:2]}."
        )

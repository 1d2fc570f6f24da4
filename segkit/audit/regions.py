"""What a prediction says about one image: for each class, the regions that nobody outlined."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.measure import label as connected

from segkit.labels import LabelSpace

FAINT = 0.25  # the probability from which pixels belong to a region
SCALES = 7  # of peaks, each twice as wide as the one before


@dataclass(frozen=True)
class Found:
    """What is predicted in some pixels: connected regions (8 neighbours) with p >= `FAINT`.

    expected: the sum of p over the pixels, the area to be expected there, in pixels.
    confidence: the mean p of the region with the largest sum of p; where no pixel is so probable,
        p of the most probable one.
    regions: how many there are.
    area: pixels of that region.
    box: (top, left, height, width) of that region; None where there is none.
    peaks: the largest p after smoothing by Gaussians of 1, 2, 4, ... pixels, `SCALES` of them.
    """

    expected: float = 0.0
    confidence: float = 0.0
    regions: int = 0
    area: int = 0
    box: tuple[int, int, int, int] | None = None
    peaks: tuple[float, ...] = (0.0,) * SCALES


def found_in(p: np.ndarray, where: np.ndarray, apart: np.ndarray | None = None) -> Found:
    """Looks for regions of a class.

    Args:
        p: its probability, (H, W).
        where: bool (H, W), the pixels to look at.
        apart: bool (H, W), pixels that a region must not touch: it then belongs to what is drawn
            there. They are looked at, too.

    Returns:
        See `Found`; `regions` counts those that do not touch.
    """
    looked = where if apart is None else where | apart
    p = np.where(looked, p, 0)
    expected = float(p[where].sum())
    numbers = connected(p >= FAINT, connectivity=2)
    count = int(numbers.max(initial=0))
    masses = np.bincount(numbers.ravel(), p.ravel(), count + 1)
    masses[0] = 0
    if apart is not None:
        masses[np.unique(numbers[apart])] = 0
    kept = int((masses > 0).sum())
    if not kept:
        if apart is not None:  # what touches is no evidence of another one
            p = np.where(where & (numbers == 0), p, 0)
        peak = float(p.max(initial=0))
        return Found(expected, peak, peaks=_peaks(p))
    best = int(masses.argmax())
    inside = numbers == best
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    box = rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    area = int(inside.sum())
    confidence = float(masses[best]) / area
    if apart is not None:
        p = np.where((numbers == 0) | (masses[numbers] > 0), p, 0)
    return Found(expected, confidence, kept, area, tuple(map(int, box)), _peaks(p))


def _peaks(p: np.ndarray) -> tuple[float, ...]:
    """See `Found`. Smoothed at half the size from one width to the next, which is soon small."""
    peaks, p = [], p.astype("float32")
    for _ in range(SCALES):
        peaks.append(float(cv2.GaussianBlur(p, (0, 0), 1, borderType=cv2.BORDER_REFLECT).max()))
        size = tuple(max(1, -(-edge // 2)) for edge in p.shape[::-1])
        p = cv2.resize(p, size, interpolation=cv2.INTER_AREA)
    return tuple(peaks)


def regions_of(p: np.ndarray, where: np.ndarray, apart: np.ndarray | None = None) -> np.ndarray:
    """bool (H, W): the regions that `found_in` counts."""
    looked = where if apart is None else where | apart
    numbers = connected(looked & (p >= FAINT), connectivity=2)
    shown = numbers > 0
    if apart is not None:
        shown &= ~np.isin(numbers, np.unique(numbers[apart]))
    return shown


@dataclass(frozen=True)
class Drawn:
    """Which pixels an annotation gives to each class, and which it leaves open.

    labelled: bool (H, W, C).
    open: bool (H, W, C): the class may be there, not outlined: background, a coarse label that
        may mean it, or 0 in the plane of an independent class. Ignored pixels are neither.
    """

    labelled: np.ndarray
    open: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, labels: LabelSpace) -> Drawn:
        """From a mask, ids (H, W) or planes (H, W, C)."""
        classes = np.arange(labels.num_classes)
        if not labels.exclusive:
            return cls(mask == 1, mask == 0)
        labelled = mask[..., None] == classes
        empty = np.zeros(mask.shape, bool) if labels.background is None else None
        hidden = mask == labels.background if empty is None else empty
        open_ = np.repeat(hidden[..., None], len(classes), axis=-1)
        for entry in labels.coarse:
            for name in entry.members:
                open_[..., labels.index(name)] |= mask == entry.id
        if labels.background is not None:
            open_[..., labels.background] = False
        return cls(labelled, open_)


def objects(labelled: np.ndarray) -> list[np.ndarray]:
    """The connected regions (8 neighbours) that are outlined, each bool (H, W)."""
    numbers = connected(labelled, connectivity=2)
    return [numbers == k for k in range(1, int(numbers.max(initial=0)) + 1)]


def largest_area(labelled: np.ndarray) -> int:
    """Pixels of the largest connected region; 0 without one."""
    numbers = connected(labelled, connectivity=2)
    return int(np.bincount(numbers.ravel())[1:].max(initial=0))


@dataclass(frozen=True)
class Shift:
    """A translation of an annotation after which it matches the prediction better.

    rows, columns: how far it would have to move, in pixels.
    before, after: soft IoU, sum p m / (sum p + sum m - sum p m), without and with it.
    """

    rows: int
    columns: int
    before: float
    after: float


def best_shift(
    p: np.ndarray, labelled: np.ndarray, reach: float = 0.2, longest: int = 128
) -> Shift:
    """The translation of an annotation m with the highest soft IoU with a prediction p.

        IoU(d) = sum over x of p(x) m(x - d) / (sum p + sum m - the same)

    All translations are tried at once, by correlation in the Fourier domain, on an image that is
    made smaller if need be.

    Args:
        p: probability, (H, W).
        labelled: bool (H, W), with a pixel.
        reach: the farthest translation, as a share of each edge.
        longest: edge in pixels above which the image is made smaller.
    """
    height, width = p.shape
    scale = max(1.0, max(p.shape) / longest)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    small = [
        cv2.resize(a.astype("float32"), size, interpolation=cv2.INTER_AREA) for a in (p, labelled)
    ]
    rows, columns = (int(reach * edge) for edge in small[0].shape)
    padded = [np.pad(a, ((0, rows), (0, columns))).astype("float64") for a in small]
    spectra = [np.fft.rfft2(a) for a in padded]
    overlap = np.fft.irfft2(spectra[0] * np.conj(spectra[1]), s=padded[0].shape)
    total = small[0].sum(dtype="float64") + small[1].sum(dtype="float64")
    ways = [(dy, dx) for dy in range(-rows, rows + 1) for dx in range(-columns, columns + 1)]
    shared = np.clip([overlap[way] for way in ways], 0, None)
    iou = shared / np.maximum(total - shared, 1e-12)
    # Of equals, the shortest way.
    best = int(np.lexsort([[abs(dy) + abs(dx) for dy, dx in ways], -np.round(iou, 9)])[0])
    dy, dx = (round(step * scale) for step in ways[best])
    return Shift(dy, dx, float(iou[ways.index((0, 0))]), float(iou[best]))

"""What each image says about a model, and what all of them say together, in one pass."""

from __future__ import annotations

import heapq
from collections import deque
from typing import Iterator, NamedTuple

import numpy as np

from segkit import parallel, targets
from segkit.contract import Sample, Source
from segkit.data.fitting import fit_image, fit_mask
from segkit.labels import LabelSpace
from segkit.metrics import Counts, count
from segkit.metrics.calibration import Reliability, count_reliability
from segkit.metrics.counts import mean_or_none
from segkit.metrics.curves import ProbabilityCounts, count_probabilities
from segkit.metrics.ordered import OrderedSums, count_ordered
from segkit.metrics.surfaces import SurfaceScores, surface_scores
from segkit.predictor import Predictor

SHOWN_PIXELS = 768  # of the longer side of an image that is kept to be shown


class Evidence(NamedTuple):
    """What one image says: pixels, probabilities and outlines, on the cells that are known.

    ordered: how far off ordered classes are; None where classes have no order.
    """

    counts: Counts
    probabilities: ProbabilityCounts
    reliability: Reliability
    surfaces: SurfaceScores
    ordered: OrderedSums | None = None


class Judged(NamedTuple):
    """An image that has been predicted and scored.

    known: on known cells; None where it is kept to be shown alone.
    truth: against the full truth; None if nobody knows it.
    """

    index: int
    sample: Sample
    prediction: np.ndarray
    known: Evidence | None
    truth: Evidence | None

    @property
    def mean_iou(self) -> float | None:
        """Of this image, against the truth if there is one; None without evidence."""
        best = self.known if self.truth is None else self.truth
        return mean_or_none(best.counts.iou)


class Tally:
    """Sums over images, and one row an image; probabilities are counted and let go.

    total: counts, probabilities and reliability over all images; None before the first.
    indices: of the images that had such evidence.
    ordered: of each image, how far off ordered classes are.
    """

    def __init__(self) -> None:
        self.ordered: list[OrderedSums | None] = []
        self.counts: Counts | None = None
        self.probabilities: ProbabilityCounts | None = None
        self.reliability: Reliability | None = None
        self.indices: list[int] = []
        self._cells: list[np.ndarray] = []
        self._surfaces: list[np.ndarray] = []

    def add(self, index: int, evidence: Evidence) -> None:
        """Adds what image `index` says."""
        for key in ("counts", "probabilities", "reliability"):
            before, now = getattr(self, key), getattr(evidence, key)
            setattr(self, key, now if before is None else before + now)
        part = evidence.counts
        cells = part.true_positives, part.false_positives, part.false_negatives, part.images
        self.indices.append(index)
        self.ordered.append(evidence.ordered)
        self._cells.append(np.stack(cells))
        self._surfaces.append(np.stack(evidence.surfaces))

    @property
    def cells(self) -> np.ndarray:
        """True positives, false positives, false negatives, known: int64 (4, N, C)."""
        return np.stack(self._cells, axis=1)

    @property
    def surfaces(self) -> SurfaceScores:
        """Of each image, each float64 (N, C)."""
        return SurfaceScores(*np.stack(self._surfaces, axis=1))


class Worst:
    """The images with the lowest mean IoU, as small as they are shown.

    Args:
        most: how many to keep.
    """

    def __init__(self, most: int):
        self._most = most
        self._heap: list[tuple[float, int, Judged]] = []  # the best of them first

    def add(self, judged: Judged) -> None:
        """Keeps the image if it is among the worst; one without evidence is not."""
        score = judged.mean_iou
        if score is None or not self._most:
            return
        entry = (-score, -judged.index)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (*entry, _small(judged)))
        elif entry > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*entry, _small(judged)))

    def ranked(self) -> list[tuple[float, Judged]]:
        """(mean IoU, image), from the worst on."""
        return [(-score, judged) for score, _, judged in sorted(self._heap, reverse=True)]


class Judge:
    """Predicts and scores the images of a source, one after the other.

    Args:
        predictor: the model.
        source: the images.
        tolerance, pixel_size: see `segkit.metrics.surfaces.surface_scores`.
    """

    def __init__(
        self,
        predictor: Predictor,
        source: Source,
        tolerance: float,
        pixel_size: tuple[float, float],
    ):
        self._predictor, self._source = predictor, source
        self._outlines = tolerance, pixel_size

    def __len__(self) -> int:
        return len(self._source)

    def __iter__(self) -> Iterator[tuple[int, Sample, np.ndarray]]:
        """Number, sample and probabilities (H, W, C) of each image."""
        waiting: deque[Sample] = deque()  # the model takes images in batches

        def images() -> Iterator[np.ndarray]:
            for sample in parallel.ordered(self._source.__getitem__, range(len(self._source))):
                waiting.append(sample)
                yield sample.image

        for index, probabilities in enumerate(self._predictor.each(images())):
            yield index, waiting.popleft(), probabilities

    def judged(self) -> Iterator[Judged]:
        """Each image with its scores, which are computed in threads while the model goes on."""
        yield from parallel.ordered(self._score, self, "scoring")

    def _score(self, item: tuple[int, Sample, np.ndarray]) -> Judged:
        index, sample, probabilities = item
        labels = self._source.labels
        prediction = self._predictor.decide(probabilities)
        known = self._evidence(sample.mask, sample.annotated, labels, probabilities, prediction)
        truth = None
        if sample.truth is not None:
            full = np.ones_like(sample.annotated)
            truth = self._evidence(sample.truth, full, labels, probabilities, prediction)
        return Judged(index, sample, prediction, known, truth)

    def _evidence(
        self,
        mask: np.ndarray,
        annotated: np.ndarray,
        labels: LabelSpace,
        probabilities: np.ndarray,
        prediction: np.ndarray,
    ) -> Evidence:
        target = targets.encode(mask[None], np.asarray(annotated, bool)[None], labels)
        batch, exclusive = (target, probabilities[None]), labels.exclusive
        counts, ordered = count(target, prediction[None]), None
        if labels.values is not None:
            pair = counts.confusion, probabilities[None]
            ordered = count_ordered(target, *pair, labels.values)
        return Evidence(
            counts,
            count_probabilities(*batch, exclusive=exclusive),
            count_reliability(*batch, exclusive=exclusive),
            surface_scores(target[0], prediction, *self._outlines),
            ordered,
        )


def _small(judged: Judged) -> Judged:
    """The same without what is not shown, and no larger than it is shown."""
    sample = judged.sample
    height, width = sample.mask.shape[:2]
    scale = min(1.0, SHOWN_PIXELS / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    mask, truth, prediction = (
        None if ids is None else np.array(fit_mask(ids, size, "resize", None))
        for ids in (sample.mask, sample.truth, judged.prediction)
    )
    image = fit_image(sample.image, size, "resize")
    kept = sample._replace(image=image, mask=mask, truth=truth)
    # Histograms of many classes are larger than the image.
    return judged._replace(sample=kept, prediction=prediction, known=None, truth=None)

"""The probabilities of all images of a source, as often as they are asked for."""

from __future__ import annotations

from collections import deque
from typing import Iterator, NamedTuple

import numpy as np

from segkit import parallel, targets
from segkit.contract import Sample, Source
from segkit.grouping import origins_of, repeated_groups, units
from segkit.predictor import Predictor

GIB = 2**30


class Predicted(NamedTuple):
    """One image: its number, target int8 (H, W, C) and probabilities float32 (H, W, C)."""

    index: int
    target: np.ndarray
    probabilities: np.ndarray


class Passes:
    """Predicts the images of a source, once if the probabilities fit into memory.

    Each `once_more` yields every image, in order. What was predicted is kept as long as it takes
    no more than the memory allowed; from there on nothing is, and each pass predicts again.

    Args:
        model: of `segkit.load`.
        source: the images.
        memory: bytes that may be kept.
    """

    def __init__(self, model: Predictor, source: Source, memory: float):
        self._model, self._source, self._memory = model, source, memory
        self._kept: list[Predicted] | None = []
        self._complete = False

    def once_more(self, text: str) -> Iterator[Predicted]:
        """All images; `text` is what a bar on the terminal says."""
        if self._complete:
            yield from self._kept
            return
        size = 0
        for item in self._predict(text):
            size += item.target.nbytes + item.probabilities.nbytes
            if size > self._memory:
                self._kept = None
            if self._kept is not None:
                self._kept.append(item)
            yield item
        self._complete = self._kept is not None

    def _predict(self, text: str) -> Iterator[Predicted]:
        labels, waiting = self._source.labels, deque()

        def images() -> Iterator[np.ndarray]:
            everything = range(len(self._source))
            for sample in parallel.ordered(self._source.__getitem__, everything, text):
                _require_form(sample)
                waiting.append(sample)
                yield sample.image

        for index, probabilities in enumerate(self._model.each(images())):
            sample = waiting.popleft()
            annotated = np.asarray(sample.annotated, bool)[None]
            target = targets.encode(np.asarray(sample.mask)[None], annotated, labels)[0]
            yield Predicted(index, target, probabilities)


def halves(source: Source, seed: int) -> np.ndarray | None:
    """Which half of the source each image is in, bool (N,); groups stay together.

    None where there are not two images, or groups, to part.
    """
    _, owners = units("auto", repeated_groups(source), origins_of(source))
    names, owner, sizes = np.unique(owners, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    half, filled = np.zeros(len(names), bool), [0, 0]
    for name in np.random.default_rng(seed).permutation(len(names)):
        half[name] = filled[1] < filled[0]
        filled[int(half[name])] += sizes[name]
    return half[owner]


def _require_form(sample: Sample) -> None:
    if sample.image.shape[:2] != np.shape(sample.mask)[:2]:
        raise ValueError(
            f"An image and its mask need one size. Received: {sample.name} with "
            f"{sample.image.shape[:2]} and {np.shape(sample.mask)[:2]}."
        )

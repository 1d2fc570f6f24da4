"""Who says what lies at a pixel: the model of a run, or label propagation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Callable, Iterable, Iterator

import numpy as np

from segkit.contract import Source
from segkit.predictor import Predictor
from segkit.pseudo_labels.opening import Opened, samples
from segkit.pseudo_labels.propagation import Propagation, Spreading, features, labels_of
from segkit.targets import encode

MODEL, PROPAGATION = "model", "propagation"
METHODS = (MODEL, PROPAGATION)

Each = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


def provider(opened: Opened, method: str, spreading: Spreading) -> Each:
    """Images, one after the other -> their probabilities, float32 (H, W, C).

    Args:
        opened: data and model.
        method: one of `METHODS`. Propagation learns from the split train, or else the first one,
            and looks at the probabilities of a model as well, if there is one.
        spreading: options of the propagation.

    Raises:
        ValueError: if the method is none, or needs what is not there.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}. Received: {method!r}.")
    if method == MODEL:
        if opened.model is None:
            raise ValueError(
                "method=model needs a run: run=DIR. method=propagation needs none, only data=..."
            )
        return opened.model.each
    learning = opened.splits.get("train") or next(iter(opened.splits.values()))
    return _Propagated(opened.model, learning, spreading).each


class _Propagated:
    """Label propagation, learnt from a split, perhaps over the probabilities of a model."""

    def __init__(self, model: Predictor | None, source: Source, options: Spreading):
        self._model, self._propagation = model, Propagation(source.labels, options)
        self._propagation.fit(self._learnt(source))

    def each(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for image in images:
            parts = self._propagation.parts(image)
            found = features(image, parts, self._seen(image))
            yield self._propagation.probabilities(found)[parts]

    def _learnt(self, source: Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for sample in samples(source, "superpixels"):
            # An error is named when it is to be completed; a weight of 0: not to be trusted.
            if isinstance(sample, Exception) or not sample.weight:
                continue
            parts = self._propagation.parts(sample.image)
            annotated = np.asarray(sample.annotated, bool)[None]
            target = encode(np.asarray(sample.mask)[None], annotated, source.labels)[0]
            yield features(sample.image, parts, self._seen(sample.image)), labels_of(target, parts)

    def _seen(self, image: np.ndarray) -> np.ndarray | None:
        return None if self._model is None else next(self._model.each([image]))


def identity(folder: Path) -> str:
    """What a run is called in provenance: its folder, and the start of its model's hash."""
    digest = hashlib.sha256((folder / "model.keras").read_bytes()).hexdigest()
    return f"{folder.name}@{digest[:12]}"

"""Completing a data set: what is unknown in it is filled where somebody is sure."""

from __future__ import annotations

import heapq
from collections import deque
from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

import numpy as np

from segkit.contract import Sample, Source
from segkit.data.writing import write_labels
from segkit.labels import LabelSpace
from segkit.pseudo_labels import providing, tuning
from segkit.pseudo_labels.choosing import (
    Settings,
    chosen_splits,
    fillable_classes,
    written_anew,
)
from segkit.pseudo_labels.deciding import Thresholds, decided
from segkit.pseudo_labels.opening import Opened, pair_of, samples, trained_on
from segkit.pseudo_labels.providing import Each, identity
from segkit.pseudo_labels.storing import Stored, Vocabulary
from segkit.pseudo_labels.tallying import Tally
from segkit.pseudo_labels.writing import Row, Writer, write_declarations
from segkit.targets import encode

_LONGEST = 512  # pixels of an example


class Example(NamedTuple):
    """An image for the page: as given, as completed, and how sure the new labels are."""

    name: str
    image: np.ndarray
    given: Stored
    completed: Stored
    confidence: float


class Filled(NamedTuple):
    """What came of it.

    tally: counts, by cell and class.
    thresholds: that were used.
    tuned: what they stand on; None if they were given.
    labels: of the completed masks.
    examples: the surest images and the least sure ones.
    failed: {image: why it could not be read}; they stay as they were.
    left: classes that nobody annotated anywhere, which stay unknown.
    seen: images that thresholds were tuned on, and that a run was trained on.
    """

    tally: Tally
    thresholds: Thresholds
    tuned: tuning.Tuned | None
    labels: LabelSpace
    examples: list[Example]
    failed: dict[str, str]
    left: list[str]
    seen: Sequence[str] = ()


def fill(opened: Opened, settings: Settings, stage: Path | None) -> Filled:
    """Completes the images of a split.

    Args:
        opened: data and model.
        settings: how.
        stage: an empty folder to write the data set to; None: nothing is written.

    Raises:
        NothingUnknown: if there is nothing to complete.
        ValueError, OSError: naming what is wrong with the data or the settings.
    """
    chosen = chosen_splits(opened, settings)
    fillable, left = fillable_classes(opened, chosen)
    vocabulary = Vocabulary(opened.labels, settings.doubt)
    asked = None
    if settings.thresholds != tuning.AUTO:
        asked = tuning.given(settings.thresholds, opened.labels)
    each = providing.provider(opened, settings.method, settings.spreading)
    tuned = _tuned(each, opened, settings) if asked is None else None
    thresholds = asked or tuned.thresholds
    ids = [identity(run.folder) for run in opened.model.runs] if opened.model else []
    filling = _Filling(each, thresholds, fillable, vocabulary, settings, Tally, ids)
    rows: list[Row] = []
    for name, source in opened.splits.items():
        writer = None
        if stage is not None and len(source):
            writer = Writer(
                stage / name,
                source,
                settings.images,
                written_anew(source, name in chosen),
            )
        if name in chosen:
            filling.complete(name, source, writer)
        elif writer is not None:
            for index in range(len(source)):
                writer.write(index, None, None)
        rows += writer.rows if writer else []
    if stage is not None:
        write_declarations(stage, rows, opened.labels)
        write_labels(vocabulary.labels, stage)
        filling.tally.write(stage / "provenance.csv")
    examples = filling.examples()
    seen = trained_on(opened, "val") if tuned is not None else []
    done = filling.tally, thresholds, tuned, vocabulary.labels, examples, filling.failed
    return Filled(*done, left, seen)


def _tuned(each: Each, opened: Opened, settings: Settings) -> tuning.Tuned:
    known = opened.splits.get("val")
    pairs = _known(each, known) if known is not None and len(known) else ()
    numbers = settings.label_precision, settings.missed, settings.confidence
    return tuning.tune(pairs, opened.labels, *numbers)


class _Filling:
    """The images of one split after the other."""

    def __init__(
        self,
        each: Each,
        thresholds: Thresholds,
        fillable: np.ndarray,
        vocabulary: Vocabulary,
        settings: Settings,
        tally: type[Tally],
        runs: list[str],
    ):
        self._each, self._thresholds, self._fillable = each, thresholds, fillable
        self._vocabulary, self._settings = vocabulary, settings
        self.tally = tally(vocabulary.labels, settings.method, runs)
        self.failed: dict[str, str] = {}
        self._surest: list[tuple] = []
        self._weakest: list[tuple] = []

    def complete(self, split: str, source: Source, writer: Writer | None) -> None:
        """Decides, writes and counts all images of a split."""
        for index, sample, found in predicted(self._each, source, "completing"):
            if found is None:
                self._give_up(split, index, source, sample, writer)
                continue
            annotated = np.asarray(sample.annotated, bool)
            fillable = self._fillable if source.labels.exclusive else self._fillable & ~annotated
            target = target_of(sample, source.labels)
            decision = decided(target, found, self._thresholds, source.labels, fillable)
            stored = self._vocabulary.store(sample.mask, annotated, decision, fillable)
            name = f"{split}/{sample.name or index}"
            kept = stored is not None
            sure = self.tally.add(name, annotated, decision, sample.truth, kept)
            if writer is not None:
                writer.write(index, sample, stored, self._settings.weight)
            if kept and sure is not None:
                given = Stored(sample.mask, annotated)
                self._show(Example(name, sample.image, given, stored, sure))

    def _give_up(
        self, split: str, index: int, source: Source, error: Exception, writer: Writer | None
    ) -> None:
        """An image that cannot be read stays as it is, and is named."""
        pair = pair_of(source, index)
        if pair is None:
            raise error
        self.failed[str(pair.image)] = str(error)
        self.tally.add(f"{split}/{pair.name}", source.annotation(index)[1], None)
        if writer is not None:
            writer.write(index, None, None)

    def _show(self, example: Example) -> None:
        most, number = self._settings.examples // 2, len(self.tally.cells)
        step = -(-max(example.image.shape[:2]) // _LONGEST)
        example = example._replace(
            image=example.image[::step, ::step],
            given=example.given._replace(mask=example.given.mask[::step, ::step]),
            completed=example.completed._replace(mask=example.completed.mask[::step, ::step]),
        )
        for heap, key in ((self._surest, example.confidence), (self._weakest, -example.confidence)):
            heapq.heappush(heap, (key, -number, example))
            if len(heap) > most:
                heapq.heappop(heap)

    def examples(self) -> list[Example]:
        """The least sure images first, then the surest, each once."""
        weak = [entry[-1] for entry in sorted(self._weakest, key=lambda e: e[:2], reverse=True)]
        sure = [entry[-1] for entry in sorted(self._surest, key=lambda e: e[:2], reverse=True)]
        names = {example.name for example in weak}
        return weak + [example for example in sure if example.name not in names]


def predicted(
    each: Each, source: Source, text: str
) -> Iterator[tuple[int, Sample | Exception, np.ndarray | None]]:
    """(index, sample, probabilities) of each image; of one that cannot be read, the error."""
    waiting: deque = deque()

    def images() -> Iterator[np.ndarray]:
        for index, sample in enumerate(samples(source, text)):
            waiting.append((index, sample))
            if not isinstance(sample, Exception):
                yield sample.image

    for found in each(images()):
        while isinstance(waiting[0][1], Exception):
            yield (*waiting.popleft(), None)
        yield (*waiting.popleft(), found)
    while waiting:
        yield (*waiting.popleft(), None)


def target_of(sample: Sample, labels: LabelSpace) -> np.ndarray:
    """int8 (H, W, C): what the annotation of a sample says."""
    annotated = np.asarray(sample.annotated, bool)[None]
    return encode(np.asarray(sample.mask)[None], annotated, labels)[0]


def _known(each: Each, source: Source) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for _, sample, found in predicted(each, source, "tuning thresholds"):
        if found is not None and sample.weight:  # what is not trusted tells nothing
            yield target_of(sample, source.labels), found

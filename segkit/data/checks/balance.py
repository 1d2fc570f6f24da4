"""What the counts of classes say about a data set: rare classes, and splits that differ."""

from __future__ import annotations

from typing import Iterator, Mapping

import numpy as np

from segkit.class_counts import ClassCounts
from segkit.data.checks.coverage import shares
from segkit.data.problems import Problem
from segkit.labels import LabelSpace

FEW_IMAGES = 10  # below it, what a model learns of a class hangs on single images
SMALL_SHARE = 0.001  # of the pixels
SHIFT = 3.0  # times as much of a class in one split as in another
_SEEN = 0.002  # a class of less than this share of both splits moves by chance

_REMEDY = (
    "sampling=labelled shows its images more often, data.size=null patches=centred cuts patches "
    "around it from the whole images, and class_weights=median_frequency makes its pixels count "
    "more"
)


def imbalance(
    coverage: Mapping[str, ClassCounts], labels: LabelSpace, where: str = ""
) -> list[Problem]:
    """Names what a model will find hard to learn, or a score to tell; none of it is fatal.

    Args:
        coverage: the counts of each split.
        labels: the label space.
        where: what the problems give as their file.
    """
    train = coverage.get("train")
    if train is None or not train.total_images:
        return []
    found = [*_rare(train, labels), *_shifted(coverage, labels), *_unseen(coverage, labels)]
    return [Problem(kind, where, text, fatal=False) for kind, text in found]


def _rare(train: ClassCounts, labels: LabelSpace) -> Iterator[tuple[str, str]]:
    share = shares(train)
    for c in labels.foreground:
        if not train.images[c]:
            continue  # which segkit.preflight says
        few = train.images[c] < FEW_IMAGES <= train.total_images
        thin = share[c] < SMALL_SHARE
        if few or thin:
            held = f"in {train.images[c]:,} of {train.total_images:,} training images"
            covered = f"{percent(share[c])} of the pixels where it was looked for"
            yield "rare class", f"{labels.names[c]} is {held}, {covered}. {_REMEDY}."


def _shifted(coverage: Mapping[str, ClassCounts], labels: LabelSpace) -> Iterator[tuple[str, str]]:
    train = coverage["train"]
    for name, counts in coverage.items():
        if name == "train":
            continue
        pairs = zip(shares(train), shares(counts))
        for c, (here, there) in enumerate(pairs):
            low, high = sorted((here, there))
            both = train.images[c] and counts.images[c]
            if both and high >= max(SHIFT * low, _SEEN):
                yield "shift between splits", (
                    f"{labels.names[c]} covers {percent(here)} of the pixels in train and "
                    f"{percent(there)} in {name}, {high / low:.1f} times as much in one as in the "
                    f"other: {name} measures another mixture than the one that is learnt. "
                    "This may be meant (another street, another hospital). If not, draw anew with "
                    "data.split.by=drawn and, for videos or patients, data.split.group."
                )


def _unseen(coverage: Mapping[str, ClassCounts], labels: LabelSpace) -> Iterator[tuple[str, str]]:
    """Of test, and of any split that segkit.preflight does not speak about."""
    for name, counts in coverage.items():
        if name in ("train", "val") or not counts.total_images:
            continue
        unknown = [labels.names[c] for c in labels.foreground if not counts.annotated_images[c]]
        absent = [
            labels.names[c]
            for c in labels.foreground
            if counts.annotated_images[c] and not counts.images[c]
        ]
        if unknown:
            yield "class without evidence", (
                f"Nobody looked for {', '.join(unknown)} in the images of {name}: no score there."
            )
        if absent:
            yield "class without evidence", (
                f"{name} shows no pixel of {', '.join(absent)} where it was looked for: recall "
                "and IoU cannot be told there."
            )


def percent(share: float) -> str:
    """A share as text with two digits that count, never rounded to nothing."""
    return f"{100 * share:.2g} %" if 0 < share < 0.1 else f"{100 * np.round(share, 3):.3g} %"

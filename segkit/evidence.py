"""What the data must hold for a model to be trained and scored on them.

Errors where nothing could be learnt, warnings where a class could not be, or could not be scored;
each names the classes and the way out.
"""

from __future__ import annotations

import logging
from typing import Mapping, Sequence, Sized

from segkit.class_counts import ClassCounts
from segkit.contract import Source, innermost
from segkit.labels import LabelSpace

log = logging.getLogger(__name__)


def require_images(splits: Mapping[str, Sized]) -> None:
    """Refuses data without images to train on or to watch.

    Raises:
        ValueError: naming the split that has none.
    """
    numbers = {"train": 0, "val": 0} | {name: len(split) for name, split in splits.items()}
    for name in ("train", "val"):
        if not numbers[name]:
            listed = [f"{k} has {n:,} image{'s' * (n != 1)}" for k, n in numbers.items()]
            raise ValueError(
                f"Training needs images in the splits train and val, and {name} has none that can "
                f"be used. Received: {', '.join(listed)}."
            )


def check_classes(labels: LabelSpace, counts: ClassCounts) -> None:
    """Refuses training data in which no class can be learnt, and warns of each that cannot.

    Args:
        labels: the label space.
        counts: of the training split.

    Raises:
        ValueError: if no class but the background has a labelled pixel on known cells.
    """
    empty = [c for c in labels.foreground if not counts.pixels[c]]
    undeclared = [c for c in empty if counts.stored_pixels[c]]
    if len(empty) == len(labels.foreground):
        found = f" The masks do hold {_names(labels, undeclared)}, but only in images where "
        found += "annotations.csv says that nobody looked for it."
        raise ValueError(
            "There is nothing to learn: no class but the background has a labelled pixel in an "
            f"image where it was annotated.{found if undeclared else ''} Look at annotations.csv, "
            "data.annotated and data.missing.rate."
        )
    if undeclared:
        log.warning(
            "Only where it is declared unannotated do the masks of the training images hold %s: "
            "nothing shows the model where it is not. Declare the images in which it was outlined "
            "completely.",
            _names(labels, undeclared),
        )
    absent = [c for c in empty if c not in undeclared]
    unseen = [c for c in absent if counts.annotated_images[c]]
    if unseen:
        log.warning(
            "No training image shows a pixel of %s where it was looked for: it cannot be learnt.",
            _names(labels, unseen),
        )
    unknown = [c for c in absent if not counts.annotated_images[c]]
    if unknown:
        log.warning(
            "In no training image did anybody look for %s: it cannot be learnt.",
            _names(labels, unknown),
        )


def check_evidence(labels: LabelSpace, counts: ClassCounts) -> None:
    """Warns of what the validation split cannot tell about the model.

    Args:
        labels: the label space.
        counts: of the validation split.
    """
    unknown = [c for c in labels.foreground if not counts.annotated_images[c]]
    unseen = [c for c in labels.foreground if counts.annotated_images[c] and not counts.images[c]]
    if len(unknown) == len(labels.foreground):
        log.warning(
            "No class can be scored on the split val: nobody looked for %s in its images. "
            "val_mean_iou will not be a number, the latest model is kept instead of the best, and "
            "training does not stop early.",
            _names(labels, unknown),
        )
        return
    # The background is settled only where nothing else can hide in it.
    if labels.background is not None and not counts.complete_images:
        unknown.append(labels.background)
    if unknown:
        log.warning(
            "The split val holds no evidence on %s: the best model is chosen without it. (A class "
            "needs an image where it was looked for, the background one where every class was.)",
            _names(labels, unknown),
        )
    if unseen:
        log.warning(
            "The split val shows no pixel of %s where it was looked for: its IoU there is 0 from "
            "the first false positive on, and without one it is in no mean.",
            _names(labels, unseen),
        )
    somewhere = counts.annotated_images[list(labels.foreground)] < counts.total_images
    if not counts.at_random and somewhere.any():
        log.warning(
            "With data.annotated=present a class is scored in the images that show it, and nobody "
            "knows whether it is predicted wrongly in others; trainer.bounds=true says how much "
            "that may matter."
        )


def require_one_size(name: str, source: Source) -> None:
    """Refuses a source whose images do not fit into one batch, if it knows their sizes.

    Args:
        name: of the split.
        source: with `sizes`, the (H, W) of each sample, if these are known; or around such a one.

    Raises:
        ValueError: naming two images and their sizes.
    """
    source = innermost(source)
    sizes = getattr(source, "sizes", [])
    odd = next((i for i, size in enumerate(sizes) if size != sizes[0]), None)
    if odd is not None:
        (h0, w0), (h, w) = sizes[0], sizes[odd]
        raise ValueError(
            f"The images of {name} must have one size, to be put into batches. Received: "
            f"{source.names[0]} with {h0}x{w0} and {source.names[odd]} with {h}x{w} (height x "
            "width). Bring them to one size with data.size=128, or cut patches of them with "
            "patches=random patches.size=128."
        )


def _names(labels: LabelSpace, classes: Sequence[int]) -> str:
    return ", ".join(labels.names[c] for c in classes)

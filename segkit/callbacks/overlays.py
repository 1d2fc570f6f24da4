"""Pictures of an image beside what was annotated on it and what a model predicts."""

from __future__ import annotations

import numpy as np

from segkit.contract import LABELLED, UNKNOWN, Sample
from segkit.labels import LabelSpace
from segkit.targets import encode

STRENGTH = 0.6  # of the colour of a class over the image
GREY = (128, 128, 128)  # of pixels that nobody judged
HATCH = (8, 2)  # distance and width of the stripes where something is unknown, in pixels
GAP = 4  # between the panels


def panels(sample: Sample, logits: np.ndarray, labels: LabelSpace, most: int = 512) -> np.ndarray:
    """Image | annotation | truth, where there is one | prediction; uint8 (H, W', 3).

    The background is left clear. Pixels that nobody judged are grey, and where some class is
    unknown there are stripes: this is not background, but not known.

    Args:
        sample: the image with its masks.
        logits: (H, W, C).
        labels: their classes and colours.
        most: pixels of the longer side of a panel; larger ones are thinned out.
    """
    image = byte_image(sample.image)
    known = encode(sample.mask[None], sample.annotated[None], labels)[0]
    views = [image, painted(image, known, labels)]
    if sample.truth is not None:
        full = np.ones_like(sample.annotated)
        views.append(painted(image, encode(sample.truth[None], full[None], labels)[0], labels))
    states = logits >= 0
    if labels.exclusive:
        states = logits.argmax(-1)[..., None] == np.arange(labels.num_classes)
    views.append(painted(image, states.astype("int8"), labels))
    height = image.shape[0]
    gap = np.full((height, GAP, 3), 255, np.uint8)
    thin = -(-max(image.shape[:2]) // most)
    parts = [part for view in views for part in (gap, view)][1:]
    return np.concatenate([part[::thin, ::thin] for part in parts], axis=1)


def painted(image: np.ndarray, target: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """The image under the colours of a target: uint8 (H, W, 3), int8 (H, W, C) -> (H, W, 3).

    A pixel of several classes gets the mean of their colours.
    """
    shown = image.astype("float32")
    there = target[..., list(labels.foreground)] == LABELLED
    colors = np.float32([labels.palette[c] for c in labels.foreground])
    where = there.any(-1)
    several = there[where].astype("float32")
    mean = several @ colors / several.sum(-1, keepdims=True)
    shown[where] += STRENGTH * (mean - shown[where])
    nobody = (target == UNKNOWN).all(-1)
    shown[nobody] += STRENGTH * (np.float32(GREY) - shown[nobody])
    # Where classes are in doubt the target still says background, if that is what is stored.
    distance, width = HATCH
    rows, columns = np.indices(target.shape[:2])
    stripes = (rows + columns) % distance < width
    doubt = (target == UNKNOWN).any(-1) & ~where & ~nobody & stripes
    shown[doubt] += STRENGTH * (255 - shown[doubt])
    return shown.round().astype(np.uint8)


def byte_image(image: np.ndarray) -> np.ndarray:
    """An image of any number of channels as uint8 (H, W, 3): the first three, or the first one."""
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)

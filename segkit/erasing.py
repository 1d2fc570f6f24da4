"""Taking a class out of a mask, as if nobody had looked for it."""

from __future__ import annotations

import numpy as np

from segkit.labels import LabelSpace


def erased_id(labels: LabelSpace) -> int:
    """The id that erased pixels take: the background, or else `ignore_index`.

    Raises:
        ValueError: if the label space has neither.
    """
    left = labels.background if labels.background is not None else labels.ignore_index
    if left is None:
        raise ValueError(
            "Hidden pixels become the background, or ignore_index where there is no background. "
            "Received: a label space with neither. Give LabelSpace one of the two."
        )
    return left


def erase(masks: np.ndarray, hidden: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """A copy of the masks without the classes that are hidden in each image.

    A coarse label goes when all its members are hidden. Planes of independent classes become 0.

    Args:
        masks: integers (B, H, W); independent classes: 0/1 planes (B, H, W, C).
        hidden: bool (B, C).
        labels: the label space of the masks.

    Raises:
        ValueError: if there is no id that hidden pixels could take.
    """
    if not labels.exclusive:
        return np.where(hidden[:, None, None, :] & (masks == 1), 0, masks).astype(masks.dtype)
    left, erased = erased_id(labels), masks.copy()
    for mask, row in zip(erased, hidden):
        for c in (*np.flatnonzero(row).tolist(), *_coarse_ids(row, labels)):
            np.copyto(mask, left, where=mask == c)
    return erased


def _coarse_ids(hidden: np.ndarray, labels: LabelSpace) -> list[int]:
    return [
        entry.id
        for entry in labels.coarse
        if all(hidden[labels.index(member)] for member in entry.members)
    ]

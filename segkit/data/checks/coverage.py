"""Who looked for what in a folder data set: counts of classes from the facts of its files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Sequence

import numpy as np

from segkit.class_counts import ClassCounts

if TYPE_CHECKING:
    from segkit.data.folder.dataset import DataSet


def coverage(data: DataSet, at_random: bool = True) -> dict[str, ClassCounts]:
    """The counts of each split, from files that can be used.

    They are those of `segkit.class_counts.count`, but for two things: the pixels of the background
    are not corrected, and those of coarse labels count for nobody.

    Args:
        data: what `segkit.data.folder.examine` found.
        at_random: False where having looked for a class depends on whether it is there.
    """
    if data.labels is None:
        return {}
    return {name: _counts(data, indices, at_random) for name, indices in data.splits.items()}


def shares(counts: ClassCounts) -> np.ndarray:
    """What part of the judged pixels each class covers where somebody looked for it, (C,)."""
    return counts.pixels / np.maximum(counts.annotated_pixels, 1)


def _counts(data: DataSet, indices: Sequence[int], at_random: bool) -> ClassCounts:
    labels = data.labels
    facts = [data.facts[i] for i in indices]
    looked = data.annotated[indices]
    stored = pixel_table(data, indices, range(labels.num_classes))
    coarse = pixel_table(data, indices, [entry.id for entry in labels.coarse])
    sizes = np.array([fact.size[0] * fact.size[1] for fact in facts], "int64")
    judged = sizes - np.array([fact.ignored for fact in facts], "int64")
    members = np.array([np.isin(labels.names, entry.members) for entry in labels.coarse], bool)
    # Of a vehicle, nobody said whether it is a car; elsewhere in the image it is none.
    open_ = (coarse > 0).astype(int) @ members if len(labels.coarse) else np.zeros(looked.shape)
    settled = looked & (open_ == 0)
    return ClassCounts(
        names=labels.names,
        pixels=(stored * looked).sum(0),
        stored_pixels=stored.sum(0),
        images=(settled & (stored > 0)).sum(0),
        image_pixels=sizes @ (looked & (stored > 0)).astype("int64"),
        annotated_images=settled.sum(0),
        annotated_pixels=judged @ looked.astype("int64"),
        total_images=len(indices),
        complete_images=int(looked.all(1).sum()),
        at_random=at_random,
    )


def pixel_table(data: DataSet, indices: Sequence[int], ids: Sequence[int]) -> np.ndarray:
    """Pixels of some ids (or independent classes) in some images, int64 (images, ids)."""
    rows = [[data.facts[i].pixels.get(id_, 0) for id_ in ids] for i in indices]
    return np.array(rows, "int64").reshape(len(indices), len(ids))

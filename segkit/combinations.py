"""Planes of independent classes as one layer of ids: each set of classes that a pixel has is one.

Pictures of ids, run lengths and colour tables then serve classes that overlap, too.
"""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

import numpy as np

from segkit.labels import LabelSpace

MOST = 4096  # sets of one image; a page, and a picture of 16 bits, must hold them all


class Combined(NamedTuple):
    """What `combine` made of the planes of one image.

    layers: uint16 (H, W) each, places in `combinations`; None where there was none.
    combinations: {"classes": ids that are there, "ignored": ids that nobody judged}, one a set; the
        first one is empty.
    left_out: ids of the rarest classes, in no set, where there would be more sets than `MOST`.
    """

    layers: dict[str, np.ndarray | None]
    combinations: list[dict[str, list[int]]]
    left_out: list[int]


def combine(
    layers: Mapping[str, np.ndarray | None], labels: LabelSpace, most: int = MOST
) -> Combined:
    """Layers of planes as layers of ids, with one table for all of them.

    Args:
        layers: masks, or predictions, of one image: planes (H, W, C) of 0 or 1, or
            `labels.ignore_index`, or bool; None is passed on.
        labels: the label space; its classes are independent.
        most: how many sets there may be.

    Raises:
        ValueError: naming a layer that is none.
    """
    given = {name: planes for name, planes in layers.items() if planes is not None}
    for name, planes in given.items():
        if np.ndim(planes) != 3 or planes.shape[2] != labels.num_classes:
            raise ValueError(
                f"The {name} of independent classes has a plane a class, (H, W, "
                f"{labels.num_classes}). Received: {np.shape(planes)}."
            )
    rows = [_states(planes, labels) for planes in given.values()]
    # The empty set comes first, whether a pixel has it or not.
    stacked = np.concatenate([np.zeros((1, 2 * labels.num_classes), bool), *rows])
    left_out = _too_many(stacked, most)
    stacked[:, left_out] = stacked[:, [c + labels.num_classes for c in left_out]] = False
    _, first, place = np.unique(_keys(stacked), return_index=True, return_inverse=True)
    order = np.argsort(first)  # as they come, so that the empty one is 0
    ids = np.argsort(order)[place.ravel()][1:].astype("uint16")
    ends = np.cumsum([len(row) for row in rows])[:-1]
    parts = {
        name: part.reshape(planes.shape[:2])
        for (name, planes), part in zip(given.items(), np.split(ids, ends))
    }
    table = [_described(row, labels.num_classes) for row in stacked[first[order]]]
    return Combined({name: parts.get(name) for name in layers}, table, left_out)


def shown_as_ids(
    layers: Mapping[str, np.ndarray | None], labels: LabelSpace
) -> tuple[dict[str, np.ndarray | None], dict[str, Any]]:
    """Layers of one image as ids (H, W), and what an item of gallery.json says of them.

    Layers of classes that exclude each other are ids already, and nothing is said.
    """
    if labels.exclusive:
        return dict(layers), {}
    found = combine(layers, labels)
    return found.layers, {"combinations": found.combinations, "left_out": found.left_out}


def _states(planes: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """bool (H W, 2 C): which classes are there, and which are ignored."""
    there = np.asarray(planes) == 1
    ignored = np.zeros_like(there)
    if labels.ignore_index is not None and planes.dtype != bool:
        ignored = planes == labels.ignore_index
    return np.concatenate([there, ignored], axis=2).reshape(-1, 2 * labels.num_classes)


def _too_many(stacked: np.ndarray, most: int) -> list[int]:
    """The rarest classes, without which there are no more than `most` sets."""
    classes = stacked.shape[1] // 2
    order = np.argsort(stacked[:, :classes].sum(0) + stacked[:, classes:].sum(0), kind="stable")
    dropped = 0
    while dropped < classes:
        kept = np.sort(order[dropped:])
        if len(np.unique(_keys(stacked[:, [*kept, *(kept + classes)]]))) <= most:
            break
        dropped += max(1, (classes - dropped) // 8)
    return sorted(order[:dropped].tolist())


def _keys(rows: np.ndarray) -> np.ndarray:
    """One value for each row (N, 2 C), equal where the rows are."""
    bits = np.ascontiguousarray(np.packbits(rows, axis=1))
    return bits.view(f"V{bits.shape[1]}").ravel()


def _described(row: np.ndarray, classes: int) -> dict[str, list[int]]:
    there, ignored = row[:classes], row[classes:]
    return {
        "classes": np.flatnonzero(there).tolist(),
        "ignored": np.flatnonzero(ignored).tolist(),
    }

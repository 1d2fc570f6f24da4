"""Which classes somebody looked for in which image, and how far it is trusted."""

from __future__ import annotations

from typing import Mapping

import numpy as np

from segkit.data.folder.inspection import Facts
from segkit.data.layout import Pair
from segkit.data.manifest import FILE_NAME, Manifest
from segkit.data.problems import Problem
from segkit.labels import LabelSpace


def annotated_table(
    pairs: list[Pair],
    facts: list[Facts],
    manifest: Manifest | None,
    policy: str,
    labels: LabelSpace,
) -> np.ndarray:
    """The classes that somebody looked for, bool (N, C).

    What the manifest says of an image goes first. Where each class has a file of its own, a class
    without one was not looked for. For the others the policy holds: "all", "present" (the classes
    that the mask shows), or "manifest" (what it does not say was not looked for). The background
    always counts as annotated.
    """
    table = np.zeros((len(pairs), labels.num_classes), bool)
    for row, pair, found in zip(table, pairs, facts):
        declared = manifest.rows.get(pair.image) if manifest else None
        if declared is not None and declared.annotated is not None:
            row[:] = declared.annotated
        elif policy == "present":
            row[:] = found.present
        elif policy == "all" and isinstance(pair.mask, Mapping):
            row[:] = [name in pair.mask for name in labels.names]
        else:
            row[:] = policy == "all"
    if labels.background is not None:
        table[:, labels.background] = True
    return table


def trust(pairs: list[Pair], manifest: Manifest | None) -> np.ndarray:
    """float64 (N,): the column `weight` of the manifest, 1 where it says nothing."""
    rows = [manifest.rows.get(pair.image) if manifest else None for pair in pairs]
    given = [row.weight if row else None for row in rows]
    return np.array([1.0 if weight is None else weight for weight in given], "float64")


def contradictions(
    pairs: list[Pair], facts: list[Facts], annotated: np.ndarray, labels: LabelSpace
) -> list[Problem]:
    """Names the masks that show a class which nobody is said to have looked for."""
    found = []
    for pair, fact, looked in zip(pairs, facts, annotated):
        names = ", ".join(labels.names[c] for c in np.flatnonzero(fact.present & ~looked))
        if names:
            path = pair.image if isinstance(pair.mask, Mapping) else pair.mask
            text = (
                f"{path} shows {names}, declared unannotated: those pixels count as labelled, the "
                f"rest of the class as unknown. Where it was outlined completely, say so in "
                f"{FILE_NAME}."
            )
            found.append(Problem("contradiction", str(path), text, fatal=False))
    return found

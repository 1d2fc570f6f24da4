"""What ordered classes stand for, and how scores are cut into them: what classes.json says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

import numpy as np

from segkit.contract import is_number

OUTSIDE = ("ignore", "clip")
_KEYS = ("edges", "scale", "no_data", "outside")
_DIGITS = 12  # that count: 0.3 / 0.001 is not 300 to the last one


@dataclass(frozen=True)
class Bins:
    """How masks that hold scores are cut into classes.

    edges: C + 1 of them, ascending. Class c is edges[c] <= score < edges[c + 1]; the last class
        has its upper edge, too.
    scale: score = scale * what the file holds, above 0; 0.001 for metres in a PNG of millimetres.
    no_data: what the file holds where nothing was measured, or None. NaN always is no data.
    outside: what becomes of scores below the first edge or above the last one: "ignore": nobody
        judged them; "clip": they belong to the first or the last class.
    """

    edges: tuple[float, ...]
    scale: float = 1.0
    no_data: float | None = None
    outside: str = "ignore"

    @property
    def values(self) -> tuple[float, ...]:
        """The centres, (C,)."""
        return tuple((low + high) / 2 for low, high in zip(self.edges, self.edges[1:]))

    @property
    def stored(self) -> tuple[float, ...]:
        """The edges in the numbers of the file."""
        return tuple(float(f"{edge / self.scale:.{_DIGITS}g}") for edge in self.edges)

    def names(self, unit: str | None = None) -> list[str]:
        """A name a class: "0 to 2.5 m"."""
        behind = f" {unit}" if unit else ""
        pairs = zip(self.edges, self.edges[1:])
        return [f"{low:.6g} to {high:.6g}{behind}" for low, high in pairs]

    def to_dict(self) -> dict[str, Any]:
        """What `classes.json` holds."""
        return {**vars(self), "edges": list(self.edges)}


def checked_bins(entry: Any) -> Bins | None:
    """Bins from what `classes.json` holds: a list of edges, or a mapping with `edges` in it.

    Raises:
        ValueError: if it is neither, or a number is out of range.
    """
    if entry is None:
        return None
    if isinstance(entry, Bins):
        entry = entry.to_dict()
    if not isinstance(entry, Mapping):
        entry = {"edges": entry}
    odd = [str(key) for key in entry if key not in _KEYS]
    if odd or "edges" not in entry:
        raise ValueError(
            f"bins is a list of edges, or has the keys {', '.join(_KEYS)}, of which edges must be "
            f"there. Received: {', '.join(map(str, entry)) or 'none'}."
        )
    found = Bins(ascending("The edges of bins", entry["edges"], 3), *_options(entry))
    if not is_number(found.scale) or not 0 < found.scale < math.inf:
        raise ValueError(f"The scale of bins is a number above 0. Received: {found.scale!r}.")
    if found.no_data is not None and not _finite(found.no_data):
        raise ValueError(
            f"no_data is the number that a file holds where nothing was measured, or null. "
            f"Received: {found.no_data!r}. NaN need not be named."
        )
    if found.outside not in OUTSIDE:
        raise ValueError(f"outside is {' or '.join(OUTSIDE)}. Received: {found.outside!r}.")
    return found


def checked_values(
    values: Any, cut: Bins | None, count: int, background: int | None, exclusive: bool
) -> tuple[float, ...] | None:
    """What each class stands for, (C,): `values`, or else the centres of the bins; None: neither.

    Raises:
        ValueError: unless there is one number a class, each above the one before and inside its
            bin, the classes exclude each other, and a background is the lowest of them.
    """
    if values is None and cut is None:
        return None
    if not exclusive:
        raise ValueError(
            "Of ordered classes a pixel has one, so they exclude each other. Received: values or "
            "bins with exclusive=False. Leave out the one or the other."
        )
    if cut is not None and len(cut.edges) != count + 1:
        raise ValueError(
            f"{count} classes have {count + 1} edges of bins. Received: {len(cut.edges)}."
        )
    found = cut.values if values is None else ascending("values", values, 2)
    if len(found) != count:
        raise ValueError(
            f"values holds one number a class, {count} here, in the order of the ids. "
            f"Received: {len(found)}. A class without a number is not of the order: let its pixels "
            "be ignored, or be the background with the lowest value."
        )
    if cut is not None:
        for c, value in enumerate(found):
            if not cut.edges[c] <= value <= cut.edges[c + 1]:
                raise ValueError(
                    f"The value of a class lies in its bin. Received: {value:g} for class {c}, "
                    f"whose bin is {cut.edges[c]:g} to {cut.edges[c + 1]:g}."
                )
    if background not in (None, 0):
        raise ValueError(
            "Among ordered classes the background is the lowest one, id 0 (no grade, no height), "
            f"or there is none. Received: background={background}. Write the ids in the order of "
            "the values; pixels that have none take the ignore_index."
        )
    return found


def named_bins(description: Any, origin: str) -> Any:
    """A description of classes, with names made of the bins where it has bins and no names.

    Raises:
        ValueError: naming `origin`, if the bins are none.
    """
    if not isinstance(description, Mapping) or "names" in description or "bins" not in description:
        return description
    try:
        cut = checked_bins(description["bins"])
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error
    return {**description, "names": cut.names(description.get("unit"))} if cut else description


def check_order(
    unit: Any, values: Any, cut: Bins | None, ignore_index: int | None, coarse: Sequence[Any]
) -> None:
    """Raises a ValueError if what goes with values or bins does not fit."""
    if unit is not None and (not isinstance(unit, str) or not unit.strip() or values is None):
        raise ValueError(
            f"unit is what values are in, a text such as mm, and needs values. Received: {unit!r}."
        )
    if cut is not None and cut.no_data is not None and ignore_index is None:
        raise ValueError(
            "Pixels without data take the ignore_index. Received: no_data in bins and "
            'ignore_index=None. Give one, such as "ignore_index": 255.'
        )
    if cut is not None and coarse:
        raise ValueError(
            "Masks of scores hold no ids, so none that stand for several classes. Received: bins "
            "and coarse. Leave out the one or the other."
        )


def _options(entry: Mapping[str, Any]) -> list[Any]:
    defaults = {"scale": 1.0, "no_data": None, "outside": "ignore"}
    return [entry.get(key, default) for key, default in defaults.items()]


def ascending(what: str, given: Any, least: int) -> tuple[float, ...]:
    """Numbers as a tuple.

    Raises:
        ValueError: naming `what`, unless there are `least`, finite, each above the one before.
    """
    found = list(given) if isinstance(given, (list, tuple, np.ndarray)) else [None]
    right = len(found) >= least and all(map(_finite, found))
    if not right or any(low >= high for low, high in zip(found, found[1:])):
        raise ValueError(
            f"{what} must be a list of numbers, each above the one before, at least {least}. "
            f"Received: {given!r}."
        )
    return tuple(map(float, found))


def _finite(value: Any) -> bool:
    return is_number(value) and math.isfinite(value)

"""Ids of masks, and those that stand for several classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

MAX_ID = 65_535  # of a 16-bit PNG


@dataclass(frozen=True)
class CoarseLabel:
    """An id that means "one of these classes, nobody said which": vehicle = car or truck."""

    name: str
    id: int
    members: tuple[str, ...]


def check_id(what: str, value: Any) -> None:
    """Raises a ValueError unless `value` is None or an id that a 16-bit PNG can hold."""
    right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_ID
    if value is not None and not right:
        raise ValueError(
            f"{what} must be a whole number from 0 to {MAX_ID}, or None. Received: {value!r}."
        )


def coarse_label(entry: CoarseLabel | Mapping[str, Any]) -> CoarseLabel:
    """A coarse label from a mapping with its three keys; a ValueError if that does not fit."""
    if isinstance(entry, CoarseLabel):
        return entry
    if set(entry) != {"name", "id", "members"}:
        raise ValueError(
            f"A coarse label has the keys name, id and members. Received: {', '.join(entry)}."
        )
    check_id("The id of a coarse label", entry["id"])
    if not isinstance(entry["members"], (list, tuple)):
        raise ValueError(
            f"members of a coarse label must be a list. Received: {entry['members']!r}."
        )
    return CoarseLabel(entry["name"], entry["id"], tuple(entry["members"]))

"""Keys that are nearly those of classes.json."""

from __future__ import annotations

import difflib
from typing import Any, Mapping, Sequence

_FOR_IGNORE_INDEX = ("ignore", "ignore_id", "ignore_label", "ignore_value", "void")
_LEFT_ALONE = ("name", "ignore_name")


def require_spelling(description: Mapping[str, Any], known: Sequence[str], origin: str) -> None:
    """Refuses keys that are nearly those known; other tools have keys of their own.

    Raises:
        ValueError: naming `origin`, the key, and the one that is meant.
    """
    for key in description.keys() - {*known, *_LEFT_ALONE}:
        near = difflib.get_close_matches(str(key).lower(), known, n=1, cutoff=0.85)
        meant = near or (["ignore_index"] if key in _FOR_IGNORE_INDEX else [])
        if meant and meant[0] not in description:
            raise ValueError(f"{origin}: unknown key {key!r}. Did you mean {meant[0]!r}?")

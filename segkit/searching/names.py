"""Keys, groups and values of the config as overrides of Hydra write them."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any, Mapping

from hydra.core.override_parser.overrides_parser import OverridesParser


def overrides(drawn: Mapping[str, Any]) -> list[str]:
    """Values by key as overrides."""
    return [f"{key}={text(value)}" for key, value in drawn.items()]


def text(value: Any) -> str:
    """A value as it is written in an override, read back as the same."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {text(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(text, value))}]"
    if _is_plain(str(value)):
        return str(value)
    # Backslashes count only before a quote, and at the end.
    escaped = re.sub(r"(\\+)$", r"\1\1", re.sub(r"(\\*)'", r"\1\1\\'", str(value)))
    return f"'{escaped}'"


def key_of(override: str) -> str:
    """The key or group that an override sets.

    Raises:
        HydraException: if it cannot be read.
    """
    return str(OverridesParser.create().parse_override(override).key_or_group)


def is_group(key: str) -> bool:
    """Whether a key names a group of the config tree, which takes the names of its files."""
    return bool(choices(key))


def choices(group: str) -> list[str]:
    """The names of the files of a config group; none if there is no such group."""
    folder = files("segkit.conf").joinpath(group)
    if not group or not folder.is_dir():
        return []
    names = [file.name for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted(name.removesuffix(".yaml") for name in names)


def _is_plain(word: str) -> bool:
    """Whether a string needs no quotes: a name, and no word that means something else."""
    special = ("null", "true", "false", "inf", "nan")
    return word.isascii() and word.isidentifier() and word.lower() not in special

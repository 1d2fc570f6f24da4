"""Errors of the command line in words that say what to type instead."""

from __future__ import annotations

import difflib
import errno
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Mapping

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue


class NotAll(Exception):
    """Some of what was asked for could not be done, and the rest is there; exit code 3."""


def explain(error: BaseException) -> str:
    """The words of an error, and for what was mistyped the keys or choices there are."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value yet. Give it one: {error.full_key}=VALUE."
    if type(error).__name__ == "OverrideParseException":
        return _unread(error.override)
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}. Name another place, or mend this one."
    unnamed = isinstance(error, OSError) and error.errno == errno.ENOSPC and error.strerror
    if unnamed:  # of a full disk, and says not where
        return f"{error.strerror}. Free some space, or name another place."
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        cause = cause.__cause__
    if cause is not None and cause.parent_node is not None:
        return _unknown_key(str(cause.key), str(cause.full_key), cause.parent_node)
    text = str(error).partition("\nConfig search path:")[0].strip()
    choice = re.search(r"Could not find '([^']+)/([^'/]+)'", text)
    return _unknown_choice(*choice.groups()) if choice else text


def _unread(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        meant = f" Did you mean data.root={override}?" if Path(override).exists() else ""
        return f"cannot read {override!r}. What is changed is written KEY=VALUE.{meant}"
    quoted = value.strip("\"'")
    return f"cannot read {override!r}. Quote the value twice: '{key}=\"{quoted}\"'."


def _unknown_key(key: str, full_key: str, parent: Mapping[str, Any]) -> str:
    keys = sorted(map(str, parent.keys()))
    group, dot, _ = full_key.rpartition(".")
    # By its keys: a value that is still missing counts as not there.
    there = [] if dot else [k for k in keys if not OmegaConf.is_missing(parent, k)]
    groups = {k: parent[k] for k in there if isinstance(parent[k], Mapping)}
    inside = [name for name, node in groups.items() if key in list(node.keys())]
    others = [choice for choice in _choices(group) if key in _keys(group, choice)]
    near = difflib.get_close_matches(key, keys, n=1)
    if not dot and _choices(key):
        hint = f" Choose one first: {key}={', '.join(_choices(key))}."
    elif inside:
        hint = f" Did you mean {inside[0]}.{key}?"
    elif others:
        hint = f" It belongs to {' and '.join(f'{group}={choice}' for choice in others[:3])}."
    else:
        hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = f"The keys there: {', '.join(keys)}." if keys else "There are none yet."
    return f"there is no key {full_key!r}.{hint} {listed} A new one takes a plus: +KEY=VALUE."


def _unknown_choice(group: str, choice: str) -> str:
    there = _choices(group)
    near = difflib.get_close_matches(choice, there, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"there is no choice {choice!r} for {group}.{hint} The choices: {', '.join(there)}."


def _choices(group: str) -> list[str]:
    """The names of the files of a config group; none if there is no such group."""
    folder = files("segkit.conf").joinpath(group)
    if not group or not folder.is_dir():
        return []
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def _keys(group: str, choice: str) -> list[str]:
    text = files("segkit.conf").joinpath(group, f"{choice}.yaml").read_text(encoding="utf-8")
    return re.findall(r"^(\w+):", text, re.MULTILINE)

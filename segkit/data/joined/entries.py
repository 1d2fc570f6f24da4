"""What a user says of the data sets that are joined, checked."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from segkit.data import folder
from segkit.data.folder.dataset import POLICIES
from segkit.data.joined.mapping import IGNORE, Ids
from segkit.data.places import place

# Of segkit.data.folder.splits, for all data sets or one of them.
OPTIONS = set(inspect.signature(folder.splits).parameters) - {"root", "annotated"}


class Entry(NamedTuple):
    """One data set of those that are joined, as it was configured."""

    options: dict[str, Any]  # of folder.splits
    ids: Ids
    listed: Sequence[str] | None  # the joint classes that it annotates


def configured(sources: Any, shared: Mapping[str, Any]) -> dict[str, Entry]:
    """The data sets to join, by name.

    Args:
        sources: {name: {root, ids, annotated, options}}, as a user wrote it.
        shared: `annotated` and options for those that have none of their own.

    Raises:
        ValueError: naming the data set and what is wrong with its entry.
    """
    if not isinstance(sources, Mapping) or not sources:
        raise ValueError(
            "sources names the data sets to join, {NAME: {root: FOLDER, ids: {...}}, ...}; on the "
            f"command line, +data.sources.NAME.root=FOLDER for each. Received: {sources!r}."
        )
    entries: dict[str, Entry] = {}
    roots: dict[str, str] = {}
    for name, given in sources.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or "/" in name:
            raise ValueError(
                "The name of a data set stands before those of its images, NAME/case_001: it is "
                f"text, on one line and without a slash. Received: {name!r}."
            )
        entries[name] = _entry(name, given, shared)
        root = str(place(entries[name].options["root"]).resolve())
        if root in roots:
            raise ValueError(
                f"{roots[root]} and {name} have one root, {root}: its images would come twice, "
                "in train and in val, too. Keep one of the two."
            )
        roots[root] = name
    return entries


def _entry(name: str, given: Any, shared: Mapping[str, Any]) -> Entry:
    keys = {"root", "ids", "annotated", *OPTIONS}
    if not isinstance(given, Mapping) or not isinstance(given.get("root"), (str, Path)):
        raise ValueError(f"{name} needs a root, the folder of a data set. Received: {given!r}.")
    if set(given) - keys:
        odd = ", ".join(sorted(map(str, set(given) - keys)))
        raise ValueError(f"{name} may have {', '.join(sorted(keys))}. Received also: {odd}.")
    ids, annotated = given.get("ids"), given.get("annotated", shared["annotated"])
    if not isinstance(ids, (Mapping, type(None))):
        raise ValueError(
            f"{name}: ids maps what its masks hold to joint names, for example "
            f"{{1: liver, cyst: {IGNORE}}}. Received: {ids!r}."
        )
    listed = annotated if isinstance(annotated, (list, tuple)) else None
    if listed is None and annotated not in POLICIES:
        raise ValueError(
            f"{name}: annotated must be one of {', '.join(POLICIES)}, or a list of joint classes. "
            f"Received: {annotated!r}."
        )
    options = {**shared, **{key: value for key, value in given.items() if key != "ids"}}
    if listed is not None:
        options["annotated"] = shared["annotated"]
    if options.get("exclusive") is False:
        raise ValueError(
            f"{name}: only classes that exclude each other can be joined. Received: "
            "labels.exclusive=false. Leave it out, or train on one data set with data=folder."
        )
    return Entry(options, ids or {}, listed)

"""What lies in the folders of a data set: names alone, no file is opened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Collection, Iterable, NamedTuple

from segkit.data.places import Place, composed, is_folder, is_local, named
from segkit.data.problems import Problem

_SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # hidden files (.DS_Store) are left alone anyway
_NEARLY_ALL = 0.8  # of the names


class Entry(NamedTuple):
    """What lies in a folder."""

    name: str
    path: Place
    is_folder: bool
    is_link: bool


def entries(folder: Place) -> list[Entry]:
    """What lies in a folder, without hidden files and those of file managers; by name."""
    found = []
    if is_local(folder):
        with named(folder), os.scandir(folder) as listed:
            found = [Entry(e.name, Path(e.path), e.is_dir(), e.is_symlink()) for e in listed]
    else:  # one request, where asking each entry what it is would be one apiece
        with named(folder):
            listed = folder.fs.ls(folder.path, detail=True, refresh=True)
        for item in listed:
            name = item["name"].rstrip("/").rpartition("/")[2]
            if name and item["name"].rstrip("/") != folder.path.rstrip("/"):
                found.append(Entry(name, folder / name, item["type"] == "directory", False))
    kept = [e for e in found if not e.name.startswith(".") and e.name.lower() not in _SYSTEM_FILES]
    return sorted(kept)


def few(names: Iterable[str], most: int = 5) -> str:
    """The first names in alphabetical order, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def by_stem(folder: Place, suffixes: tuple[str, ...], problems: list[Problem]) -> dict[str, Place]:
    """{stem: file} of a folder that holds nothing else.

    Args:
        folder: where to look.
        suffixes: that the files may have, in lower case.
        problems: receives what is wrong.
    """
    if not is_folder(folder):
        text = (
            f"There is no folder {folder}. A data set keeps images/ and masks/ side by side, with "
            f"equal stems. Received: {content(folder.parent)}."
        )
        problems.append(Problem("no folder", str(folder), text))
        return {}
    found: dict[str, Place] = {}
    others = []
    inside = entries(folder)
    for entry in inside:
        stem, suffix = os.path.splitext(entry.name)
        stem = composed(stem)
        if suffix.lower() not in suffixes or entry.is_folder:
            others.append(entry.name)
        elif stem in found:
            twice = " and ".join(sorted((found[stem].name, entry.name)))
            text = f"{folder} holds the stem {stem!r} twice: {twice}. Remove or rename one of them."
            problems.append(Problem("stem twice", str(entry.path), text))
        else:
            found[stem] = entry.path
    if others:
        text = (
            f"{folder} may hold only {', '.join(suffixes)} files. Received: {few(others)}. "
            "Convert them, or move them elsewhere."
        )
        problems.append(Problem("other files", str(folder), text))
    if not inside:
        text = f"{folder} is empty: expected {', '.join(suffixes)} files."
        problems.append(Problem("empty folder", str(folder), text))
    return found


def content(folder: Place) -> str:
    """What lies in a folder, for errors."""
    names = [entry.name for entry in entries(folder)] if is_folder(folder) else []
    return few(names) if names else "nothing"


def common_ending(names: Collection[str], stems: Collection[str]) -> str:
    """What stands behind the stems in nearly all names ("_mask" in a_mask, b_mask), or "".

    Args:
        names: of one folder.
        stems: of the other folder, all of them.
    """
    if not names or not stems:
        return ""
    known = set(stems)
    longest = os.path.commonprefix([name[::-1] for name in names])[::-1]
    for start in range(len(longest)):
        ending = longest[start:]
        fitting = sum(name[: -len(ending)] in known for name in names)
        if fitting >= _NEARLY_ALL * len(names):
            return ending
    return ""

"""Symbolic links that lead out of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Mapping

from segkit.data.layout import Pair
from segkit.data.places import Place, is_local
from segkit.data.problems import Problem


def links_outside(root: Place, files: Iterable[Place]) -> list[Problem]:
    """Names the symbolic links among files, and the folders they are in, that lead out of root."""
    if not is_local(root):
        return []
    inside, found = root.resolve(), {}
    folders: dict[Path, bool] = {}
    for path in files:
        folder = path.parent
        if folder not in folders:
            folders[folder] = folder.resolve().is_relative_to(inside)
        link = path if folders[folder] else folder
        if link in found or (link == path and not path.is_symlink()):
            continue
        target = link.resolve()
        if not target.is_relative_to(inside):
            text = (
                f"{link} leads out of the data set, to {target}. Put the files there themselves, "
                "or allow such links with data.follow_links=true."
            )
            found[link] = Problem("link out of the data set", str(link), text)
    return list(found.values())


def files_of(pairs: Iterable[Pair]) -> Iterable[Place]:
    """Every file of the pairs."""
    for pair in pairs:
        yield pair.image
        yield from pair.mask.values() if isinstance(pair.mask, Mapping) else [pair.mask]
        if pair.truth is not None:
            yield pair.truth

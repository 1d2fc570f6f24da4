"""Symbolic links that lead out of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Mapping

from segkit.data.layout import Pair
from segkit.data.places import Place, is_local
from segkit.data.problems import Problem


def links_outside(root: Place, pairs: Iterable[Pair]) -> list[Problem]:
    """Names the symbolic links among the files and folders that lead out of the data set."""
    if not is_local(root):
        return []
    inside, found = root.resolve(), {}
    folders: dict[Path, bool] = {}
    for pair in pairs:
        masks = pair.mask.values() if isinstance(pair.mask, Mapping) else [pair.mask]
        for path in (pair.image, *masks, *([pair.truth] if pair.truth else [])):
            folder = path.parent
            if folder not in folders:
                folders[folder] = folder.resolve().is_relative_to(inside)
            link = path if folders[folder] else folder
            if link in found or (link == path and not path.is_symlink()):
                continue
            target = link.resolve()
            if not target.is_relative_to(inside):
                text = (
                    f"{link} leads out of the data set, to {target}. Put the files there "
                    "themselves, or allow such links with data.follow_links=true."
                )
                found[link] = Problem("link out of the data set", str(link), text)
    return list(found.values())

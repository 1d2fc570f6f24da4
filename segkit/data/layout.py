"""Where a folder data set keeps its files: split folders, and pairs of an image and its mask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, NamedTuple

from segkit.data.readers import IMAGE_SUFFIXES, MASK_SUFFIXES

SPLITS = ("train", "val", "test")
_LOOK_LIKE_SPLITS = (*SPLITS, "dev", "eval")  # valid/, Train/, testing/: not to be passed over
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # hidden files (.DS_Store) are left alone anyway


class Pair(NamedTuple):
    """One image of a folder data set: its stem, and where its files are."""

    name: str
    image: Path
    mask: Path
    truth: Path | None = None


def find_splits(root: Path) -> dict[str, Path]:
    """The folders that hold `images/`: {"train": ..., ...}, or {"": root} if root itself does.

    Raises:
        FileNotFoundError: if there is no root, or nothing of the kind in it.
        ValueError: if root is both a split and a parent of splits, or a split has another name.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. It should hold a data set.")
    parents = {entry.name for entry in _visible(root) if (Path(entry) / "images").is_dir()}
    splits = {name: root / name for name in SPLITS if (root / name).is_dir()}
    strange = [n for n in parents - set(SPLITS) if n.lower().startswith(_LOOK_LIKE_SPLITS)]
    if strange:
        raise ValueError(
            f"{root} holds folders with images that would be passed over: {_few(strange)}. "
            f"Name them {', '.join(SPLITS)}, or move them elsewhere."
        )
    if splits and (root / "images").is_dir():
        raise ValueError(
            f"{root} holds images/ and the splits {', '.join(splits)}: which of them is meant? "
            "Keep one of the two."
        )
    if not splits and not (root / "images").is_dir():
        raise FileNotFoundError(
            f"{root} holds no data set: expected train/ (val/, test/) with images/ and masks/ "
            f"inside, or images/ and masks/ themselves. Received: {_content(root)}."
        )
    return splits or {"": root}


def find_pairs(directory: Path) -> list[Pair]:
    """The images of one split with their masks (and truths), in the order of their stems.

    Only names are looked at; no file is opened.

    Raises:
        FileNotFoundError: if `images/` or `masks/` is missing.
        ValueError: if a folder is empty or holds other files, a stem stands twice, or an image
            or a mask has no partner.
    """
    images = _by_stem(directory / "images", IMAGE_SUFFIXES)
    masks = _by_stem(directory / "masks", MASK_SUFFIXES)
    truths = {}
    if (directory / "truth").is_dir():
        truths = _by_stem(directory / "truth", MASK_SUFFIXES)
    _require_partners(images, masks, "image", "a mask of the same stem", directory / "masks")
    _require_partners(masks, images, "mask", "an image of the same stem", directory / "images")
    _require_partners(truths, images, "truth", "an image of the same stem", directory / "images")
    return [Pair(s, images[s], masks[s], truths.get(s)) for s in sorted(images)]


def _by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no folder {folder}. A data set keeps images/ and masks/ side by side, "
            f"with equal stems. Received: {_content(folder.parent)}."
        )
    found: dict[str, Path] = {}
    others = []
    for entry in _visible(folder):
        path = folder / entry.name
        if path.suffix.lower() not in suffixes or entry.is_dir():
            others.append(entry.name)
        elif path.stem in found:
            twice = sorted((found[path.stem].name, path.name))
            raise ValueError(
                f"{folder} holds the stem {path.stem!r} twice: {' and '.join(twice)}. "
                "Remove or rename one of them."
            )
        else:
            found[path.stem] = path
    if others:
        raise ValueError(
            f"{folder} may hold only {', '.join(suffixes)} files. Received: {_few(others)}. "
            "Convert them, or move them elsewhere."
        )
    if not found:
        raise ValueError(f"{folder} is empty: expected {', '.join(suffixes)} files.")
    return found


def _require_partners(
    these: dict[str, Path], those: dict[str, Path], what: str, partner: str, place: Path
) -> None:
    alone = [these[stem].name for stem in these.keys() - those.keys()]
    if alone:
        raise ValueError(
            f"Every {what} needs {partner} in {place}. Without one: {_few(alone)}. "
            "Add the missing files, or remove these."
        )


def _visible(folder: Path) -> Iterable[os.DirEntry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name.lower() not in _SYSTEM_FILES:
                yield entry


def _content(folder: Path) -> str:
    names = [entry.name for entry in _visible(folder)] if folder.is_dir() else []
    return _few(names) if names else "nothing"


def _few(names: Iterable[str], most: int = 5) -> str:
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

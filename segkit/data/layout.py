"""Where a folder data set keeps its files: split folders, and pairs of an image and its mask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterable, Mapping, NamedTuple

from segkit.data.places import Place, composed, is_local, named
from segkit.data.problems import Problem
from segkit.data.readers import IMAGE_SUFFIXES, MASK_SUFFIXES
from segkit.labels import LabelSpace

SPLITS = ("train", "val", "test")
_LOOK_LIKE_SPLITS = (*SPLITS, "dev", "eval")  # valid/, Train/, testing/: not to be passed over
_SYSTEM_FILES = ("thumbs.db", "desktop.ini")  # hidden files (.DS_Store) are left alone anyway


class Pair(NamedTuple):
    """One image of a folder data set.

    name: its stem, in Unicode's composed form.
    image: the file.
    mask: the file, or {class name: file} where each class has one of its own.
    truth: the file of the full mask, if there is one.
    split: the folder train, val or test it lies in; "" where there are none.
    """

    name: str
    image: Place
    mask: Place | Mapping[str, Place]
    truth: Place | None = None
    split: str = ""


class Entry(NamedTuple):
    """What lies in a folder."""

    name: str
    path: Place
    is_folder: bool
    is_link: bool


def find_splits(root: Place) -> dict[str, Place]:
    """The folders that hold `images/`: {"train": ..., ...}, or {"": root} if root itself does.

    Raises:
        FileNotFoundError: if there is no root, or nothing of the kind in it.
        ValueError: if root is both a split and a parent of splits, or a split has another name.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. It should hold a data set.")
    folders = {entry.name: entry.path for entry in entries(root) if entry.is_folder}
    parents = {name for name, path in folders.items() if (path / "images").is_dir()}
    splits = {name: folders[name] for name in SPLITS if name in folders}
    strange = [n for n in parents - set(SPLITS) if n.lower().startswith(_LOOK_LIKE_SPLITS)]
    if strange:
        raise ValueError(
            f"{root} holds folders with images that would be passed over: {few(strange)}. "
            f"Name them {', '.join(SPLITS)}, or move them elsewhere."
        )
    if splits and "images" in folders:
        raise ValueError(
            f"{root} holds images/ and the splits {', '.join(splits)}: which of them is meant? "
            "Keep one of the two."
        )
    if not splits and "images" not in folders:
        raise FileNotFoundError(
            f"{root} holds no data set: expected train/ (val/, test/) with images/ and masks/ "
            f"inside, or images/ and masks/ themselves. Received: {_content(root)}."
        )
    return splits or {"": root}


def find_pairs(
    directory: Place, split: str, labels: LabelSpace, problems: list[Problem]
) -> list[Pair]:
    """The images of one split that have a mask, in the order of their stems.

    Only names are looked at; no file is opened. Masks are `masks/STEM.*`, or one binary file a
    class: `masks/CLASS/STEM.*` or `masks/STEM/CLASS.*`. An image with no file of its own in there
    is then one in which nobody looked for anything.

    Args:
        directory: holds `images/`, `masks/` and perhaps `truth/`.
        split: what to call it in the pairs.
        labels: the classes that folders or files may be named after.
        problems: receives what is wrong.
    """
    images = _by_stem(directory / "images", IMAGE_SUFFIXES, problems)
    folder = directory / "masks"
    inside = entries(folder) if folder.is_dir() else []
    if any(entry.is_folder for entry in inside):
        masks = _class_files(folder, inside, images, labels, problems)
        _name_lonely(masks, images, "mask", "image", directory, problems)
        for stem in images.keys() - masks.keys():
            text = f"{images[stem]} has no file in {folder}: nothing counts as annotated in it."
            problems.append(Problem("image without mask", str(images[stem]), text, fatal=False))
            masks[stem] = {}
    else:
        masks = _by_stem(folder, MASK_SUFFIXES, problems)
        _name_lonely(masks, images, "mask", "image", directory, problems)
        _name_lonely(images, masks, "image", "mask", directory, problems)
    truths: Mapping[str, Place] = {}
    if (directory / "truth").is_dir():
        truths = _by_stem(directory / "truth", MASK_SUFFIXES, problems)
        _name_lonely(truths, images, "truth", "image", directory, problems)
    both = sorted(images.keys() & masks.keys())
    return [Pair(s, images[s], masks[s], truths.get(s), split) for s in both]


def entries(folder: Place) -> list[Entry]:
    """What lies in a folder, without hidden files and those of file managers; by name."""
    found = []
    if is_local(folder):
        with named(folder), os.scandir(folder) as listed:
            found = [Entry(e.name, Path(e.path), e.is_dir(), e.is_symlink()) for e in listed]
    else:  # one request, where asking each entry what it is would be one apiece
        for item in folder.fs.ls(folder.path, detail=True, refresh=True):
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


def _by_stem(folder: Place, suffixes: tuple[str, ...], problems: list[Problem]) -> dict[str, Place]:
    """{stem: file} of a folder that holds nothing else."""
    if not folder.is_dir():
        text = (
            f"There is no folder {folder}. A data set keeps images/ and masks/ side by side, with "
            f"equal stems. Received: {_content(folder.parent)}."
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


def _class_files(
    folder: Place,
    inside: list[Entry],
    images: Mapping[str, Place],
    labels: LabelSpace,
    problems: list[Problem],
) -> dict[str, dict[str, Place]]:
    """{stem: {class name: file}} of a folder `masks/` with folders inside."""
    names = [composed(entry.name) for entry in inside if entry.is_folder]
    classes = {composed(labels.names[c]): labels.names[c] for c in labels.foreground}
    by_class = set(names) <= set(classes)
    stray = [] if by_class else [name for name in names if name not in images]
    stray += [entry.name for entry in inside if not entry.is_folder]
    if stray:
        text = (
            f"{folder} holds one folder a class ({', '.join(classes)}), or one an image, and "
            f"nothing else. Received also: {few(stray)}. Rename them, or move them elsewhere."
        )
        problems.append(Problem("other files", str(folder), text))
    found: dict[str, dict[str, Place]] = {}
    for entry in inside:
        if composed(entry.name) in stray:
            continue
        for stem, path in _by_stem(entry.path, MASK_SUFFIXES, problems).items():
            outer = composed(entry.name)
            image, name = (stem, outer) if by_class else (outer, stem)
            if name in classes:
                found.setdefault(image, {})[classes[name]] = path
                continue
            text = f"{path} must be named after a class: {', '.join(classes)}. Rename or remove it."
            problems.append(Problem("unknown class", str(path), text))
    return found


def _name_lonely(
    these: Mapping[str, Place | Mapping],
    those: Mapping[str, Place | Mapping],
    what: str,
    partner: str,
    directory: Place,
    problems: list[Problem],
) -> None:
    if not those:  # their folder is missing or empty, which was said
        return
    for stem in sorted(these.keys() - those.keys()):
        file = these[stem]
        path = next(iter(file.values())) if isinstance(file, Mapping) else file
        text = (
            f"{path} needs an {partner} of the same stem in {directory / (partner + 's')}. "
            f"Add it, or remove the {what}."
        ).replace("an mask", "a mask")
        problems.append(Problem(f"{what} without {partner}", str(path), text))


def _content(folder: Place) -> str:
    names = [entry.name for entry in entries(folder)] if folder.is_dir() else []
    return few(names) if names else "nothing"

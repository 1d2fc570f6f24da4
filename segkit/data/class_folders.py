"""Masks as one binary file a class: masks/CLASS/STEM.* or masks/STEM/CLASS.*."""

from __future__ import annotations

import difflib
from typing import Collection, Sequence

from segkit.data.listing import Entry, by_stem, few
from segkit.data.places import Place, composed
from segkit.data.problems import Problem
from segkit.data.readers import MASK_SUFFIXES
from segkit.labels import LabelSpace

_FORBIDDEN = '/\\:*?"<>|%'
_LONGEST = 240  # bytes, of 255 with an ending
_ALIKE = 0.7  # "vocal_cords" and "vocal_folds" are not


def class_files(
    folder: Place,
    inside: Sequence[Entry],
    images: Collection[str],
    labels: LabelSpace,
    problems: list[Problem],
) -> dict[str, dict[str, Place]]:
    """The masks in a folder with folders inside: {stem: {class name: file}}.

    Args:
        folder: `masks/`.
        inside: what lies in it.
        images: the stems of the images.
        labels: the classes; the background needs no file.
        problems: receives what is wrong; the rest is read.
    """
    names = [labels.names[c] for c in labels.foreground]
    written = {composed(_stem(name)): name for name in names}
    classes = written | {composed(name): name for name in names}
    folders = [(composed(entry.name), entry.path) for entry in inside if entry.is_folder]
    by_class = _by_class([name for name, _ in folders], classes, images)
    files = [entry.name for entry in inside if not entry.is_folder]
    if files:
        text = (
            f"{folder} holds one folder a class ({', '.join(classes)}), or one an image, and "
            f"nothing else. Received also: {few(files)}. Move them elsewhere."
        )
        problems.append(Problem("other files", str(folder), text))
    found: dict[str, dict[str, Place]] = {}
    for outer, path in folders:
        if outer not in (classes if by_class else images):
            problems.append(_stray(path, outer, classes, by_class))
            continue
        for inner, file in by_stem(path, MASK_SUFFIXES, problems).items():
            stem, name = (inner, outer) if by_class else (outer, inner)
            if name in classes:
                found.setdefault(stem, {})[classes[name]] = file
                continue
            text = (
                f"{file} must be named after a class: {', '.join(classes)}."
                f"{_meant(name, classes)} Rename or remove it."
            )
            problems.append(Problem("unknown class", str(file), text))
    return found


def file_stems(labels: LabelSpace) -> list[str]:
    """What the file of each class is called, without its ending: its name, as far as files may.

    What some system forbids in names of files, a dot in front, and % itself become %XX.

    Raises:
        ValueError: naming classes whose names are too long, or would be those of one file.
    """
    stems = [_stem(name) for name in labels.names]
    seen: dict[str, str] = {}
    for name, stem in zip(labels.names, stems):
        one = stem if stem != name and stem in labels.names else seen.get(composed(stem).lower())
        if one is not None or len(stem.encode()) > _LONGEST:
            why = "is too long for" if one is None else f"and {one!r} would share"
            raise ValueError(
                f"The class {name!r} {why} the name of a file. Write all classes to one file an "
                "image with masks=tif, or rename the class."
            )
        seen[composed(stem).lower()] = name
    return stems


def _stem(name: str) -> str:
    quoted = "".join(f"%{ord(letter):02X}" if letter in _FORBIDDEN else letter for letter in name)
    if quoted[0] == ".":
        quoted = "%2E" + quoted[1:]
    return quoted[:-1] + "%2E" if quoted[-1] == "." else quoted


def _by_class(folders: Collection[str], classes: Collection[str], images: Collection[str]) -> bool:
    of_classes = sum(name in classes for name in folders)
    of_images = sum(name in images for name in folders)
    if of_classes == len(folders) or of_classes > of_images:
        return True
    # Where nothing fits, names that are nearly those of classes say what is meant.
    return not of_images and any(_meant(name, classes) for name in folders)


def _stray(path: Place, name: str, classes: Collection[str], by_class: bool) -> Problem:
    if by_class:
        text = (
            f"{path} must be named after a class: {', '.join(classes)}.{_meant(name, classes)} "
            "Rename it, or move it elsewhere."
        )
        return Problem("unknown class", str(path), text)
    text = (
        f"{path} must be named after an image, or after a class ({', '.join(classes)}) as all "
        "folders beside it then are. Rename it, or move it elsewhere."
    )
    return Problem("other folders", str(path), text)


def _meant(name: str, classes: Collection[str]) -> str:
    lower = {known.lower(): known for known in classes}
    close = difflib.get_close_matches(name.lower(), lower, 1, _ALIKE)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""

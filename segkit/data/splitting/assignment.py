"""Which images are in which split: groups, shares, draws. Only names and tables are looked at."""

from __future__ import annotations

import itertools
import re
from typing import Iterator, Mapping, Sequence

import numpy as np

from segkit.data.layout import SPLITS, few
from segkit.data.manifest.table import Report
from segkit.data.places import composed
from segkit.data.problems import Problem
from segkit.data.splitting.draws import by_hash, digest, stratified, units_of

WAYS = ("auto", "folders", "manifest", "drawn")


def groups_of(names: Sequence[str], pattern: str | None, given: Sequence[str | None]) -> list[str]:
    """What each image belongs to: a patient, a video, or itself alone.

    Args:
        names: the stems.
        pattern: regular expression that is searched in the stem; its first group is the image's
            group, or all that it matches if it has none. None: each image is a group of its own.
        given: the groups that annotations.csv declares; they go before the pattern.

    Raises:
        ValueError: if the pattern is none, or does not match the stem of an image for which no
            group is declared.
    """
    taken = {group for group in given if group}
    if pattern is None:
        groups = []
        for name, group in zip(names, given):
            while not group:  # the stem, unless it is taken: train/a.png and val/a.png
                group = name if name not in taken else None
                name += "'"
            taken.add(group)
            groups.append(group)
        return groups
    try:
        searched = re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(
            f"data.split.group must be a regular expression, such as '^(seq\\d+)_'. "
            f"Received: {pattern!r} ({error})."
        ) from None
    matches = [searched.search(composed(name)) for name in names]
    index = min(searched.groups, 1)
    groups = [group or (match and match[index]) for match, group in zip(matches, given)]
    unmatched = [name for name, group in zip(names, groups) if not group]
    if unmatched:
        raise ValueError(
            f"data.split.group={pattern!r} must find the group of every image in its stem. It "
            f"finds none in {few(unmatched)}. Change the pattern, or declare groups in the "
            "column group of annotations.csv."
        )
    return groups


def assign(
    names: Sequence[str],
    groups: Sequence[str],
    folders: Sequence[str],
    declared: Sequence[str | None],
    present: np.ndarray,
    annotated: np.ndarray,
    keys: Sequence[str],
    *,
    by: str = "auto",
    val: float = 0.2,
    test: float = 0.0,
    stratify: bool = True,
    seed: int = 0,
) -> dict[str, list[int]]:
    """Assigns N images to splits.

    Where a val (or test) with a share above 0 is neither a folder nor declared, it is drawn from
    train. A draw hangs on the seed, the groups' names and the tables, not on the order of the
    images. It never divides a group, nor files of the same content, and every split gets at least
    one group; shares are of images and met as nearly as that allows.

    Args:
        names: the stems, for errors.
        groups: see `groups_of`.
        folders: the folder train, val or test that each image lies in; "" for none.
        declared: the split that annotations.csv declares, or None.
        present: bool (N, C), the classes that each mask shows.
        annotated: bool (N, C), the classes that somebody looked for.
        keys: hash of the content of each image file; "" if unknown.
        by: "folders"; "manifest": as declared; "drawn": from all images, whatever their folders;
            "auto": "manifest" if a split is declared, else "folders" if there are any, else
            "drawn".
        val, test: shares of the images, 0 <= share, val + test < 1.
        stratify: True shares out each class evenly, rare ones first (`stratified`); False leaves
            all to chance, so that whether a group is drawn hangs on its name and the seed.
        seed: of the draw.

    Returns:
        Indices of the images, in order, of each split that has some.

    Raises:
        ValueError: on shares out of range, images without a split, splits that contradict the
            folders, and fewer groups than splits.
    """
    _require_options(by, val, test)
    homes = _fixed(names, folders, declared, by)
    shares = {"val": val, "test": test}
    drawn = {s: share for s, share in shares.items() if share > 0 and s not in homes}
    pool = [i for i, home in enumerate(homes) if home in ("", "train")]
    if pool and drawn:
        units = units_of(pool, groups, keys)
        if len(units) <= len(drawn):
            raise ValueError(_toofew(units, pool, names, drawn))
        if stratify:
            found = stratified(units, present & annotated, annotated, drawn, seed)
        else:
            found = by_hash(units, drawn, seed)
        for split, indices in found.items():
            for index in indices:
                homes[index] = split
    homes = [home or "train" for home in homes]
    found = {split: [i for i, home in enumerate(homes) if home == split] for split in SPLITS}
    return {split: indices for split, indices in found.items() if indices}


def leaks(
    splits: Mapping[str, Sequence[int]],
    names: Sequence[str],
    groups: Sequence[str],
    keys: Sequence[str],
    paths: Sequence[str],
    remedy: str = "draw the splits anew with data.split.by=drawn, which keeps copies together",
) -> list[Problem]:
    """Names the files and groups that are in two splits.

    Args:
        splits: indices of the images of each split.
        names: the stems.
        groups: see `groups_of`.
        keys: hash of the content of each image file; "" if unknown.
        paths: the image files.
        remedy: what helps against copies, but to remove one.
    """
    report = Report("leak between splits")
    for one, other in itertools.combinations(splits, 2):
        for label, here, there in _shared(splits[one], splits[other], groups):
            report.add(
                paths[there[0]],
                f"The group {label!r} is in {one} ({len(here)} images, {names[here[0]]}) and in "
                f"{other} ({len(there)}, {names[there[0]]}), so {other} would not measure what "
                "the model makes of new ones. Draw the splits anew with data.split.by=drawn, which "
                "keeps groups together; or move the images.",
            )
        for _, here, there in _shared(splits[one], splits[other], keys):
            count = len(here) + len(there)
            copies = f", with {count} copies" if count > 2 else ""
            report.add(
                paths[there[0]],
                f"{paths[here[0]]} ({one}) and {paths[there[0]]} ({other}) are the same file"
                f"{copies}. Remove one of them, or {remedy}.",
            )
    return report.problems()


def limited(
    indices: Sequence[int], names: Sequence[str], limit: int | None, seed: int
) -> list[int]:
    """At most `limit` of the indices, in their order; a larger limit keeps these and adds to them.

    Args:
        indices: of one split.
        names: the stems of all images; which ones are kept hangs on their stems and `seed`.
        limit: None keeps all.
        seed: of the draw.
    """
    return sorted(sorted(indices, key=lambda i: digest(f"limit:{seed}", names[i]))[:limit])


def _fixed(
    names: Sequence[str], folders: Sequence[str], declared: Sequence[str | None], by: str
) -> list[str]:
    """The split of each image before anything is drawn; "" where it is to be drawn."""
    way = by
    if by == "auto":
        way = "manifest" if any(declared) else "folders" if any(folders) else "drawn"
    if way == "drawn":
        return [""] * len(names)
    pairs = list(zip(names, folders, declared))
    odd = [f"{n} ({f}, declared {d})" for n, f, d in pairs if d and f and d != f]
    if odd and by != "manifest":
        raise ValueError(
            "The column split of annotations.csv contradicts the folders in which these images "
            f"lie: {few(odd)}. Correct it or move them; data.split.by=manifest follows the column."
        )
    taken = declared if way == "manifest" else folders
    without = few([name for name, split in zip(names, taken) if not split])
    if without and way == "manifest":
        raise ValueError(
            "The splits are those of the column split of annotations.csv, so each image needs "
            f"one. Without: {without}. Add them, or take data.split.by=folders or drawn."
        )
    if without:
        raise ValueError(
            f"data.split.by=folders needs images in {', '.join(f'{s}/' for s in SPLITS)}. In none "
            f"of them: {without}. Move them, or take data.split.by=drawn."
        )
    return list(taken)


def _shared(
    one: Sequence[int], other: Sequence[int], labels: Sequence[str]
) -> Iterator[tuple[str, list[int], list[int]]]:
    """What is on both sides: a label, and its images on each."""
    sides: tuple[dict[str, list[int]], ...] = ({}, {})
    for side, indices in zip(sides, (one, other)):
        for i in indices:
            side.setdefault(labels[i], []).append(i)
    here, there = sides
    return ((label, here[label], there[label]) for label in here if label and label in there)


def _require_options(by: str, val: float, test: float) -> None:
    if by not in WAYS:
        raise ValueError(f"data.split.by must be one of {', '.join(WAYS)}. Received: {by!r}.")
    right = [isinstance(s, (int, float)) and not isinstance(s, bool) for s in (val, test)]
    if not all(right) or not (val >= 0 and test >= 0 and val + test < 1):
        raise ValueError(
            "data.split.val and data.split.test must be shares of the images from 0 on, together "
            f"less than 1. Received: {val!r} and {test!r}."
        )


def _toofew(
    units: dict[str, list[int]],
    pool: Sequence[int],
    names: Sequence[str],
    drawn: dict[str, float],
) -> str:
    splits = " and ".join(["train", *drawn])
    what = "images" if len(units) == len(pool) else "groups of images"
    listed = [names[i] for i in pool] if what == "images" else list(units)
    off = " and ".join(f"data.split.{split}=0" for split in drawn)
    return (
        f"Drawing {splits} needs at least {len(drawn) + 1} {what}, as none is divided. "
        f"Received: {len(units)} ({few(listed)}). Add images, bring folders for the splits, or "
        f"set {off}."
    )

"""A folder data set as it lies there: its files, splits and declarations, and what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from segkit.contract import whole_number
from segkit.data import splitting
from segkit.data.cache import open_cache
from segkit.data.exclusive import require_flag, with_exclusive
from segkit.data.folder.declarations import annotated_table, contradictions, trust
from segkit.data.folder.inspection import Facts, inspect
from segkit.data.folder.reading import Reader
from segkit.data.layout import Pair, find_pairs, find_splits
from segkit.data.links import files_of, links_outside
from segkit.data.manifest import FILE_NAME, Manifest, read_manifest
from segkit.data.places import Place, place
from segkit.data.problems import Problem
from segkit.labels import LabelSpace

POLICIES = ("all", "manifest", "present")
SPLIT_OPTIONS = {"by": "auto", "val": 0.2, "test": 0.0, "group": None, "stratify": True}


class DataSet(NamedTuple):
    """Everything that is known about a folder data set before it is used.

    root: the folder.
    labels: the label space; None if classes.json cannot be used, and then the rest is empty.
    reader: makes arrays of the files.
    pairs: the N images whose files can be used.
    splits: {"train": indices into pairs, ...}.
    annotated: bool (N, C), the classes that somebody looked for.
    weights: float64 (N,), how far each annotation is trusted.
    groups: what each image belongs to and is not parted from.
    facts: what the files hold, of each pair.
    problems: what is wrong; with a fatal one, the rest is what is left without it.
    """

    root: Place
    labels: LabelSpace | None
    reader: Reader | None
    pairs: list[Pair]
    splits: dict[str, list[int]]
    annotated: np.ndarray
    weights: np.ndarray
    groups: list[str]
    facts: list[Facts]
    problems: list[Problem]


def examine(
    root: str | Path,
    annotated: str = "all",
    size: int | Sequence[int] | None = 128,
    fit: str = "resize",
    channels: int = 3,
    value_range: Sequence | None = None,
    split: Mapping[str, Any] | None = None,
    seed: int = 0,
    limit: int | None = None,
    follow_links: bool = False,
    cache: str = "none",
    cache_folder: str | None = None,
    exclusive: bool | None = None,
    *,
    deep: bool = False,
) -> DataSet:
    """Finds and looks at every file of a folder data set, and names all that is wrong at once.

    Reads every mask, and the header and the end of each image. The arguments are those of
    `segkit.data.folder.splits`.

    Args:
        deep: True decodes every image as well.

    Raises:
        ValueError: on arguments that are out of range. What is wrong with the data does not raise.
    """
    options = _options(annotated, split, limit, seed, follow_links)
    require_flag(exclusive)
    root = place(root)
    problems: list[Problem] = []
    empty = DataSet(root, None, None, [], {}, *(np.zeros(0),) * 2, [], [], problems)
    kept = open_cache(cache, cache_folder)
    folders, labels = _described(root, follow_links, exclusive, problems)
    if labels is None:
        return empty
    reader = Reader(labels, size, fit, channels, value_range, kept)
    try:
        by_folder = {n: find_pairs(path, n, labels, problems) for n, path in folders.items()}
    except OSError as error:
        problems.append(Problem("no data set", str(root), str(error)))
        return empty
    pairs = [pair for found in by_folder.values() for pair in found]
    outside = [] if follow_links else links_outside(root, files_of(pairs))
    problems.extend(outside)
    if outside or not pairs:
        return empty._replace(labels=reader.labels, reader=reader)
    manifest = read_manifest(root, by_folder, labels)
    problems.extend(_missing(root, annotated, manifest))
    problems.extend(manifest.problems if manifest else [])
    facts, damaged = inspect(pairs, reader, deep)
    problems.extend(damaged)
    pairs = [pair for pair, found in zip(pairs, facts) if found is not None]
    facts = [found for found in facts if found is not None]
    table = annotated_table(pairs, facts, manifest, annotated, labels)
    problems.extend(contradictions(pairs, facts, table, labels))
    found = DataSet(
        root, reader.labels, reader, pairs, {}, table, trust(pairs, manifest), [], facts, problems
    )
    return _in_splits(found, manifest, options, seed, limit)


def _in_splits(
    found: DataSet, manifest: Manifest | None, options: dict[str, Any], seed: int, limit: int | None
) -> DataSet:
    """`found` with its splits; a problem more if they cannot be made, or hold the same images."""
    rows = [manifest.rows.get(pair.image) if manifest else None for pair in found.pairs]
    names, keys = [p.name for p in found.pairs], [facts.image_key for facts in found.facts]
    if not names:
        return found
    present = np.array([facts.present for facts in found.facts])
    pattern = options.pop("group")
    try:
        given = [row.group if row else None for row in rows]
        groups = splitting.groups_of(names, pattern, given)
        declared = [row.split if row else None for row in rows]
        folders = [pair.split for pair in found.pairs]
        splits = splitting.assign(
            names, groups, folders, declared, present, found.annotated, keys, seed=seed, **options
        )
    except ValueError as error:
        found.problems.append(Problem("splits", str(found.root), str(error)))
        return found
    if splits.get("train") and not found.weights[splits["train"]].any():
        text = (
            f"{found.root}: every image of train has the weight 0, so nothing could be learnt. "
            f"Correct the column weight of {FILE_NAME}."
        )
        found.problems.append(Problem("weights", str(found.root), text))
    paths = [str(pair.image) for pair in found.pairs]
    found.problems.extend(splitting.leaks(splits, names, groups, keys, paths))
    if limit is not None:
        splits = {s: splitting.limited(i, names, limit, seed) for s, i in splits.items()}
    return found._replace(splits=splits, groups=groups)


def _options(
    annotated: str,
    split: Mapping[str, Any] | None,
    limit: int | None,
    seed: int,
    follow_links: bool,
) -> dict[str, Any]:
    if annotated not in POLICIES:
        raise ValueError(
            f"annotated must be one of {', '.join(POLICIES)}. Received: {annotated!r}."
        )
    whole_number("data.seed", seed)
    if limit is not None:
        whole_number("data.limit", limit, 1)
    odd = [str(key) for key in split or {} if key not in SPLIT_OPTIONS]
    if odd or not isinstance(split, (Mapping, type(None))):
        raise ValueError(
            f"split may have the keys {', '.join(SPLIT_OPTIONS)}. Received: {split!r}."
        )
    options = SPLIT_OPTIONS | dict(split or {})
    flags = {"data.follow_links": follow_links, "data.split.stratify": options["stratify"]}
    for name, value in flags.items():
        if not isinstance(value, bool):  # YAML's no and off would count as true
            raise ValueError(f"{name} must be true or false. Received: {value!r}.")
    return options


def _described(
    root: Place, follow_links: bool, exclusive: bool | None, problems: list[Problem]
) -> tuple[dict[str, Place], LabelSpace | None]:
    """The split folders and classes.json; no labels where one of them cannot be used."""
    try:
        folders = find_splits(root)
        named = [root / "classes.json", *(p / FILE_NAME for p in (root, *folders.values()))]
        outside = [] if follow_links else links_outside(root, named)
        problems.extend(outside)
        if outside:  # nothing is read from out there
            return folders, None
        labels = LabelSpace.from_json(named[0])
        return folders, with_exclusive(labels, exclusive, str(named[0]))
    except (OSError, ValueError) as error:
        problems.append(Problem("no data set", str(root), str(error)))
        return {}, None


def _missing(root: Place, annotated: str, manifest: Manifest | None) -> list[Problem]:
    said = manifest is not None and (manifest.problems or "annotated" in manifest.columns)
    if annotated != "manifest" or said:
        return []
    text = (
        f"annotated='manifest' needs {root / FILE_NAME}, with the columns image and annotated. "
        "Write it, or choose 'all' or 'present'."
    )
    return [Problem("no annotations.csv", str(root / FILE_NAME), text)]

"""Data sets with different classes, joined into one."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from segkit.contract import Sample
from segkit.data import folder
from segkit.data.folder import POLICIES, Folder
from segkit.data.joint_labels import all_names, joint_labels
from segkit.data.layout import SPLITS
from segkit.data.mapping import BACKGROUND, IGNORE, Ids, LabelMap, by_id
from segkit.labels import LabelSpace


class Joined:
    """One split of several folder data sets, in one label space; a `segkit.contract.Source`.

    The images come in the order of the data sets; a sample is called "DATA SET/STEM". Masks and
    declarations are those of the data set, brought over by its `LabelMap`. A truth is passed on
    only by data sets that annotate every joint class: others do not know the whole of it.

    Args:
        parts: the images of each data set, by its name.
        maps: the way from each data set into the joint label space, the same one for all.
    """

    def __init__(self, parts: Mapping[str, Folder], maps: Mapping[str, LabelMap]):
        self.origins = tuple(parts)
        self.labels = maps[self.origins[0]].joint
        self._parts = [parts[name] for name in self.origins]
        self._maps = [maps[name] for name in self.origins]
        self._ends = np.cumsum([len(part) for part in self._parts])

    @property
    def names(self) -> list[str]:
        """What the samples are called, in order."""
        return [f"{o}/{name}" for o, part in zip(self.origins, self._parts) for name in part.names]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        number, inner = self._place(index)
        sample, label_map = self._parts[number][inner], self._maps[number]
        truth = None
        if sample.truth is not None and label_map.annotates.all():
            truth = label_map.mask(sample.truth, np.ones_like(sample.annotated))
        return sample._replace(
            mask=label_map.mask(sample.mask, sample.annotated),
            annotated=label_map.annotated(sample.annotated),
            truth=truth,
            name=f"{self.origins[number]}/{sample.name}",
        )

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of sample `index`, without decoding its image."""
        number, inner = self._place(index)
        mask, annotated = self._parts[number].annotation(inner)
        return self._maps[number].mask(mask, annotated), self._maps[number].annotated(annotated)

    def origin(self, index: int) -> str:
        """The name of the data set that image `index` comes from."""
        return self.origins[self._place(index)[0]]

    def validate(self) -> None:
        """Reads every mask once, and the header of every image, of every data set.

        Warns (UserWarning) as `Folder.validate` does, and where masks show a class that the list
        `annotated` of their data set leaves out.

        Raises:
            ValueError: naming the data sets, and the first files of each that cannot be used.
        """
        problems = []
        for name, part, label_map in zip(self.origins, self._parts, self._maps):
            try:
                shown = part.validate()
            except ValueError as error:
                problems.append(f"{name}: {error}")
                continue
            _warn_of_left_out(name, shown, label_map)
        if problems:
            raise ValueError("\n".join(problems))

    def _place(self, index: int) -> tuple[int, int]:
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - int(self._ends[number]) + len(self._parts[number])


def splits(
    sources: Mapping[str, Mapping[str, Any]],
    names: Sequence[str] | None = None,
    background: str | int | None = BACKGROUND,
    ignore_index: int | None = 255,
    coarse: Sequence[Mapping[str, Any]] = (),
    palette: Sequence[Sequence[int]] | None = None,
    annotated: str = "all",
    size: int | Sequence[int] | None = 128,
    fit: str = "resize",
    val_fraction: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, Joined]:
    """The splits of several folder data sets in one label space; no image or mask is opened.

    Each data set keeps its own classes.json, annotations.csv and split folders; where it has no
    val/, `val_fraction` of its own images are drawn. See `LabelMap` for what becomes of its ids
    and of what it says was annotated.

    Args:
        sources: {name: {root, ids, annotated, ...}}. `root` is the folder of a data set
            (`segkit.data.folder.splits`); `ids` maps its ids or class names to joint names, to
            "background" or to "ignore" (default: equal names); `annotated` lists the joint
            classes that it annotates, or is one of the policies below. The rest may be set here,
            too, for this data set alone.
        names: the joint classes, in the order of their ids; None: every class there is.
        background: name or id of the class for what nobody outlined; None if every pixel was
            given a class of its own.
        ignore_index: id for pixels nobody judged.
        coarse: labels that stand for several joint classes, each with a name, its members, and an
            id if a certain one is wanted.
        palette: one colour a joint class.
        annotated, size, fit, val_fraction, seed, limit: see `segkit.data.folder.splits`; `limit`
            counts the images of each data set.

    Raises:
        FileNotFoundError, ValueError: naming the data set and what is wrong with it.
    """
    shared = {"annotated": annotated, "size": size, "fit": fit}
    shared |= {"val_fraction": val_fraction, "seed": seed, "limit": limit}
    entries = _entries(sources, shared)
    folders: dict[str, dict[str, Folder]] = {}
    given: dict[str, tuple[LabelSpace, Ids]] = {}
    for name, entry in entries.items():
        with _errors_of(name):
            folders[name] = folder.splits(**entry.options)
            labels = next(iter(folders[name].values())).labels
            given[name] = labels, by_id(labels, entry.ids)
    if names is None:
        names = all_names(list(given.values()), background, coarse)
    joint = joint_labels(names, background, ignore_index, coarse, palette)
    maps = {}
    for name, (labels, ids) in given.items():
        with _errors_of(name):
            maps[name] = LabelMap(labels, joint, ids, entries[name].listed)
    found = {}
    for split in SPLITS:
        parts = {name: parts[split] for name, parts in folders.items() if split in parts}
        if parts:
            found[split] = Joined(parts, maps)
    return found


class _Entry(NamedTuple):
    """One data set as it was configured."""

    options: dict[str, Any]  # of folder.splits
    ids: Ids
    listed: Sequence[str] | None  # the joint classes that it annotates


def _entries(sources: Any, shared: Mapping[str, Any]) -> dict[str, _Entry]:
    if not isinstance(sources, Mapping) or not sources:
        raise ValueError(
            "sources names the data sets to join, {NAME: {root: FOLDER, ids: {...}}, ...}; on the "
            f"command line, +data.sources.NAME.root=FOLDER for each. Received: {sources!r}."
        )
    entries: dict[str, _Entry] = {}
    roots: dict[Path, str] = {}
    for name, given in sources.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or "/" in name:
            raise ValueError(
                "The name of a data set stands before those of its images, NAME/case_001: it is "
                f"text, on one line and without a slash. Received: {name!r}."
            )
        entries[name] = _entry(name, given, shared)
        root = Path(entries[name].options["root"]).resolve()
        if root in roots:
            raise ValueError(
                f"{roots[root]} and {name} have one root, {root}: its images would come twice, "
                "in train and in val, too. Keep one of the two."
            )
        roots[root] = name
    return entries


def _entry(name: str, given: Any, shared: Mapping[str, Any]) -> _Entry:
    keys = {"root", "ids", *shared}
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
    return _Entry(options, ids or {}, listed)


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Puts the name of a data set in front of what goes wrong with it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _warn_of_left_out(name: str, shown: np.ndarray, label_map: LabelMap) -> None:
    left_out = [
        f"{class_name} ({count} masks)"
        for class_name, count, joint in zip(label_map.labels.names, shown, label_map.may_hold.T)
        if count and (joint & ~label_map.annotates).any()
    ]
    if left_out:
        warnings.warn(
            f"{name}: its masks show {', '.join(left_out)}, which its list of annotated classes "
            "leaves out. Their pixels count as labelled, the rest of the class as unknown.",
            stacklevel=3,
        )

"""Data sets with different classes, joined into one."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any, Iterator, Mapping, Sequence

import numpy as np

from segkit.contract import Sample
from segkit.data import folder, splitting
from segkit.data.folder import Folder
from segkit.data.joined.entries import OPTIONS, configured
from segkit.data.joined.labels import all_names, joint_labels, joint_values
from segkit.data.joined.mapping import BACKGROUND, Ids, LabelMap, by_id
from segkit.data.layout import SPLITS
from segkit.data.problems import Problem, require_none
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

    @property
    def weights(self) -> np.ndarray:
        """float64 (N,), how far the annotation of each image is trusted."""
        return np.concatenate([part.weights for part in self._parts])

    @property
    def groups(self) -> list[str]:
        """What each image is not parted from, "DATA SET/GROUP"."""
        return [f"{o}/{g}" for o, part in zip(self.origins, self._parts) for g in part.groups]

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each sample."""
        return [size for part in self._parts for size in part.sizes]

    @property
    def keys(self) -> list[str]:
        """A hash of the content of each image file."""
        return [key for part in self._parts for key in part.keys]

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
    values: Sequence[float] | None = None,
    unit: str | None = None,
    **options: Any,
) -> dict[str, Joined]:
    """The splits of several folder data sets in one label space, after a look at every file.

    Each data set keeps its own classes.json, annotations.csv and splits; where it has no val/, a
    share of its own images is drawn. See `LabelMap` for what becomes of its ids and of what it
    says was annotated.

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
        annotated: see `segkit.data.folder.splits`.
        values, unit: of ordered classes, see `segkit.labels.LabelSpace`; None: what the data sets
            say, if they say it of every joint class.
        options: size, fit, split, limit and the others of `segkit.data.folder.splits`, for all
            data sets; `limit` counts the images of each.

    Raises:
        ValueError: naming the data sets and what is wrong with them.
    """
    odd = sorted(set(options) - OPTIONS)
    if odd:
        raise ValueError(
            f"A data set takes {', '.join(sorted(OPTIONS))}. Received also: {', '.join(odd)}."
        )
    shared = {"annotated": annotated, **options}
    entries = configured(sources, shared)
    folders: dict[str, dict[str, Folder]] = {}
    given: dict[str, tuple[LabelSpace, Ids]] = {}
    bad: list[str] = []
    for name, entry in entries.items():
        try:
            with _errors_of(name):
                folders[name] = folder.splits(**entry.options)
                labels = next(iter(folders[name].values())).labels
                given[name] = labels, by_id(labels, entry.ids)
        except ValueError as error:  # of the others, too, before it is told
            bad.append(str(error))
    if bad:
        raise ValueError("\n".join(bad))
    if names is None:
        names = all_names(list(given.values()), background, coarse)
    if values is None:
        values, unit = joint_values(given, names, background)
    joint = joint_labels(names, background, ignore_index, coarse, palette, values, unit)
    maps = {}
    for name, (labels, ids) in given.items():
        with _errors_of(name):
            maps[name] = LabelMap(labels, joint, ids, entries[name].listed)
        _warn_of_left_out(name, folders[name], maps[name])
    found = {}
    for split in SPLITS:
        parts = {name: parts[split] for name, parts in folders.items() if split in parts}
        if parts:
            found[split] = Joined(parts, maps)
    require_none(_leaks(found))
    return found


def _leaks(splits: Mapping[str, Joined]) -> list[Problem]:
    """Images of one data set in train that are images of another one in val."""
    places, start = {}, 0
    for split, joined in splits.items():
        places[split] = list(range(start, start + len(joined)))
        start += len(joined)
    names = [name for joined in splits.values() for name in joined.names]
    keys = [key for joined in splits.values() for key in joined.keys]
    alone = [str(i) for i in range(start)]  # what a data set keeps together, it has seen to
    remedy = "give both the same split, in the column split of their annotations.csv"
    return splitting.leaks(places, names, alone, keys, names, remedy)


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Puts the name of a data set in front of what goes wrong with it."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: {error}") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _warn_of_left_out(name: str, parts: Mapping[str, Folder], label_map: LabelMap) -> None:
    shown = sum(part.present.sum(0) for part in parts.values())
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

"""Cross-validation: the images of train and val are dealt into folds, and one of them is held."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from segkit import parallel
from segkit.contract import Sample, Source, innermost, whole_number
from segkit.data.splitting.draws import stratified, units_of
from segkit.targets import shown

POOLED = ("train", "val")
OPTIONS = ("count", "held", "seed")


class Pool:
    """The images of several splits one after the other, and what is known of them.

    A sample keeps its name; where two have the same one, or the splits know no names, it is called
    "SPLIT/NAME".

    Args:
        splits: the sources, of one label space.

    Attributes:
        labels: the label space.
        names, groups, keys, sizes, weights, origins: of each image, see
            `segkit.data.folder.Folder` and `segkit.data.joined.Joined`; [] where a split does not
            know them.
        homes: the split that each image comes from, and its index there.
        splits: the sources.
    """

    def __init__(self, splits: Mapping[str, Source]):
        self.splits = dict(splits)
        if not self.splits:
            raise ValueError(
                f"Folds are dealt from the splits {' and '.join(POOLED)}. Received: data with "
                "neither. Predict without folds: audit.folds=0, data.fold.count=null."
            )
        self.labels = next(iter(self.splits.values())).labels
        self.homes = [(s, i) for s, source in self.splits.items() for i in range(len(source))]
        names = self._known("names")
        self._plain = bool(names) and len(set(names)) == len(names)
        if names and not self._plain:
            names = [f"{split}/{name}" for (split, _), name in zip(self.homes, names)]
        self.names = names
        self.groups, self.keys, self.sizes = map(self._known, ("groups", "keys", "sizes"))
        self.weights = self._known("weights")
        inner = {split: innermost(source) for split, source in self.splits.items()}
        joined = all(hasattr(source, "origin") for source in inner.values())
        self.origins = [inner[split].origin(i) for split, i in self.homes] if joined else []

    def __len__(self) -> int:
        return len(self.homes)

    def sample(self, index: int) -> Sample:
        """Image `index` with what is known about it."""
        split, inner = self.homes[index]
        sample = self.splits[split][inner]
        name = self.names[index] if self.names else f"{split}/{sample.name or inner}"
        return sample if self._plain else sample._replace(name=name)

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of image `index`."""
        split, inner = self.homes[index]
        return self.splits[split].annotation(inner)

    def _known(self, key: str) -> list:
        found = [list(getattr(innermost(source), key, [])) for source in self.splits.values()]
        complete = all(map(len, found)) and sum(map(len, found)) == len(self.homes)
        return [value for values in found for value in values] if complete else []


class Fold:
    """Some images of a pool, in its order; a `segkit.contract.Source`.

    Args:
        pool: all images.
        indices: of those that are in it.
    """

    def __init__(self, pool: Pool, indices: Sequence[int]):
        self.pool, self.indices, self.labels = pool, list(indices), pool.labels

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.pool.sample(self.indices[index])

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of sample `index`, without its image."""
        return self.pool.annotation(self.indices[index])

    @property
    def names(self) -> list[str]:
        """What the samples are called, in order; [] if the splits know no names."""
        return self._of(self.pool.names)

    @property
    def groups(self) -> list[str]:
        """What each image is not parted from."""
        return self._of(self.pool.groups)

    @property
    def keys(self) -> list[str]:
        """A hash of the content of each image file."""
        return self._of(self.pool.keys)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(H, W) of each sample."""
        return self._of(self.pool.sizes)

    @property
    def weights(self) -> list[float] | None:
        """How far the annotation of each sample is trusted; None if the splits do not say."""
        return self._of(self.pool.weights) or None

    @property
    def origins(self) -> list[str]:
        """The data set that each image of joined ones comes from."""
        return self._of(self.pool.origins)

    def _of(self, values: list) -> list:
        return [values[i] for i in self.indices] if values else []


def folded(
    splits: Mapping[str, Source], count: int | None = None, held: int = 0, seed: int = 0
) -> dict[str, Source]:
    """Splits in which val is one fold of the images of train and val, and train all the others.

    Groups and copies of a file stay together, and each class, where it was annotated, is dealt
    evenly. The deal hangs on the images, `count` and `seed`: with `held` from 0 to `count` - 1,
    each image is held once. Other splits, and what is known of each image, stay as they are.

    Args:
        splits: the sources by name, train among them.
        count: of the folds; None: the splits stay as they are.
        held: the fold that becomes val, from 0 on.
        seed: of the deal.

    Raises:
        ValueError: on numbers out of range, or fewer images, or groups of them, than folds.
    """
    if count is None:
        if held != 0:
            raise ValueError(
                f"data.fold.held is one of data.fold.count folds. Received: held={held!r}, and no "
                "count. Set data.fold.count=5, say."
            )
        return dict(splits)
    whole_number("data.fold.count", count, 2)
    whole_number("data.fold.seed", seed)
    if whole_number("data.fold.held", held) >= count:
        raise ValueError(
            f"data.fold.held must be one of 0..{count - 1}, the folds of data.fold.count={count}. "
            f"Received: {held}."
        )
    pool = Pool({name: splits[name] for name in POOLED if len(splits.get(name, ()))})
    folds = deal(pool, count, seed)
    others = sorted(i for k, indices in enumerate(folds) for i in indices if k != held)
    rest = {name: source for name, source in splits.items() if name not in POOLED}
    return {"train": Fold(pool, others), "val": Fold(pool, folds[held]), **rest}


def deal(pool: Pool, count: int, seed: int = 0) -> list[list[int]]:
    """Deals the images of a pool into folds: the indices of each, in order; see `folded`."""
    everything = range(len(pool))
    alone = [f"{split}/{i}" for split, i in pool.homes]
    groups = pool.groups or pool.names or alone
    groups = [group or lone for group, lone in zip(groups, alone)]
    units = units_of(everything, groups, pool.keys or [""] * len(pool))
    if len(units) < count:
        what = "images" if len(units) == len(pool) else "groups of images"
        fewer = f"Set it to {len(units)} or less, or add" if len(units) > 1 else "Add"
        raise ValueError(
            f"data.fold.count={count} needs at least {count} {what} in train and val, as none is "
            f"divided. Received: {len(units)}. {fewer} some."
        )
    labels, rows = pool.labels, []
    for mask, annotated in parallel.ordered(pool.annotation, everything, "dealing into folds"):
        rows.append((shown(mask, labels), np.asarray(annotated, bool)))
    present, annotated = (np.array(part) for part in zip(*rows))
    shares: dict[Any, float] = {k: 1 / count for k in range(1, count)}
    drawn = stratified(units, present & annotated, annotated, shares, seed)
    taken = {i for indices in drawn.values() for i in indices}
    return [[i for i in everything if i not in taken], *(sorted(drawn[k]) for k in shares)]

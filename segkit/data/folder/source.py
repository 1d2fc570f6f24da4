"""Folder data sets: images and masks on disk, read one sample at a time."""

from __future__ import annotations

import warnings
from itertools import groupby
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from segkit import parallel
from segkit.contract import Sample
from segkit.data.cache import NoCache
from segkit.data.folder.dataset import DataSet, examine
from segkit.data.folder.reading import Reader
from segkit.data.layout import Pair
from segkit.data.problems import Problem, require_none

_SHOWN = 3  # files that one warning spells out


class Folder:
    """One split of a folder data set; a `segkit.contract.Source`.

    Sample i holds the image as uint8 or float32 (H, W, K), the mask as uint8 (H, W) (uint16 if an
    id needs it; planes (H, W, C) of independent classes), annotated as bool (C,), the truth if
    there is a file of it, the stem as its name, and its weight. Arrays are read-only.

    Args:
        pairs: the files of each image.
        reader: makes arrays of them.
        annotated: bool (N, C), the classes that somebody looked for.
        weights: float (N,), how far each annotation is trusted; None: 1.
        present: bool (N, C), the classes that each mask shows at its full size, if it is known.
        keys: a hash of the content of each image file, if it is known.
        sizes: (H, W) of each sample, if they are known.
        groups: what each image is not parted from, if it is known.

    Raises:
        ValueError: if these differ in number.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        reader: Reader,
        annotated: np.ndarray,
        weights: np.ndarray | None = None,
        present: np.ndarray | None = None,
        keys: Sequence[str] = (),
        sizes: Sequence[tuple[int, int]] = (),
        groups: Sequence[str] = (),
    ):
        shape = len(pairs), reader.labels.num_classes
        self.annotated = np.array(annotated, bool).reshape(-1, shape[1])
        if self.annotated.shape != shape:
            raise ValueError(
                f"annotated needs one row an image and one column a class, {shape} here. "
                f"Received: {np.shape(annotated)}."
            )
        self.labels, self.reader, self.pairs = reader.labels, reader, list(pairs)
        self.weights = np.ones(len(pairs)) if weights is None else np.asarray(weights, "float64")
        self.present, self.keys, self.sizes = present, list(keys), list(sizes)
        self.groups = list(groups)
        if self.labels.background is not None:
            self.annotated[:, self.labels.background] = True

    @property
    def names(self) -> list[str]:
        """The stems of the images, in order."""
        return [pair.name for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self.pairs[index]
        image, (mask, _) = self.reader.image(pair), self.reader.mask(pair)
        truth = self.reader.truth(pair)
        return Sample(
            image,
            mask,
            self.annotated[index].copy(),
            None if truth is None else truth.ids,
            pair.name,
            float(self.weights[index]),
        )

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of sample `index`, without decoding its image."""
        return self.reader.mask(self.pairs[index]).ids, self.annotated[index].copy()


def splits(
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
) -> dict[str, Folder]:
    """The splits of a folder data set, by name, after a look at every file.

    `root` holds classes.json and either train/, val/, test/, each with images/ and masks/, or
    images/ and masks/ themselves. See docs/data.md for the formats and for annotations.csv.

    Args:
        root: the data set's folder, or a URL that fsspec understands (s3://bucket/path).
        annotated: what holds for images that annotations.csv leaves out: "all" classes were
            looked for; "manifest": the file must exist and is the whole story, so nothing was;
            "present": the classes that the mask shows.
        size, fit, channels, value_range: see `segkit.data.folder.reading.Reader`.
        split: {by, val, test, group, stratify}, see `segkit.data.splitting.assign`; group is a
            regular expression that finds what an image belongs to in its stem.
        seed: of the draws, from 0 on.
        limit: keep at most this many images a split, drawn at random; a larger limit keeps the
            same ones and adds to them.
        follow_links: whether symbolic links may lead out of the data set.
        cache: where decoded images are kept: "none", "memory", or "disk". With a cache all
            images are decoded here, so that a damaged one is found now.
        cache_folder: for "disk"; None: ~/.cache/segkit.
        exclusive: whether classes exclude each other (one id a pixel) or not (planes); None: as
            classes.json says. See `segkit.data.exclusive`.

    Raises:
        BadData: a ValueError that names the first files that cannot be used, and why.
        ValueError: on arguments out of range.
    """
    found = examine(
        root,
        annotated=annotated,
        size=size,
        fit=fit,
        channels=channels,
        value_range=value_range,
        split=split,
        seed=seed,
        limit=limit,
        follow_links=follow_links,
        cache=cache,
        cache_folder=cache_folder,
        exclusive=exclusive,
    )
    require_none(found.problems)
    warn(found.problems)
    folders = {name: _folder(found, indices) for name, indices in found.splits.items()}
    if not isinstance(found.reader.cache, NoCache):
        _decode(folders)
    return folders


def warn(problems: Sequence[Problem]) -> None:
    """One UserWarning for each kind of problem that is not fatal."""
    mild = sorted((p for p in problems if not p.fatal), key=lambda problem: problem.kind)
    for kind, group in groupby(mild, key=lambda problem: problem.kind):
        alike = list(group)
        more = len(alike) - 1
        others = ", ".join(p.path for p in alike[1 : _SHOWN + 1])
        rest = f" Likewise {others}{f' and {more - _SHOWN} more' if more > _SHOWN else ''}."
        warnings.warn(f"{kind}: {alike[0].text}{rest if more else ''}", stacklevel=3)


def _folder(found: DataSet, indices: Sequence[int]) -> Folder:
    return Folder(
        [found.pairs[i] for i in indices],
        found.reader,
        found.annotated[indices],
        found.weights[indices],
        np.array([found.facts[i].present for i in indices], bool),
        [found.facts[i].image_key for i in indices],
        [found.reader.size or found.facts[i].size for i in indices],
        [found.groups[i] for i in indices],
    )


def _decode(folders: Mapping[str, Folder]) -> None:
    """Reads every image once: the cache holds it then, and a damaged one costs no night."""
    jobs = [(folder.reader, pair) for folder in folders.values() for pair in folder.pairs]
    found = parallel.ordered(lambda job: _damage(*job), jobs, "decoding")
    require_none([problem for problem in found if problem is not None])


def _damage(reader: Reader, pair: Pair) -> Problem | None:
    try:
        reader.image(pair)
    except (OSError, ValueError) as error:
        return Problem("image that cannot be used", str(pair.image), str(error))
    return None

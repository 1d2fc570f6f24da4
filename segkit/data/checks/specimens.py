"""A few images of a data set to look at: good ones of each class, and those that look wrong."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Iterator, Mapping, NamedTuple, Sequence

import numpy as np

from segkit.data.checks.balance import percent
from segkit.data.checks.coverage import pixel_table
from segkit.data.fitting import fit_image, fit_mask
from segkit.data.folder.reading import Reader
from segkit.data.problems import Problem
from segkit.labels import LabelSpace

if TYPE_CHECKING:
    from segkit.data.folder.dataset import DataSet

LONGEST = 256  # pixels of the longer side; larger ones are shrunk
_OF_ONE_KIND = 3  # suspicious images of one kind that are shown
_PLACES = (0.5, 0.1, 0.9)  # among the images with a class, by how much of it they show


class Specimen(NamedTuple):
    """One image to look at.

    name: what to call it.
    why: why it is here.
    wrong: whether that is because something may be wrong with it.
    image: uint8 (H, W, 3), the first three channels.
    mask: ids (H, W); `BARE` where no independent class is set.
    annotated: bool (C,).
    labels: of the mask.
    """

    name: str
    why: str
    wrong: bool
    image: np.ndarray
    mask: np.ndarray
    annotated: np.ndarray
    labels: LabelSpace


BARE = 65_535  # stands for "none of the independent classes"


def specimens(data: DataSet, problems: Sequence[Problem], most: int) -> list[Specimen]:
    """Reads up to `most` images of a data set and shrinks them: suspicious ones first.

    Args:
        data: what `segkit.data.folder.examine` found.
        problems: those to illustrate, as far as they name an image that can be read.
        most: how many images at most.
    """
    if data.reader is None or not data.splits:
        return []
    old = data.reader
    reader = Reader(old.stored, None, "resize", old.channels, old.value_range)
    splits = {index: name for name, indices in data.splits.items() for index in indices}
    found = []
    for index, (why, wrong) in _chosen(data, problems, splits, most).items():
        pair = data.pairs[index]
        image, mask = reader.image(pair), reader.mask(pair).ids
        name = "/".join(part for part in (splits.get(index, ""), pair.name) if part)
        found.append(
            specimen(name, "; ".join(why), wrong, image, mask, data.annotated[index], old.stored)
        )
    return found


def specimen(
    name: str,
    why: str,
    wrong: bool,
    image: np.ndarray,
    mask: np.ndarray,
    annotated: np.ndarray,
    labels: LabelSpace,
) -> Specimen:
    """A specimen from an image and a mask of one size, as they are read; see `Specimen`."""
    size = image.shape[:2]
    factor = min(1, LONGEST / max(size))
    size = tuple(max(1, round(edge * factor)) for edge in size)
    image = fit_image(image, size, "resize")
    if image.dtype != np.uint8:
        image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    ids = fit_mask(mask, size, "resize", labels.ignore_index)
    if not labels.exclusive:
        ids = _flat(ids, labels)
    return Specimen(name, why, wrong, _colored(image), ids, np.asarray(annotated, bool), labels)


def _chosen(
    data: DataSet, problems: Sequence[Problem], splits: Mapping[int, str], most: int
) -> dict[int, tuple[list[str], bool]]:
    """Index -> why it is shown, and whether it looks wrong."""
    places = {}
    for index, pair in enumerate(data.pairs):
        masks = pair.mask.values() if isinstance(pair.mask, Mapping) else [pair.mask]
        places.update({str(path): index for path in (pair.image, *masks)})
    chosen: dict[int, tuple[list[str], bool]] = {}
    shown: dict[str, int] = defaultdict(int)
    for problem in problems:
        index = places.get(problem.path)
        if index is not None and shown[problem.kind] < _OF_ONE_KIND:
            shown[problem.kind] += 1
            chosen.setdefault(index, ([], True))[0].append(problem.kind)
    typical = _typical(data, sorted(splits), set(chosen))
    for index, why in itertools.islice(typical, max(0, most - len(chosen))):
        chosen[index] = ([why], False)
    return dict(itertools.islice(chosen.items(), most))


def _typical(data: DataSet, indices: Sequence[int], taken: set[int]) -> Iterator[tuple[int, str]]:
    """Images in which a class covers neither much nor little; then those with little, with much."""
    sizes = np.array([np.prod(data.facts[i].size) for i in indices])
    covered = pixel_table(data, indices, range(data.labels.num_classes)) / sizes[:, None]
    orders = {c: np.argsort(covered[:, c], kind="stable") for c in data.labels.foreground}
    shown = {c: order[covered[order, c] > 0] for c, order in orders.items()}
    for place, (c, order) in itertools.product(_PLACES, shown.items()):
        middle = place * (len(order) - 1)
        for rank in sorted(range(len(order)), key=lambda rank: abs(rank - middle)):
            row = order[rank]
            if indices[row] not in taken:
                taken.add(indices[row])
                yield indices[row], f"{data.labels.names[c]} covers {percent(covered[row, c])}"
                break


def _flat(planes: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """Planes (H, W, C) -> ids (H, W); where classes overlap, the smaller one lies on top."""
    ids = np.full(planes.shape[:2], BARE, np.uint16)
    if labels.ignore_index is not None:
        ids[(planes == labels.ignore_index).any(-1)] = labels.ignore_index
    for c in np.argsort(-(planes == 1).sum((0, 1)), kind="stable"):
        ids[planes[..., c] == 1] = c
    return ids


def _colored(image: np.ndarray) -> np.ndarray:
    channels = image.shape[-1]
    if channels == 1:
        return np.repeat(image, 3, axis=-1)
    missing = max(0, 3 - channels)
    return np.pad(image, ((0, 0), (0, 0), (0, missing)))[..., :3]

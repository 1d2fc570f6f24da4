"""A first look at every file of a data set: what it holds, and what is wrong with it."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Sequence

import numpy as np

from segkit import parallel
from segkit.data.folder.reading import Reader
from segkit.data.layout import Pair
from segkit.data.problems import Problem
from segkit.data.readers import image_size, read_image, require_whole
from segkit.data.scaling import to_unit
from segkit.labels import LabelSpace
from segkit.targets import known_ids


class Values(NamedTuple):
    """What the values of an image are, as its file stores them; float64 (K,) but for the dtype."""

    dtype: str
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray


class Facts(NamedTuple):
    """What one image and its mask hold.

    size: (H, W) of the file.
    pixels: {id: number of pixels} of the ids in the mask at its full size; of planes {class: ...}.
    ignored: pixels of the mask that nobody judged.
    present: bool (C,), the classes that the mask shows.
    image_key, mask_key: hashes of the files' content; mask_key "" for one file a class.
    values: of the decoded image; None if only its header was looked at.
    """

    size: tuple[int, int]
    pixels: dict[int, int]
    ignored: int
    present: np.ndarray
    image_key: str
    mask_key: str
    values: Values | None


def inspect(
    pairs: Sequence[Pair], reader: Reader, deep: bool = False, text: str = "looking at the files"
) -> tuple[list[Facts | None], list[Problem]]:
    """Reads the masks, and the header and the end of each image; in parallel.

    Args:
        pairs: the files.
        reader: how they are read.
        deep: True decodes the images, too.
        text: beside the bar.

    Returns:
        The facts of each pair, None where a file cannot be used, and what is wrong with those.
    """
    facts, problems = [], []
    for found in parallel.ordered(lambda pair: _look(pair, reader, deep), pairs, text):
        broken = isinstance(found, list)
        facts.append(None if broken else found)
        problems.extend(found if broken else [])
    return facts, problems


def _look(pair: Pair, reader: Reader, deep: bool) -> Facts | list[Problem]:
    problems: list[Problem] = []
    single = not isinstance(pair.mask, Mapping)
    size = values = None
    try:
        size, image_key = image_size(pair.image), reader.key(pair.image)
        require_whole(pair.image)
        if deep:
            image = read_image(pair.image, reader.channels)
            values = _values(image)
            to_unit(image, reader.value_range, pair.image)
    except (OSError, ValueError) as error:
        problems.append(Problem("image that cannot be used", str(pair.image), str(error)))
    if size is None:  # without it, nothing can be said about the mask
        return problems
    try:
        pixels = reader.mask(pair).pixels
        reader.truth(pair)
        mask_key = reader.key(pair.mask) if single else ""
    except (OSError, ValueError) as error:
        path = str(pair.mask if single else pair.image)
        problems.append(Problem("mask that cannot be used", path, str(error)))
    if problems:
        return problems
    pixels, ignored = _named(pixels, reader.stored)
    present = np.array([pixels.get(c, 0) > 0 for c in range(reader.stored.num_classes)])
    return Facts(tuple(size), pixels, ignored, present, image_key, mask_key, values)


def _named(pixels: np.ndarray, labels: LabelSpace) -> tuple[dict[int, int], int]:
    """{id or class: its pixels}, and the ignored ones."""
    if not labels.exclusive:
        named, ignored = dict(enumerate(pixels[:-1].tolist())), int(pixels[-1])
    else:
        named = dict(zip(known_ids(labels), pixels.tolist()))
        ignored = named.pop(labels.ignore_index, 0)
    return {key: number for key, number in named.items() if number}, ignored


def _values(image: np.ndarray) -> Values:
    # Axis by axis: NumPy is sixty times slower over two at once.
    low, high = image.min(0).min(0), image.max(0).max(0)
    mean = image.mean(0, dtype="float64").mean(0)
    return Values(str(image.dtype), low.astype("float64"), high.astype("float64"), mean)

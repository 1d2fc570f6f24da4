"""What looks wrong in files that can be read: constants, copies, odd ranges of values."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, Iterator, Mapping

import numpy as np

from segkit.data.problems import Problem

if TYPE_CHECKING:
    from segkit.data.folder.dataset import DataSet
    from segkit.data.folder.inspection import Facts
    from segkit.data.layout import Pair
    from segkit.labels import LabelSpace

FEWEST = 3  # images; among fewer, equal masks and equal ids are no pattern
_BINARY_HIGH = 255  # what programs write for "yes" in a mask of one class
_TINY = 8  # pixels; a shorter side shows nothing that a model could segment
_DARK = 32  # an 8-bit data set in which nothing is brighter uses an eighth of its range


def suspicions(data: DataSet, value_range: Any = None) -> list[Problem]:
    """Names what can be read and yet is probably not what somebody meant.

    Args:
        data: what `segkit.data.folder.examine` found with deep=True.
        value_range: as configured; None if the range of the dtype was taken.

    Returns:
        Problems; fatal are only those with which nothing right could be learnt.
    """
    if data.labels is None:
        return []
    return [
        *_single_files(data),
        *_binary_masks(data),
        *_equal_masks(data),
        *_copies(data),
        *_values(data, value_range),
    ]


def _single_files(data: DataSet) -> Iterator[Problem]:
    for pair, facts in zip(data.pairs, data.facts):
        yield from _odd_image(pair, facts)
        yield from _odd_mask(pair, facts, data.labels)
        if facts.mask_key and facts.mask_key == facts.image_key:
            yield Problem(
                "mask that is its image",
                str(pair.image),
                f"{pair.image} and {pair.mask} are the same file, byte for byte: one of them was "
                "copied over the other. Restore it.",
            )


def _odd_image(pair: Pair, facts: Facts) -> Iterator[Problem]:
    values, (height, width) = facts.values, facts.size
    if values is not None and height * width > 1 and (values.low == values.high).all():
        color = ", ".join(f"{value:g}" for value in values.low)
        yield _odd(
            "image of one colour",
            pair.image,
            f"{pair.image} shows nothing: every pixel is ({color}). Look at where it came from, "
            "or remove the pair.",
        )
    if min(facts.size) < _TINY:
        yield _odd(
            "tiny image",
            pair.image,
            f"{pair.image} is only {height}x{width} pixels (height x width). Restore it, or "
            "remove the pair if that is not its size.",
        )


def _odd_mask(pair: Pair, facts: Facts, labels: LabelSpace) -> Iterator[Problem]:
    ids = [id_ for id_, number in facts.pixels.items() if number]
    whole = facts.size[0] * facts.size[1]
    path = pair.image if isinstance(pair.mask, Mapping) else pair.mask
    if facts.ignored == whole:
        yield _odd(
            "mask that is all ignored",
            path,
            f"The mask of {pair.image} is the ignore index all over: the image teaches nothing. "
            "Remove the pair, or look at how the mask was made.",
        )
    elif labels.exclusive and not facts.ignored and len(ids) == 1 and whole > 1:
        if ids[0] != labels.background and ids[0] < labels.num_classes:
            yield _odd(
                "mask of one class",
                path,
                f"The mask of {pair.image} is {labels.names[ids[0]]} all over, to the last pixel. "
                "Look at it.",
            )


def _binary_masks(data: DataSet) -> Iterator[Problem]:
    labels = data.reader.stored
    background = labels.background if labels.background is not None else 0
    ids = {id_ for facts in data.facts for id_, number in facts.pixels.items() if number}
    binary = labels.exclusive and labels.ignore_index == _BINARY_HIGH and ids <= {background}
    if binary and any(facts.ignored for facts in data.facts):
        yield Problem(
            "binary masks",
            str(data.root),
            f"The masks in {data.root} hold {background} and 255 and no other id: they look like "
            f"pictures in which 255 means yes, and classes.json says that 255 is ignored. Write "
            f"the id of the class in place of 255, or choose another ignore_index.",
        )


def _equal_masks(data: DataSet) -> Iterator[Problem]:
    rows = [facts for facts in data.facts if facts.mask_key]
    images = len({facts.image_key for facts in rows})
    if len({facts.mask_key for facts in rows}) == 1 and images >= FEWEST:
        if any(rows[0].present[c] for c in data.labels.foreground):
            yield _odd(
                "masks that are all the same",
                data.root,
                f"All {len(rows):,} masks in {data.root} are one file, byte for byte, and the "
                "images are not: a model would learn the mask by heart and need no image.",
            )


def _copies(data: DataSet) -> Iterator[Problem]:
    """Equal images in one split; those in two are leaks, which `examine` names."""
    for split, indices in data.splits.items():
        groups = defaultdict(list)
        for index in indices:
            groups[data.facts[index].image_key].append(index)
        yield from (_copy(data, split, equal) for equal in groups.values() if len(equal) > 1)


def _copy(data: DataSet, split: str, equal: list[int]) -> Problem:
    files = [str(data.pairs[i].image) for i in equal]
    names = ", ".join(files[:5]) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
    pixels = [data.facts[i].pixels for i in equal]
    if any(other != pixels[0] for other in pixels):
        text = (
            f"One image is in {split} {len(equal)} times with different masks: {names}. Keep the "
            "pair whose mask is right."
        )
        return Problem("copy with another mask", files[0], text, fatal=False)
    text = f"One image is in {split} {len(equal)} times: {names}. It counts as often; keep one."
    return Problem("duplicate image", files[0], text, fatal=False)


def _values(data: DataSet, value_range: Any) -> Iterator[Problem]:
    values = [facts.values for facts in data.facts if facts.values is not None]
    if not values:
        return
    dtypes = Counter(value.dtype for value in values)
    low = np.min([value.low for value in values], axis=0)
    high = np.max([value.high for value in values], axis=0)
    if len(dtypes) > 1 and value_range is None:
        listed = ", ".join(f"{dtype} ({number:,})" for dtype, number in dtypes.most_common())
        yield _odd(
            "images of several dtypes",
            data.root,
            f"The images in {data.root} are stored as {listed}, and each is scaled by the range of "
            "its own dtype: equal values become different ones. Store them alike.",
        )
    for channel in np.flatnonzero((low == high) & (len(values) >= FEWEST)):
        yield _odd(
            "channel without content",
            data.root,
            f"Channel {channel} is {low[channel]:g} in every pixel of every image in {data.root}. "
            "Leave it out, or look at how the images were written.",
        )
    yield from _unused_range(data, dtypes, float(high.max()), value_range)


def _unused_range(
    data: DataSet, dtypes: Counter, high: float, value_range: Any
) -> Iterator[Problem]:
    if value_range is not None or len(dtypes) > 1:
        return
    bits = max(int(high).bit_length(), 1)
    full = {"uint16": 65_535, "uint8": 255}.get(next(iter(dtypes)))
    if full is None or high >= (full + 1) // 2 or (full == 255 and high >= _DARK):
        return
    yield _odd(
        "range of values that is hardly used",
        data.root,
        f"No value in the images of {data.root} is above {high:g}, {bits} bits, and {full:,} "
        f"counts as full brightness: everything looks dark. Set data.value_range="
        f"[0,{2**bits - 1}].",
    )


def _odd(kind: str, path: Any, text: str) -> Problem:
    return Problem(kind, str(path), text, fatal=False)

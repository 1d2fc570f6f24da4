"""From the files of a pair to arrays of one size, decoded once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
from PIL import Image

from segkit.data.cache import Cache, NoCache, content_key, file_key, frozen
from segkit.data.fitting import FITS, fit_image, fit_mask, height_and_width, with_ignore_index
from segkit.data.layout import Pair
from segkit.data.places import Place, is_local, named
from segkit.data.readers import image_size, read_class_files, read_image, read_mask
from segkit.data.scaling import to_unit
from segkit.labels import LabelSpace
from segkit.targets import known_ids

_FORMAT = "2"  # to be raised when the same files give other arrays: old caches are then passed over
_SHOWN_IDS = 12  # in one message


class Mask(NamedTuple):
    """A mask file as it is used, and what it holds at its full size.

    ids: (H, W) of uint8 or uint16, fitted; planes (H, W, C) of independent classes.
    pixels: int64, in the file, of each id of `known_ids(Reader.stored)`; for independent classes,
        of each class, and how many are ignored in one of the planes.
    """

    ids: np.ndarray
    pixels: np.ndarray


class Reader:
    """Reads images and masks, checks them against the label space, and fits them to one size.

    With fit="crop" the label space always has an ignore index (255, if `labels` has none), since
    images smaller than `size` are padded and nobody judged the padding.

    Args:
        labels: the label space of the masks.
        size: (height, width) in pixels, one number for both, or None to keep each image's size.
        fit: "resize" (image bilinear, mask nearest; the aspect ratio is not kept) or "crop" (the
            middle; padded where too small).
        channels: K of the images: 3 repeats grey and drops transparency, 1 makes grey of colours.
        value_range: (low, high), the values that become 0 and 1; one pair, or one a channel. None:
            0..255 or 0..65535; images of floats must then be in [0, 1].
        cache: where decoded arrays are kept.

    Raises:
        ValueError: on arguments that do not fit together.
    """

    def __init__(
        self,
        labels: LabelSpace,
        size: int | Sequence[int] | None = None,
        fit: str = "resize",
        channels: int = 3,
        value_range: Sequence | None = None,
        cache: Cache | None = None,
    ):
        if fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}. Received: {fit!r}.")
        if type(channels) is not int or channels < 1:
            raise ValueError(
                f"channels must be a whole number from 1 on. Received: {channels!r}. Take 3 for "
                "colours, 1 for grey, or as many as the files have."
            )
        cut = dataclasses.replace(
            labels, bins=None
        )  # what is read are ids, whatever the files hold
        self.labels = with_ignore_index(cut) if fit == "crop" else cut
        self.cache = NoCache() if cache is None else cache
        self.channels, self.value_range = channels, value_range
        self.stored = labels  # what the files hold, before padding claimed an id
        self._known = np.zeros(
            max(known_ids(labels)) + 2, bool
        )  # the last one stands for all above
        self._known[known_ids(labels)] = True
        self.size, self._fit = height_and_width(size), fit
        wide = labels.exclusive and max(known_ids(self.labels)) > 255
        self._dtype = np.uint16 if wide else np.uint8
        way = f"{_FORMAT} {self.size} {fit}"
        self._image_way = f"image {way} {channels} {value_range}"
        self._mask_way = f"mask {way} {json.dumps(self.stored.to_dict())}"
        self._keys: dict[Place, tuple[Any, str]] = {}
        to_unit(np.zeros((1, 1, channels), np.uint8), value_range, "value_range")  # a bad one now

    def key(self, path: Place) -> str:
        """A hash of the content of a file, computed once, and again when the file was replaced."""
        stamp = _stamp(path)
        known, key = self._keys.get(path, (None, ""))
        if not key or known != stamp:
            key = file_key(path)
            self._keys[path] = stamp, key
        return key

    def image(self, pair: Pair) -> np.ndarray:
        """The image of a pair: uint8 or float32 in [0, 1], (H, W, K); read-only."""
        if isinstance(self.cache, NoCache):
            return frozen([self._image(pair)])[0]
        files = {pair.image: self.key(pair.image)}
        key = content_key(self._image_way, *files.values())
        return self.cache.get(key, lambda: _unchanged(files, (self._image(pair),)))[0]

    def mask(self, pair: Pair) -> Mask:
        """The mask of a pair; read-only."""
        return self._mask(pair, pair.mask)

    def truth(self, pair: Pair) -> Mask | None:
        """The full mask of a pair, if there is one; read-only."""
        return None if pair.truth is None else self._mask(pair, pair.truth)

    def _mask(self, pair: Pair, files: Place | Mapping[str, Place]) -> Mask:
        if isinstance(self.cache, NoCache):
            return Mask(*frozen(self._ids(pair, files)))
        listed = files.items() if isinstance(files, Mapping) else [("", files)]
        keys = {path: self.key(path) for path in (pair.image, *(path for _, path in listed))}
        named = [part for name, path in sorted(listed) for part in (name, keys[path])]
        # The image stands for its size, which the mask must have.
        key = content_key(self._mask_way, keys[pair.image], *named)
        return Mask(*self.cache.get(key, lambda: _unchanged(keys, self._ids(pair, files))))

    def _image(self, pair: Pair) -> np.ndarray:
        image = to_unit(read_image(pair.image, self.channels), self.value_range, pair.image)
        return image if self.size is None else fit_image(image, self.size, self._fit)

    def _ids(self, pair: Pair, files: Place | Mapping[str, Place]) -> tuple[np.ndarray, np.ndarray]:
        size = image_size(pair.image)
        if isinstance(files, Mapping):
            mask, path = read_class_files(files, self.stored, size), pair.image
        else:
            mask, path = read_mask(files, self.stored), files
        if mask.shape[:2] != tuple(size):
            raise ValueError(
                f"{path} must be as large as its image {pair.image}, {size[0]}x{size[1]} "
                f"(height x width). Received: {mask.shape[0]}x{mask.shape[1]}. Replace the one "
                "that does not belong to the other."
            )
        pixels = self._count(mask, path)
        mask = mask.astype(self._dtype, copy=False)
        if self.size is not None:
            mask = fit_mask(mask, self.size, self._fit, self.labels.ignore_index)
        return mask, pixels

    def _count(self, mask: np.ndarray, path: Place) -> np.ndarray:
        """`Mask.pixels` of a mask as it lies in the file.

        Raises:
            ValueError: naming the file, if it holds an id that the label space does not know.
        """
        counts = _histogram(mask)
        there = np.flatnonzero(counts)
        stray = there[~self._known[np.minimum(there, len(self._known) - 1)]]
        if stray.size:
            way = "Correct the mask, or name the id in classes.json (as ignore_index, for example)"
            if there.tolist() == [0, 255]:  # ignoring it would ignore all there is
                way = "It looks binary: write the id of the class in place of 255"
            raise ValueError(
                f"{path} may hold the ids {_shortened(np.flatnonzero(self._known))}. "
                f"Received also: {_shortened(stray)}. {way}."
            )
        counts = np.pad(counts, (0, max(0, len(self._known) - len(counts))))
        if self.stored.exclusive:
            return counts[np.flatnonzero(self._known)].astype("int64")
        planes = (mask == 1).sum((0, 1)), (mask == self.stored.ignore_index).any(-1).sum()
        return np.append(*planes).astype("int64")


def _unchanged(keys: Mapping[Place, str], made: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """What was made of files, if they are still those that the keys stand for.

    A cache would hand out the content of a new file for the old one, in this run and all others.
    """
    for path, key in keys.items():
        if file_key(path) != key:
            raise ValueError(f"{path} was replaced while it was read. Start again.")
    return made


def _stamp(path: Place) -> Any:
    """What changes when a local file is replaced."""
    if not is_local(path):
        return None
    with named(path):
        state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _histogram(ids: np.ndarray) -> np.ndarray:
    """How many pixels have each value."""
    if ids.dtype == np.uint8 and ids.ndim == 2:  # three times as fast as bincount
        return np.array(Image.fromarray(ids).histogram())
    return np.bincount(ids.ravel())


def _shortened(ids: Sequence[int]) -> str:
    ids = [str(i) for i in ids]
    return ", ".join(ids if len(ids) <= _SHOWN_IDS else [*ids[: _SHOWN_IDS - 1], "...", ids[-1]])

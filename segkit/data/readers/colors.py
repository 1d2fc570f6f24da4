"""Masks whose colours are the classes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from segkit.data.places import Place
from segkit.data.readers.formats import Unreadable
from segkit.labels import LabelSpace

_SHOWN = 3  # colours that an error spells out
_NEAR = 40  # distance in RGB of a colour that was meant to be another
_LITTLE = 0.05  # of the pixels
_BLACK, _WHITE = 0, 0xFFFFFF


def ids_of_colors(values: np.ndarray, labels: LabelSpace, path: Place) -> np.ndarray:
    """The id of each pixel's colour, exactly as the palette has it.

    Transparent pixels are an error: some programs mean the background by them, others that
    nobody looked.

    Args:
        values: (H, W, 3) or, with alpha, (H, W, 4) of uint8.
        labels: whose `palette` and `ignore_color` are looked up.
        path: named in errors.

    Returns:
        (H, W) of uint8, or uint16 where an id needs it.

    Raises:
        Unreadable: on a colour that is not in the palette, or twice.
    """
    require_opaque(values, path)
    if values.dtype != np.uint8:
        raise Unreadable(
            f"{path} must have colours of 8 bits, as the palette of classes.json has. Received: "
            f"{values.dtype}. Convert it."
        )
    _require_distinct(labels, path)
    places, ids = _table(labels)
    codes = _codes(values)
    found = places[codes]
    if found.min() == 0:
        raise Unreadable(_strangers(codes, found == 0, labels, path))
    return ids[found]


def require_opaque(values: np.ndarray, path: Place) -> None:
    """Checks that an alpha channel, the last of 2 or 4, hides nothing.

    Raises:
        Unreadable: naming the file and the number of pixels.
    """
    if values.shape[-1] not in (2, 4):
        return
    opaque = np.iinfo(values.dtype).max
    clear = np.count_nonzero(values[..., -1] != opaque)
    if clear:
        raise Unreadable(
            f"{path} is transparent in {clear:,} of {values[..., 0].size:,} pixels, which may mean "
            "background or that nobody looked. Paint them in the colour of what they are, and "
            "save the mask without an alpha channel."
        )


def _require_distinct(labels: LabelSpace, path: Place) -> None:
    owner: dict[tuple[int, ...], str] = {}
    for color, name, _ in _named(labels):
        if color in owner:
            raise Unreadable(
                f"{path} holds colours, but the palette of classes.json gives {color} to "
                f"{owner[color]!r} and to {name!r}. Give each a colour of its own."
            )
        owner[color] = name


def _named(labels: LabelSpace) -> list[tuple[tuple[int, ...], str, int]]:
    named = list(zip(labels.palette, labels.names, range(labels.num_classes)))
    if labels.ignore_color is not None:
        named.append((labels.ignore_color, "ignored pixels", labels.ignore_index))
    return named


@lru_cache(maxsize=8)
def _table(labels: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """(for each of the 2**24 colours its place, 0 for none; for each place the id)."""
    colors, _, ids = zip(*_named(labels))
    # The pages of memory that hold no colour of the palette are never touched.
    places = np.zeros(2**24, np.int32)
    places[_codes(np.array(colors, np.uint8))] = 1 + np.arange(len(colors))
    return places, np.array([0, *ids], np.uint8 if max(ids) < 256 else np.uint16)


def _codes(colors: np.ndarray) -> np.ndarray:
    red, green, blue = (colors[..., band].astype(np.int32) for band in range(3))
    return (red << 16) | (green << 8) | blue


def _strangers(codes: np.ndarray, strange: np.ndarray, labels: LabelSpace, path: Place) -> str:
    """The text of the error; `strange` are the pixels whose colours are not in the palette."""
    found, counts = np.unique(codes[strange], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:_SHOWN]
    colors = [_color(code) for code in found[first]]
    nearest = [_nearest(color, labels) for color in colors]
    listed = [
        f"{color} in {count:,} pixels" + (f" (nearest: {near})" if near else "")
        for color, count, near in zip(colors, counts[first], nearest)
    ]
    more = f"; and {len(found) - _SHOWN:,} colours more" if len(found) > _SHOWN else ""
    ids = [i * 0x010101 for i in range(labels.num_classes)]
    if np.isin(found, ids).all() and np.isin(codes[~strange], ids).all():
        way = "If the values are ids, save one channel of it."
    else:
        way = (
            "Correct the mask, or the palette in classes.json. Many colours along the edges come "
            "from JPEG or from resizing the mask; export it again without."
        )
    unjudged = [
        color
        for color, code, count, near in zip(colors, found[first], counts[first], nearest)
        if code in (_BLACK, _WHITE)
        or (not near and not strange.all() and count < _LITTLE * codes.size)
    ]
    if unjudged and labels.ignore_color is None:
        way = f"{_ignoring(unjudged[0], labels)} {way}"
    return (
        f"{path} may hold only the colours of the palette. Received also: {'; '.join(listed)}"
        f"{more}. {way}"
    )


def _ignoring(color: tuple[int, ...], labels: LabelSpace) -> str:
    index = ' and "ignore_index": 255' if labels.ignore_index is None else ""
    return (
        f"If {color} stands for pixels that nobody judged, "
        f'add "ignore_color": {list(color)}{index} to classes.json.'
    )


def _color(code: int) -> tuple[int, ...]:
    return int(code) >> 16, (int(code) >> 8) & 255, int(code) & 255


def _nearest(color: tuple[int, ...], labels: LabelSpace) -> str:
    """The entry of the palette that is probably meant; "" if none is near."""
    named = _named(labels)
    away = ((np.array([known for known, _, _ in named]) - color) ** 2).sum(-1)
    known, name, _ = named[int(away.argmin())]
    return f"{name!r} {known}" if away.min() < _NEAR**2 else ""

"""Colours of classes."""

from __future__ import annotations

import colorsys
from typing import Sequence

Color = tuple[int, int, int]
Palette = tuple[Color, ...]


def checked(
    palette: Sequence[Sequence[int]] | None,
    count: int,
    background: int | None,
    ordered: bool = False,
) -> Palette:
    """`palette` as tuples; if it is None, drawn from the colour circle, the background black.

    Ordered classes are drawn from dark to bright instead, so that neighbours look alike.

    Raises:
        ValueError: unless it lists one (red, green, blue) in 0-255 for each of `count` classes.
    """
    if palette is None:
        drawn = from_dark_to_bright(count) if ordered else map(on_circle, range(count))
        return tuple((0, 0, 0) if c == background else color for c, color in enumerate(drawn))
    try:
        colors = tuple(tuple(int(v) for v in color) for color in palette)
    except (TypeError, ValueError):
        colors = ()
    if len(colors) != count or any(len(c) != 3 or not 0 <= min(c) <= max(c) < 256 for c in colors):
        raise ValueError(
            f"palette must list one (red, green, blue) in 0-255 for each of the {count} classes. "
            f"Received: {palette!r}."
        )
    return colors


def checked_color(name: str, color: Sequence[int] | None) -> Color | None:
    """`color` as a tuple; None stays None.

    Raises:
        ValueError: unless it is (red, green, blue) in 0-255.
    """
    if color is None:
        return None
    try:
        return checked([color], 1, None)[0]
    except ValueError:
        raise ValueError(
            f"{name} must be (red, green, blue) in 0-255, or None. Received: {color!r}."
        ) from None


def on_circle(c: int) -> tuple[int, int, int]:
    """The colour of class c."""
    # Steps of the golden angle: neighbours in the list are far apart in hue, however many.
    red, green, blue = colorsys.hsv_to_rgb((0.02 + c * 0.61803398875) % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def from_dark_to_bright(count: int) -> Palette:
    """Colours of ordered classes, at equal steps through matplotlib's viridis."""
    from matplotlib import colormaps  # only where it is needed: it takes a while to import

    shares = [c / max(count - 1, 1) for c in range(count)]
    return tuple(tuple(map(int, color[:3])) for color in colormaps["viridis"](shares, bytes=True))

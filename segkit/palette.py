"""Colours of classes."""

from __future__ import annotations

import colorsys
from typing import Sequence

Color = tuple[int, int, int]
Palette = tuple[Color, ...]


def checked(palette: Sequence[Sequence[int]] | None, count: int, background: int | None) -> Palette:
    """`palette` as tuples; drawn from the colour circle, the background black, if it is None.

    Raises:
        ValueError: unless it lists one (red, green, blue) in 0-255 for each of `count` classes.
    """
    if palette is None:
        return tuple((0, 0, 0) if c == background else on_circle(c) for c in range(count))
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

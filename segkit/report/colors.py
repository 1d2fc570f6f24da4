"""Class colours that can be seen on a white page and on a dark one."""

from __future__ import annotations

from typing import Sequence

LIGHT_SURFACE, DARK_SURFACE = (255, 255, 255), (27, 31, 38)  # --surface in report.css
MIN_CONTRAST = 2.5  # below it, thin lines fade into the page


def hex_code(color: Sequence[int]) -> str:
    """(red, green, blue) in 0-255 as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def readable(color: Sequence[int], dark: bool) -> str:
    """The colour, moved towards white or black until a line of it shows on the page.

    Args:
        color: (red, green, blue) in 0-255.
        dark: whether the page is dark.
    """
    surface, end = (DARK_SURFACE, 255) if dark else (LIGHT_SURFACE, 0)
    mixed = tuple(color)
    for step in range(21):
        mixed = tuple(round(v + (end - v) * step / 20) for v in color)
        if contrast(mixed, surface) >= MIN_CONTRAST:
            break
    return hex_code(mixed)


def contrast(one: Sequence[int], other: Sequence[int]) -> float:
    """The contrast ratio of WCAG 2: (brighter + 0.05) / (darker + 0.05), from 1 to 21."""
    darker, brighter = sorted((_luminance(one), _luminance(other)))
    return (brighter + 0.05) / (darker + 0.05)


def _luminance(color: Sequence[int]) -> float:
    linear = [
        v / 255 / 12.92 if v / 255 <= 0.04045 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in color
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

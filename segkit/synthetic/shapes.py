"""Ellipses, rectangles and circles as exact masks.

A pixel belongs to a shape if its centre does, as in scikit-image: pixel (row, column) has its
centre at these very coordinates. Lengths are in pixels, angles in radians.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, Sequence

import numpy as np
from skimage import draw

from segkit.contract import whole_number
from segkit.synthetic import streams

SHAPES = ("ellipse", "rectangle", "circle")  # id mask: 1, 2, 3; 0 is the background


class Shape(NamedTuple):
    """One object: half axes (half sides) `row_radius` and `col_radius`, turned by `angle`.

    With dy, dx the distance from the centre, u = dy cos + dx sin and v = dy sin - dx cos, the
    inside is (u / row_radius)^2 + (v / col_radius)^2 < 1, and for the rectangle
    |u| <= row_radius and |v| <= col_radius.
    """

    kind: str
    row: float
    col: float
    row_radius: float
    col_radius: float
    angle: float = 0.0


def article(n: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """The masks of the article on missing annotations, drawn by scikit-image.

    An ellipse centred at (height/4, width/4) with radii height/6 and width/6, turned by a random
    whole angle of 0-89 degrees; a rectangle centred at (3 height/4, 3 width/4) with half sides
    height/6; a circle at (height/2, width/2) with radius height/6.

    Args:
        n: number of samples. Sample i is the same for every n.
        height, width: pixels.
        seed: whole number from 0 on.

    Returns:
        uint8 (n, 3, height, width), 0 or 1; the planes are ellipse, rectangle, circle.

    Raises:
        ValueError: on a negative number, or an image without pixels.

    Differs: today's `draw.disk` stands for the `draw.circle` of 2018.
    """
    n, seed = whole_number("n", n), whole_number("seed", seed)
    height = whole_number("height", height, least=1)
    width = whole_number("width", width, least=1)
    planes = np.zeros((n, len(SHAPES), height, width), np.uint8)
    for i in range(n):
        placed = article_shapes(height, width, streams.generator(seed, "scenes", "", i))
        for plane, shape in zip(planes[i], placed):
            draw_exactly(plane, shape, 1)
    return planes


def article_shapes(height: int, width: int, rng: np.random.Generator) -> list[Shape]:
    """The three objects of one sample of `article`, in the order of `SHAPES`."""
    angle = float(np.deg2rad(rng.integers(90)))
    side = height / 6
    return [
        Shape("ellipse", height / 4, width / 4, side, width / 6, angle),
        Shape("rectangle", 3 * height / 4, 3 * width / 4, side, side),
        Shape("circle", height / 2, width / 2, side, side),
    ]


def draw_exactly(canvas: np.ndarray, shape: Shape, value: int) -> None:
    """Sets the pixels (H, W) inside `shape` to `value`, in place, by scikit-image.

    A centre right on the outline is outside an ellipse or a circle, and inside a rectangle.
    """
    kind, row, col, a, b, angle = shape
    if kind == "ellipse":
        pixels = draw.ellipse(row, col, a, b, shape=canvas.shape, rotation=angle)
    elif kind == "circle":
        pixels = draw.disk((row, col), a, shape=canvas.shape)
    else:
        # draw.rectangle would round the corners to whole pixels and add a row and a column.
        u, v = np.array([a, a, -a, -a]), np.array([b, -b, -b, b])
        cos, sin = math.cos(angle), math.sin(angle)
        rows, cols = row + u * cos + v * sin, col + u * sin - v * cos
        pixels = draw.polygon(rows, cols, shape=canvas.shape)
    canvas[pixels] = value


def paint(canvas: np.ndarray, shape: Shape, value: int) -> None:
    """Sets the pixels (H, W) inside `shape` to `value`, in place; what lies outside is cut off.

    The same pixels as `draw_exactly` in a fifth of the time, but for centres that lie on the
    outline to within rounding: they may fall either way, which random places never notice.

    An ellipse is where one quadratic form of (row, column) is below 1, and a rectangle where two
    are; a form is evaluated on its whole box as a product of three small matrices.
    """
    kind, row, col, a, b, angle = shape
    if not (a > 0 and b > 0):
        return
    cos, sin = math.cos(angle), math.sin(angle)
    # u / a and v / b in terms of dy and dx.
    uy, ux, vy, vx = cos / a, sin / a, sin / b, -cos / b
    if kind == "rectangle":
        box, place = _box(
            canvas, row, col, abs(a * cos) + abs(b * sin), abs(a * sin) + abs(b * cos)
        )
        inside = _within(box.shape, place, uy * uy, 2 * uy * ux, ux * ux)
        inside &= _within(box.shape, place, vy * vy, 2 * vy * vx, vx * vx)
    else:
        box, place = _box(
            canvas, row, col, math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)
        )
        form = uy * uy + vy * vy, 2 * (uy * ux + vy * vx), ux * ux + vx * vx
        inside = _within(box.shape, place, *form)
    np.copyto(box, value, where=inside)


def _box(canvas: np.ndarray, row: float, col: float, reach_row: float, reach_col: float):
    """The part of the canvas within reach of a place, and that place counted from its corner."""
    top, left = max(math.ceil(row - reach_row), 0), max(math.ceil(col - reach_col), 0)
    bottom, right = math.floor(row + reach_row) + 1, math.floor(col + reach_col) + 1
    # A negative end would count from the far side.
    return canvas[top : max(bottom, 0), left : max(right, 0)], (row - top, col - left)


def _within(size, place, yy: float, yx: float, xx: float) -> np.ndarray:
    """Where yy dy^2 + yx dy dx + xx dx^2 < 1, with dy, dx the distances from `place`."""
    y, x = place
    along_y, along_x = -2 * yy * y - yx * x, -2 * xx * x - yx * y
    constant = yy * y * y + yx * y * x + xx * x * x - 1
    form = np.array((0.0, 0.0, yy, 0.0, yx, along_y, xx, along_x, constant)).reshape(3, 3)
    # dot: half the overhead of @ on matrices this small.
    return _powers(size[0]).dot(form.dot(_powers(size[1]).T)) < 0


@functools.lru_cache(maxsize=256)
def _powers(count: int) -> np.ndarray:
    """float64 (count, 3): k^2, k and 1 for k = 0 .. count - 1."""
    k = np.arange(float(count))
    return np.stack([k * k, k, np.ones(count)], axis=1)


def id_mask(shapes: Sequence[Shape], height: int, width: int) -> np.ndarray:
    """Class ids uint8 (H, W): 0 background, 1 + the place in `SHAPES`; later covers earlier."""
    mask = np.zeros((height, width), np.uint8)
    for shape in shapes:
        paint(mask, shape, 1 + SHAPES.index(shape.kind))
    return mask

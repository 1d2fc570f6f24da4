"""Shapes that belong to no class: a model that marks every blob must not get away with it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from segkit.synthetic.shapes import Shape

_SHIFT = 4  # fractional bits of the coordinates that OpenCV gets


def _ring(*radii: float) -> np.ndarray:
    """Corners (n, 2) at these distances from the centre, at equal angles."""
    angles = 2 * math.pi * np.arange(len(radii)) / len(radii)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


def _scaled(corners: np.ndarray) -> np.ndarray:
    """The polygon with the area of the unit disc, so that no distractor stands out by its size."""
    (x, y), (x_next, y_next) = corners.T, np.roll(corners, -1, axis=0).T
    return corners * math.sqrt(math.pi / (0.5 * abs(np.sum(x * y_next - x_next * y))))


def _homogeneous(corners: np.ndarray) -> np.ndarray:
    """(n, 3): x, y and 1, so that turning, scaling and moving are one product."""
    return np.column_stack([corners, np.ones(len(corners))])


_ARM = np.array([[1, 3], [-1, 3], [-1, 1], [-3, 1], [-3, -1], [-1, -1]], float)
_POLYGONS = {
    "triangle": _ring(1, 1, 1),
    "cross": np.concatenate([_ARM, -_ARM]),
    "star": _ring(*[1, 0.4] * 5),
}
_CORNERS = {name: _homogeneous(_scaled(corners)) for name, corners in _POLYGONS.items()}
DISTRACTORS = tuple(_CORNERS)


def paint(canvas: np.ndarray, shape: Shape, value: int) -> None:
    """Sets the pixels (H, W) of a triangle, cross or star to `value`, in place.

    `shape.row_radius` is the radius of the disc of the same area. Drawn by OpenCV, which counts
    the outline in: half a pixel more than the exact shape, which nobody asks for here.
    """
    unit = 1 << _SHIFT
    scale = unit * shape.row_radius
    cos, sin = scale * math.cos(shape.angle), scale * math.sin(shape.angle)
    placing = np.array((cos, sin, -sin, cos, unit * shape.col, unit * shape.row)).reshape(3, 2)
    corners = np.rint(_CORNERS[shape.kind].dot(placing)).astype(np.int32)
    cv2.fillPoly(canvas, [corners], value, shift=_SHIFT)

"""The image under the colours of its classes."""

from __future__ import annotations

import io
import math
from functools import partial
from pathlib import Path
from typing import ContextManager

import cv2
import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from segkit.data.places import Place
from segkit.data.rasters.saving import Strips, strips
from segkit.data.rasters.sinks import Blocks
from segkit.data.rasters.writing import suffix_of
from segkit.labels import LabelSpace

OVERLAY_SUFFIXES = (".png", ".jpg", ".jpeg")

_QUALITY = 92  # of JPEG
_BLOCK, _ROWS = 2**21, 512  # pixels and rows that are blended at once


def write_overlay(
    path: Place,
    shape: tuple[int, int],
    labels: LabelSpace,
    opacity: float = 0.5,
    contours: bool = True,
    largest: int = 4096,
) -> ContextManager[Strips]:
    """Writes the image with the colours of its classes over it, to be looked at.

    A pixel of the classes S (one, or those of its planes) with the mean colour c becomes
    (1 - opacity) x + opacity c; where there is only background it stays as it is. Images with an
    edge above `largest` are made smaller by a whole factor: of each square, the mean of the image
    under the mean of the colours. Contours are those of the pixels in the middle of the squares.

    Args:
        path: one of `OVERLAY_SUFFIXES`; see `write_ids`.
        shape: (H, W) of the image.
        labels: colours, and which class is the background.
        opacity: of the colours, in [0, 1].
        contours: whether to draw the edges of the areas in the full colour.
        largest: edge of what is written, in pixels.

    Returns:
        a context manager of an object on which `.write(rows, image, ids)` is called with strips of
        the image, (h, W, K) of uint8 or float in [0, 1] (with 3 or more bands, the first three
        are shown; else the first), and ids (h, W), or planes (h, W, C) of 0 and 1.

    Raises:
        ValueError: for another ending or an opacity outside [0, 1]. OSError: naming the file, if
            it cannot be written.
    """
    suffix_of(path, OVERLAY_SUFFIXES, "overlays")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must lie in [0, 1]. Received: {opacity!r}.")
    sink = partial(
        _Overlay,
        path,
        shape,
        labels,
        opacity,
        contours,
        factor=max(1, math.ceil(max(shape) / largest)),
    )
    return strips(path, shape[0], sink, partial(_require_strip, path, shape[1], labels))


class _Overlay:
    """Blends, makes smaller, and holds the small picture until the end.

    Args:
        path: the file as the user named it, whose ending tells the format.
        unfinished: where to write.
        factor: edge of the squares that become a pixel.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int],
        labels: LabelSpace,
        opacity: float,
        contours: bool,
        unfinished: Path,
        factor: int,
    ):
        self._format = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        self._unfinished, self._opacity, self._factor = unfinished, opacity, factor
        self._shown = np.arange(labels.num_classes) != labels.background
        self._palette = np.array([(*color, 255) for color in labels.palette], np.uint8)
        self._palette[~self._shown] = 0
        small = [-(-edge // factor) for edge in shape]
        self._picture = np.empty((*small, 3), np.uint8)
        self._solid = np.zeros((*small, 3), np.uint8)
        self._codes = np.zeros(small, np.uint32) if contours else None
        self._shape = shape
        self._height = max(1, min(_BLOCK // shape[1], _ROWS) // factor) * factor
        self._blocks: tuple[Blocks, Blocks] | None = None

    def put(self, image: np.ndarray, ids: np.ndarray) -> None:
        """A strip of both."""
        if self._blocks is None:
            bytes_, more = np.dtype("uint8"), ids.shape[2:]
            self._blocks = (
                Blocks((*self._shape, 3), bytes_, self._height),
                Blocks((*self._shape, *more), bytes_ if more else ids.dtype, self._height),
            )
        images, annotations = self._blocks
        pairs = zip(images.add(_visible(image)), annotations.add(ids), strict=True)
        for (top, colors), (_, classes) in pairs:
            self._draw(top // self._factor, colors, classes)

    def close(self) -> None:
        """Draws the contours and writes the picture."""
        if self._codes is not None:
            for top in range(0, len(self._codes), _ROWS):  # with a row of the neighbours
                above = max(0, top - 1)
                edges = find_boundaries(self._codes[above : top + _ROWS + 1], mode="inner")
                edges = edges[top - above :][:_ROWS]
                rows = slice(top, top + _ROWS)
                self._picture[rows][edges] = self._solid[rows][edges]
        # Pillow, given a file, does not notice that a disk is full.
        encoded = io.BytesIO()
        Image.fromarray(self._picture).save(encoded, self._format, quality=_QUALITY)
        self._unfinished.write_bytes(encoded.getbuffer())

    def abort(self) -> None:
        """Nothing is open."""

    def _draw(self, top: int, image: np.ndarray, ids: np.ndarray) -> None:
        """A block of rows of the large image, from row `top` of the small one."""
        image, ids = (_padded(part, self._factor) for part in (image, ids))
        colors = self._colors(ids)
        small = cv2.resize if self._factor > 1 else lambda values, *_, **__: values
        size = image.shape[1] // self._factor, len(image) // self._factor
        image = small(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        mean = small(colors, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        # The last band is how much of a pixel the colours cover, the others hold them times that.
        blended = image * (1 - self._opacity / 255 * mean[..., 3:]) + self._opacity * mean[..., :3]
        rows = slice(top, top + size[1])
        self._picture[rows] = np.rint(blended)
        if self._codes is not None:
            middle = slice(self._factor // 2, None, self._factor)
            self._solid[rows] = colors[middle, middle, :3]
            there = colors[middle, middle, 3] > 0
            self._codes[rows] = there * _codes(ids[middle, middle])

    def _colors(self, ids: np.ndarray) -> np.ndarray:
        """(h, w, 4) of uint8: the colour of the classes of each pixel, and 255; else zeros."""
        if ids.ndim == 2:
            return self._palette[ids]
        planes = (ids != 0) & self._shown
        count = np.maximum(planes.sum(-1, dtype=np.float32), 1)
        return np.rint(planes.astype(np.float32) @ self._palette / count[..., None]).astype(
            np.uint8
        )


def _visible(image: np.ndarray) -> np.ndarray:
    """(h, w, 3) of uint8."""
    image = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    if image.dtype != np.uint8:
        image = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))


def _padded(values: np.ndarray, factor: int) -> np.ndarray:
    """Rows and columns repeated at the end until they are multiples of `factor`."""
    missing = [(0, -size % factor) for size in values.shape[:2]]
    return np.pad(values, missing + [(0, 0)] * (values.ndim - 2), mode="edge")


def _codes(ids: np.ndarray) -> np.ndarray:
    """A number for each class, or for each set of classes; 0 is kept for none."""
    if ids.ndim == 2:
        return ids.astype(np.uint32) + 1
    # Sets of classes get one number by chance only once in billions.
    factors = np.random.default_rng(0).integers(1, 2**32, ids.shape[-1], np.uint32)
    return (ids != 0).astype(np.uint32) @ factors


def _require_strip(
    path: Place, width: int, labels: LabelSpace, image: np.ndarray, ids: np.ndarray
) -> None:
    planes = ids.ndim == 3 and ids.shape[2] == labels.num_classes
    if image.ndim != 3 or image.shape[1] != width or ids.shape[:2] != image.shape[:2]:
        fits = False
    else:
        fits = planes or (ids.ndim == 2 and ids.dtype.kind in "ui")
    if not fits or (not planes and (ids.min() < 0 or ids.max() >= labels.num_classes)):
        raise ValueError(
            f"{path} needs strips of the image (h, {width}, K), and of ids (h, {width}) in "
            f"0..{labels.num_classes - 1} or planes (h, {width}, {labels.num_classes}). Received: "
            f"{image.shape} and {ids.dtype} {ids.shape}."
        )

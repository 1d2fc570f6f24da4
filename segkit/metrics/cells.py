"""Which cells, and which pixels of them, the annotation settles.

A *cell* is one class in one image. It is known if the annotation settles the class at every
judged pixel of the image. A cell that nobody looked at is left out whole, not only its unknown
pixels: what is left of such an image are objects of other classes, where the class can be
predicted wrongly but never rightly, and its score would sink for no fault of the model.

Independent classes (`exclusive=False`) are judged each on its own: a pixel is judged for a class if
the class is not UNKNOWN there. A prediction of theirs is planes, (B, H, W, C), instead of ids.
"""

from __future__ import annotations

from typing import Any, Iterator

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, backend_of, judged_pixels


def known_cells(target: Any, exclusive: bool = True) -> Any:
    """Which cells the annotation settles: target (B, H, W, C) -> bool (B, C). NumPy or tensors.

    A pixel settles a class if the class is not UNKNOWN there and, being the label, has no
    unknown rival: background that may hide an unannotated object settles neither of the two.
    An image without a judged pixel knows nothing.

    Independent classes: a cell is known if a pixel of it is judged. Where pixels are labelled and
    all others UNKNOWN, somebody outlined an object, and nobody looked for the rest: not known.
    """
    xp = backend_of(target)
    open_ = xp.any(unsettled(target, exclusive), axis=(1, 2))
    if not exclusive:
        ruled_out = xp.any(xp.equal(target, RULED_OUT), axis=(1, 2))
        return xp.logical_or(ruled_out, xp.logical_not(open_))
    judged = judged_pixels(target)[..., None]
    return xp.logical_and(xp.any(judged, axis=(1, 2)), xp.logical_not(open_))


def unsettled(target: Any, exclusive: bool = True) -> Any:
    """Judged pixels that may or may not belong to a class: bool (B, H, W, C). NumPy or tensors.

    Independent classes: the UNKNOWN pixels of cells that nobody looked at. In others they are
    ignored: a class that was looked for is ruled out wherever it is not labelled.
    """
    xp = backend_of(target)
    unknown = xp.equal(target, UNKNOWN)
    if not exclusive:
        looked = xp.any(xp.equal(target, RULED_OUT), axis=(1, 2), keepdims=True)
        return xp.logical_and(unknown, xp.logical_not(looked))
    doubtful = xp.logical_and(xp.equal(target, LABELLED), xp.any(unknown, -1, keepdims=True))
    return xp.logical_and(judged_pixels(target)[..., None], xp.logical_or(unknown, doubtful))


def judged_cells(target: Any, exclusive: bool = True) -> Any:
    """Judged pixels of known cells: bool (B, H, W, C). NumPy or tensors."""
    xp = backend_of(target)
    judged = judged_pixels(target)[..., None] if exclusive else xp.not_equal(target, UNKNOWN)
    return xp.logical_and(judged, known_cells(target, exclusive)[:, None, None, :])


def each_cell(target: np.ndarray, exclusive: bool = True) -> Iterator[tuple[int, int, np.ndarray]]:
    """Image, class and judged pixels, bool (H, W), of each known cell."""
    looked = judged_cells(target, exclusive)
    for b, c in np.argwhere(known_cells(target, exclusive)):
        yield int(b), int(c), looked[b, ..., c]

"""From masks on disk and the list of annotated classes to the target that losses read."""

from __future__ import annotations

from typing import Any

import numpy as np

from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, backend_of, dtype_name, shape_text
from segkit.labels import LabelSpace


def encode(masks: Any, annotated: Any, labels: LabelSpace) -> Any:
    """Encodes masks into the three-state target: LABELLED 1, RULED_OUT 0, UNKNOWN -1.

    Classes that exclude each other, per pixel with id y in an image with annotated classes A:

        target[c] =  1  if y = c
                    -1  if y = ignore_index
                    -1  if y is the background and c is not in A
                    -1  if y is a coarse label and c is one of its members
                     0  otherwise

    Independent classes (`labels.exclusive` False), each plane on its own: 1 where it is set,
    -1 where it is ignore_index or where it is not set and nobody looked, else 0.

    A pixel that carries the label of an unannotated class keeps it: to have outlined one object
    is knowledge about these pixels, and none about the rest of the image.

    Args:
        masks: integers (B, H, W); independent classes: 0/1 planes (B, H, W, C).
        annotated: bool (B, C): was anyone looking for this class in this image?
        labels: the label space.

    Returns:
        int8 (B, H, W, C). NumPy arrays give a NumPy array, tensors a tensor (in tf.data too).

    Raises:
        ValueError: on a shape or dtype that does not fit, on an id that `labels` does not know,
            and if the background is declared unannotated. Inside a compiled graph, where values
            are not there yet, the last two become `tf.debugging` assertions.
    """
    xp = backend_of(masks)
    if xp is np:
        masks, annotated = np.asarray(masks), np.asarray(annotated)
    _check_form(masks, annotated, labels)
    _check_values(masks, annotated, labels)
    unannotated = xp.logical_not(annotated)[:, None, None, :]
    if not labels.exclusive:
        return _independent(xp, masks if xp is np else xp.cast(masks, "int32"), unannotated, labels)
    # The rules are applied once to every id there is, and each pixel looks its states up.
    ids, row_of = _rows(labels)
    table = _exclusive(xp, ids[None, None], unannotated, labels)[:, 0]
    if xp is np:
        return table[np.arange(len(masks))[:, None, None], row_of[masks]]
    images = xp.arange(xp.shape(masks)[0])[:, None, None]
    rows = xp.take(row_of, xp.cast(masks, "int32"), axis=0) + len(ids) * images
    return xp.take(xp.reshape(table, (-1, labels.num_classes)), rows, axis=0)


def _rows(labels: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """The known ids, and for each value up to the largest its place among them; -1 is none."""
    ids = np.array(known_ids(labels), "int32")
    row_of = np.full(ids[-1] + 1, -1, "int32")
    row_of[ids] = np.arange(len(ids))
    return ids, row_of


def _exclusive(xp, masks, unannotated, labels: LabelSpace):
    masks = masks[..., None]
    classes = np.arange(labels.num_classes, dtype="int32")
    unknown = unannotated & (masks == _id_or_never(labels.background)) & (classes >= 0)
    unknown = unknown | (masks == _id_or_never(labels.ignore_index))
    for entry in labels.coarse:
        unknown = unknown | ((masks == entry.id) & np.isin(labels.names, entry.members))
    return _states(xp, masks == classes, unknown)


def _independent(xp, planes, unannotated, labels: LabelSpace):
    ignored = planes == _id_or_never(labels.ignore_index)
    return _states(xp, planes == 1, unannotated | ignored)


def _states(xp, labelled, unknown):
    # `labelled` comes first: the background stays labelled where other classes are unknown.
    states = xp.where(labelled, LABELLED, xp.where(unknown, UNKNOWN, RULED_OUT))
    return states.astype("int8") if xp is np else xp.cast(states, "int8")


def _id_or_never(label: int | None) -> int:
    return -1 if label is None else label


def _check_form(masks, annotated, labels: LabelSpace) -> None:
    if not dtype_name(masks).startswith(("int", "uint")):
        raise ValueError(
            f"Masks hold integer ids. Received: dtype {dtype_name(masks)}. "
            "Convert them with masks.astype('int32') if they are whole numbers."
        )
    form = "(B, H, W)" if labels.exclusive else "(B, H, W, C)"
    rank = 3 if labels.exclusive else 4
    wrong_planes = not labels.exclusive and masks.shape[-1] != labels.num_classes
    if len(masks.shape) != rank or wrong_planes:
        raise ValueError(
            f"Masks of {'exclusive' if labels.exclusive else 'independent'} classes have the shape "
            f"{form}, with C = {labels.num_classes}. Received: {shape_text(masks)}. "
            "A single image needs a leading dimension: masks[None]."
        )
    if dtype_name(annotated) != "bool":
        raise ValueError(
            f"annotated is a table of booleans (B, C). Received: dtype {dtype_name(annotated)}. "
            "One row an image, True where somebody looked for the class."
        )
    batch, classes = masks.shape[0], labels.num_classes
    fits = len(annotated.shape) == 2 and annotated.shape[1] == classes
    if not fits or (None not in (batch, annotated.shape[0]) and batch != annotated.shape[0]):
        raise ValueError(
            f"annotated needs one row an image and one column a class, ({batch}, {classes}) here. "
            f"Received: {shape_text(annotated)}. The classes are: {', '.join(labels.names)}."
        )


def _check_values(masks, annotated, labels: LabelSpace) -> None:
    try:
        values = np.asarray(masks)
        looked = np.asarray(annotated)
    except (NotImplementedError, TypeError, ValueError):
        values = None  # a symbolic tensor of TensorFlow, or a tracer of JAX
    except Exception as error:  # JAX has error classes of its own, and may not be installed
        if type(error).__module__.split(".")[0] != "jax":
            raise
        values = None
    if values is None:
        _assert_in_graph(masks, annotated, labels)
        return
    _, row_of = _rows(labels)
    inside = values.size == 0 or (values.min() >= 0 and values.max() < len(row_of))
    if not inside or (row_of[values] < 0).any():
        stray = np.setdiff1d(values, known_ids(labels))
        raise ValueError(f"{_stray_text(labels)} Received: {stray[:10].tolist()}.")
    if labels.background is not None and not looked[:, labels.background].all():
        raise ValueError(
            f"{_background_text(labels)} "
            f"Received: False in image {int(np.argmin(looked[:, labels.background]))}."
        )


def shown(mask: np.ndarray, labels: LabelSpace) -> np.ndarray:
    """bool (C,): the classes that a mask (H, W), or planes (H, W, C), have a pixel of."""
    if not labels.exclusive:
        return (mask == 1).any((0, 1))
    return np.isin(np.arange(labels.num_classes), np.flatnonzero(np.bincount(mask.ravel())))


def known_ids(labels: LabelSpace) -> list[int]:
    """Every value that a mask in this label space may hold, in ascending order."""
    classes = range(labels.num_classes) if labels.exclusive else (0, 1)
    special = [] if labels.ignore_index is None else [labels.ignore_index]
    return sorted({*classes, *special, *(entry.id for entry in labels.coarse)})


def _stray_text(labels: LabelSpace) -> str:
    return (
        f"Masks may hold the ids {_ranges(known_ids(labels))} "
        f"({labels.num_classes} classes, ignore_index {labels.ignore_index}). "
        "Correct the masks, or name the id in classes.json."
    )


def _background_text(labels: LabelSpace) -> str:
    return (
        f"The background ({labels.names[labels.background]!r}) is what is left when the annotated "
        "classes are outlined, so it must be annotated in every image. "
        "Set annotated[:, background] = True."
    )


def _ranges(ids: list[int]) -> str:
    parts: list[list[int]] = []
    for i in ids:
        if parts and parts[-1][1] == i - 1:
            parts[-1][1] = i
        else:
            parts.append([i, i])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _assert_in_graph(masks, annotated, labels: LabelSpace) -> None:
    import keras

    if keras.backend.backend() != "tensorflow" and "tensorflow" not in type(masks).__module__:
        return  # JAX has no assertions inside jit; encode outside it to have the values checked
    import tensorflow as tf

    (_, row_of), ids = _rows(labels), tf.cast(masks, tf.int32)
    inside = (ids >= 0) & (ids < len(row_of))
    fits = inside & (tf.gather(row_of, tf.where(inside, ids, 0)) >= 0)
    tf.debugging.Assert(tf.reduce_all(fits), [_stray_text(labels)])
    if labels.background is not None:
        looked = tf.reduce_all(annotated[:, labels.background])
        tf.debugging.Assert(looked, [_background_text(labels)])

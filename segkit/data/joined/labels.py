"""The label space that data sets with different classes are brought into."""

from __future__ import annotations

import re
from typing import Any, Iterator, Mapping, Sequence

from segkit.data.fitting import with_ignore_index
from segkit.data.joined.mapping import BACKGROUND, IGNORE, ids_by_name
from segkit.labels import LabelSpace


def joint_labels(
    names: Sequence[str],
    background: str | int | None = BACKGROUND,
    ignore_index: int | None = 255,
    coarse: Sequence[Mapping[str, Any]] = (),
    palette: Sequence[Sequence[int]] | None = None,
    values: Sequence[float] | None = None,
    unit: str | None = None,
) -> LabelSpace:
    """A label space with an ignore index, whose names do not clash with the words of `ids`.

    Args:
        names: class names, in the order of their ids.
        background: name or id of the class for what nobody outlined, or None.
        ignore_index, palette, values, unit: see `LabelSpace`.
        coarse: labels that stand for several classes: each a name, its members, and an id if a
            certain one is wanted.

    Raises:
        ValueError: naming what does not fit together.
    """
    _require_lists(names, coarse)
    if isinstance(background, str):
        if background not in names:
            raise ValueError(
                f"names must hold the background {background!r}. Received: {names!r}. Add it, name "
                "the class that stands for what nobody outlined with background=NAME, or pass "
                "background=null where every pixel was given a class of its own."
            )
        background = list(names).index(background)
    free = _free_ids(len(names), ignore_index, coarse)
    numbered = [{"id": next(free), **entry} if "id" not in entry else entry for entry in coarse]
    order = {"palette": palette, "values": values, "unit": unit}
    labels = LabelSpace(names, background, ignore_index, coarse=numbered, **order)
    there = ids_by_name(labels)
    if IGNORE in there or there.get(BACKGROUND, background) != background:
        raise ValueError(
            f"In ids, {IGNORE!r} stands for no class and {BACKGROUND!r} for the background. "
            f"Received: {', '.join(there)}, with background={background!r}. Rename that class."
        )
    return with_ignore_index(labels)


def all_names(
    data_sets: Sequence[tuple[LabelSpace, Mapping[int, str]]],
    background: str | int | None,
    coarse: Sequence[Mapping[str, Any]],
) -> list[str]:
    """The background and every class of the data sets, under their joint names.

    Args:
        data_sets: the label space of each data set, and the names that its ids go to.
        background: the name of the joint background, or None.
        coarse: the joint coarse labels, which are no classes.

    Raises:
        ValueError: if two names differ in nothing but case, spaces, - and _, or if the background
            is given by an id.
    """
    _require_lists([], coarse)
    if isinstance(background, int):
        raise ValueError(
            f"Without names, background must be a name, or null. Received: {background!r}."
        )
    names = [] if background is None else [background]
    others = {BACKGROUND, IGNORE, *(entry.get("name") for entry in coarse)}
    for labels, given in data_sets:
        for c, own in enumerate(labels.names):
            is_background = c == labels.background and background is not None
            name = given.get(c, BACKGROUND if is_background else own)
            if name not in names and name not in others:
                names.append(name)
    alike: dict[str, str] = {}
    for name in names:
        other = alike.setdefault(re.sub(r"[\s_-]", "", name.casefold()), name)
        if other != name:
            raise ValueError(
                f"Are {other!r} and {name!r} one class? Map one to the other in ids, or list the "
                "joint classes in names."
            )
    return names


def joint_values(
    data_sets: Mapping[str, tuple[LabelSpace, Mapping[int, str]]],
    names: Sequence[str],
    background: str | int | None = BACKGROUND,
) -> tuple[list[float] | None, str | None]:
    """What the joint classes stand for, and in which unit, where the data sets say so.

    Args:
        data_sets: by name, the label space and the joint names that its ids go to.
        names: the joint classes.
        background: name or id of the joint background.

    Returns:
        values and unit; None where there is a class of which no data set says it.

    Raises:
        ValueError: if two data sets differ in a value or the unit.
    """
    names = list(names)
    background = names[background] if isinstance(background, int) else background
    found: dict[str, tuple[float, str | None, str]] = {}
    for origin, (labels, given) in data_sets.items():
        for c, value in enumerate(labels.values or ()):
            own = BACKGROUND if c == labels.background else labels.names[c]
            name = given.get(c, own)
            name = background if name == BACKGROUND else name
            before = found.setdefault(name, (value, labels.unit, origin))
            if name in names and before[:2] != (value, labels.unit):
                raise ValueError(
                    f"{before[2]} and {origin} say that {name!r} stands for another value. "
                    f"Received: {before[0]:g} {before[1] or ''} and {value:g} {labels.unit or ''}. "
                    "Give the joint data.values and data.unit, or map different classes to "
                    "different names in ids."
                )
    if any(name not in found for name in names):
        return None, None
    return [found[name][0] for name in names], found[names[0]][1]


def _require_lists(names: Any, coarse: Any) -> None:
    if not isinstance(names, (list, tuple)):
        raise ValueError(f"names must be a list of class names. Received: {names!r}.")
    if not isinstance(coarse, (list, tuple)) or not all(isinstance(e, Mapping) for e in coarse):
        raise ValueError(
            "coarse must be a list such as [{name: vehicle, members: [car, truck]}]. "
            f"Received: {coarse!r}."
        )


def _free_ids(
    classes: int, ignore_index: int | None, coarse: Sequence[Mapping[str, Any]]
) -> Iterator[int]:
    """Ids from `classes` on that nothing else has."""
    taken = {ignore_index, *(entry.get("id") for entry in coarse)}
    return (i for i in range(classes, classes + len(coarse) + len(taken)) if i not in taken)

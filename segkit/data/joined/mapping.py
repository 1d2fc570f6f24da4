"""From the label space of one data set to a joint one: where its ids go, what it annotated."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from segkit.labels import LabelSpace
from segkit.targets import known_ids

BACKGROUND = "background"  # in `ids`: the joint background, whatever its name
IGNORE = "ignore"
_WAY_OUT = (
    "Say in ids where each of them goes: to a class or coarse label of the joint data set, to "
    f"{BACKGROUND!r} (no class that this data set annotates is in there), or to {IGNORE!r}."
)

Ids = Mapping[int | str, str]


class LabelMap:
    """Brings the masks and declarations of one data set into a joint label space.

    Each id goes to a joint class, a coarse label, the background, or is ignored. Let S(j) be the
    classes of the data set that may hold joint class j: those that go to j, or to a coarse label
    with j among its members. Then, in each image,

        annotated[j] = S(j) is not empty, and every class in S(j) was annotated

    so nothing is ruled out that the data set did not rule out: a class that it does not have may
    be anywhere in its background (unless `ids` sends the background to a class: to say that it is
    that class is to say that it is no other). S(j) is taken to be all of j. Where it is only a part
    (cars of a data set without trucks, gone to "vehicle"), leave j out of `annotated`.

    Args:
        labels: of the data set; its classes exclude each other.
        joint: the joint label space, with an ignore index.
        ids: {id or name of a class or coarse label of the data set: where it goes}. Those left
            out go where the name is the same, and the background to the joint background.
        annotated: names of joint classes, or of coarse labels for all their members. Classes that
            are not among them count as unannotated, whatever was declared for the images; those
            among them that the data set does not have, as looked for and absent in all images.

    Raises:
        ValueError: on a name or an id that is not there, and naming what has nowhere to go.
    """

    def __init__(
        self,
        labels: LabelSpace,
        joint: LabelSpace,
        ids: Ids | None = None,
        annotated: Sequence[str] | None = None,
    ):
        if not labels.exclusive:
            raise ValueError(
                "Only classes that exclude each other can be joined. Received: exclusive=False. "
                "Set it to true in classes.json, if no two of them overlap."
            )
        self.labels, self.joint = labels, joint
        goes_to = _destinations(labels, joint, ids or {})
        self._table = np.full(max(goes_to) + 1, joint.ignore_index)
        self._table[list(goes_to)] = list(goes_to.values())
        self._table = self._table.astype(np.uint8 if max(known_ids(joint)) < 256 else np.uint16)
        self.may_hold = np.zeros((joint.num_classes, labels.num_classes), bool)
        for c in range(labels.num_classes):
            self.may_hold[_classes(goes_to[c], joint), c] = True
        self.annotates = self.may_hold.any(axis=1)
        if annotated is not None:
            self.annotates = np.zeros(joint.num_classes, bool)
            for name in annotated:
                self.annotates[_classes(_joint_id(name, joint, "annotated"), joint)] = True
        if joint.background is not None:
            self.may_hold[joint.background] = False
            self.annotates[joint.background] = True

    def annotated(self, annotated: np.ndarray) -> np.ndarray:
        """bool (C,) of the data set -> bool (C,) of the joint label space."""
        return self.annotates & ~(self.may_hold & ~annotated).any(axis=1)

    def mask(self, mask: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        """Ids (H, W) of an image with these annotated classes, bool (C,) -> joint ids (H, W).

        A background that goes to a class is ignored in images in which another class was not
        annotated: a pixel may then be either, and no joint id says that.
        """
        moved, background = self._table[mask], self.labels.background
        if background is None or self._table[background] == self.joint.background:
            return moved
        hidden = self._table[: len(annotated)][~annotated]
        if not np.isin(hidden, (self._table[background], self.joint.ignore_index)).all():
            moved[mask == background] = self.joint.ignore_index
        return moved


def ids_by_name(labels: LabelSpace) -> dict[str, int]:
    """{name: id} of the classes and the coarse labels."""
    classes = {name: c for c, name in enumerate(labels.names)}
    return classes | {entry.name: entry.id for entry in labels.coarse}


def by_id(labels: LabelSpace, ids: Ids) -> dict[int, str]:
    """`ids` with names replaced by the ids that masks hold.

    Raises:
        ValueError: if there is no such id or name, one stands twice, or goes to no name.
    """
    there = ids_by_name(labels)
    given: dict[int, str] = {}
    for key, name in ids.items():
        # The command line makes text of numbers: +data.sources.a.ids.2=kidney
        c = there.get(key, int(key) if key.isdecimal() else key) if isinstance(key, str) else key
        if isinstance(c, bool) or c not in known_ids(labels):
            listed = ", ".join(f"{i} ({n})" for n, i in there.items())
            raise ValueError(
                f"ids may name what the masks of this data set hold: {listed}. Received: {key!r}."
            )
        if c in given or not isinstance(name, str):
            raise ValueError(
                f"ids sends everything to one joint name. Received: {key!r} in {dict(ids)!r}."
            )
        given[c] = name
    return given


def _destinations(labels: LabelSpace, joint: LabelSpace, ids: Ids) -> dict[int, int]:
    """Where each id goes that a mask of the data set may hold."""
    goes_to = {c: _joint_id(name, joint, "ids") for c, name in by_id(labels, ids).items()}
    if labels.ignore_index is not None:
        goes_to.setdefault(labels.ignore_index, joint.ignore_index)
    there = ids_by_name(joint)
    lost = []
    for name, c in ids_by_name(labels).items():
        if c in goes_to:
            continue
        if c == labels.background and joint.background is not None:
            if there.get(name, joint.background) != joint.background:
                raise ValueError(
                    f"{name!r} is the background of this data set, and a class of the joint one "
                    f"beside its background {joint.names[joint.background]!r}. Say in ids where "
                    f"it goes: {name!r} or {BACKGROUND!r}."
                )
            goes_to[c] = joint.background
        elif name in there:
            goes_to[c] = there[name]
        else:
            lost.append(name)
    if lost:
        raise ValueError(
            f"The joint data set has {', '.join(there)}. Received also: {', '.join(lost)}. "
            f"{_WAY_OUT}"
        )
    return goes_to


def _joint_id(name: Any, joint: LabelSpace, where: str) -> int:
    """The joint id that a name in the configuration means."""
    there = {IGNORE: joint.ignore_index} if where == "ids" else {}
    if joint.background is not None:
        there[BACKGROUND] = joint.background
    there |= ids_by_name(joint)
    if not isinstance(name, str) or name not in there:
        raise ValueError(f"{where} may say {', '.join(there)}. Received: {name!r}.")
    return there[name]


def _classes(joint_id: int, joint: LabelSpace) -> list[int]:
    """The classes that a pixel with this joint id may belong to; none if it is ignored."""
    for entry in joint.coarse:
        if entry.id == joint_id:
            return [joint.index(member) for member in entry.members]
    return [] if joint_id == joint.ignore_index else [joint_id]

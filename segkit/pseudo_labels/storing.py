"""Decisions as masks: partly known pixels become coarse labels, so that nothing known is lost."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit.coarse import MAX_ID, CoarseLabel
from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, candidates, judged_pixels
from segkit.labels import LabelSpace
from segkit.pseudo_labels.deciding import Decision

DOUBTS = ("coarse", "ignore", "unknown")
_MOST = 4000  # coarse labels; an image that needs more stays as it was
_IGNORE = 2  # of independent classes, where classes.json has no ignore index; 255 may mean "there"
_SET = 255  # beside 0 alone it is what planes may hold in place of 1


class Stored(NamedTuple):
    """mask: ids (H, W), or planes (H, W, C). annotated: bool (C,)."""

    mask: np.ndarray
    annotated: np.ndarray


class Vocabulary:
    """The ids of a data set that grows by coarse labels, one for each set of open candidates.

    Args:
        labels: the label space of the given masks.
        doubt: what becomes of a pixel that is still open where its class was decided elsewhere in
            the image. coarse: an id that means "one of these", which says all that is known;
            ignore: the ignore index, which forgets what the others are not; unknown: the class
            stays undeclared in the whole image.

    Raises:
        ValueError: if there is no such way, or no ignore index for it.
    """

    def __init__(self, labels: LabelSpace, doubt: str = "coarse"):
        if doubt not in DOUBTS:
            raise ValueError(f"doubt must be one of {', '.join(DOUBTS)}. Received: {doubt!r}.")
        if doubt == "ignore" and labels.exclusive and labels.ignore_index is None:
            raise ValueError(
                "doubt=ignore needs an ignore_index in classes.json. Received: none. Take "
                "doubt=coarse."
            )
        self._given, self._doubt = labels, doubt
        self._coarse = list(labels.coarse)
        self._ids = {frozenset(entry.members): entry.id for entry in labels.coarse}

    @property
    def labels(self) -> LabelSpace:
        """The label space of the masks stored so far."""
        given = self._given.to_dict() | {"coarse": self._coarse}
        given.pop("num_classes")
        if not self._given.exclusive and self._given.ignore_index is None:
            given["ignore_index"] = _IGNORE
        return LabelSpace(given.pop("names"), **given)

    def store(
        self, mask: np.ndarray, annotated: np.ndarray, decision: Decision, fillable: np.ndarray
    ) -> Stored | None:
        """The mask and the declaration of an image; None if nothing can be said that is new.

        Args:
            mask: as given, ids (H, W) or planes (H, W, C).
            annotated: as given, bool (C,).
            decision: what became of the image.
            fillable: bool (C,), the classes that may be declared.
        """
        if (decision.target == decision.given).all():
            return None
        # A class of which nothing was decided here is left to "nobody looked", which says the same.
        learnt = (decision.labelled | decision.ruled_out).any((0, 1))
        declared = annotated | (fillable & learnt)
        if not self._given.exclusive:
            return self._planes(mask, annotated, declared, decision.target)
        if self._given.background is None:  # only coarse pixels are open then
            declared = annotated
        left = candidates(decision.target)
        if self._doubt == "unknown":
            declared = declared & (annotated | ~decision.doubtful.any((0, 1)))
            # What stays undeclared is possible again wherever nothing was labelled.
            reopened = candidates(decision.given) & ~declared
            left = left | (reopened & ~decision.labelled.any(-1, keepdims=True))
        return self._exclusive(mask, declared, decision, left)

    def _exclusive(
        self, mask: np.ndarray, declared: np.ndarray, decision: Decision, left: np.ndarray
    ) -> Stored | None:
        background, count = self._given.background, left.sum(-1)
        stored = mask.astype(np.int64)
        changed = judged_pixels(decision.given)
        one = changed & (count == 1)
        stored[one] = np.argmax(left, -1)[one]
        many = changed & (count > 1)
        if background is not None:  # the background of an image says "or what is undeclared"
            plain = (left == (~declared | (np.arange(len(declared)) == background))).all(-1)
            stored[many & plain] = background
            many &= ~plain
        if many.any():
            sets, where = np.unique(left[many], axis=0, return_inverse=True)
            ids = [self._id(row) for row in sets]
            if None in ids:
                return None
            stored[many] = np.array(ids)[where.ravel()]
        wide = stored.max(initial=0) > 255
        return Stored(stored.astype(np.uint16 if wide else np.uint8), declared)

    def _id(self, row: np.ndarray) -> int | None:
        """The id that means one of the classes of a row; a new one if need be and possible."""
        if self._doubt == "ignore":
            return self._given.ignore_index
        members = tuple(n for n, there in zip(self._given.names, row) if there)
        key = frozenset(members)
        if key not in self._ids:
            used = {self._given.ignore_index, *self._ids.values()}
            free = (i for i in range(self._given.num_classes, MAX_ID + 1) if i not in used)
            new = next(free, None)
            if new is None or len(self._coarse) >= _MOST:
                return None
            name = " or ".join(members)
            self._coarse.append(CoarseLabel(name, new, members))
            self._ids[key] = new
        return self._ids[key]

    def _planes(
        self, mask: np.ndarray, annotated: np.ndarray, declared: np.ndarray, target: np.ndarray
    ) -> Stored | None:
        ignore = _IGNORE if self._given.ignore_index is None else self._given.ignore_index
        kept = declared & (annotated | (target != UNKNOWN).any((0, 1)))
        if ignore == _SET and not (target == LABELLED).any():  # nobody could read 0 and 255 alone
            kept &= annotated | (target != UNKNOWN).all((0, 1))
            if (kept == annotated).all():
                return None
        planes = mask.astype(np.uint8)
        planes[target == LABELLED] = 1
        planes[target == RULED_OUT] = 0
        planes[(target == UNKNOWN) & kept] = ignore
        return Stored(planes, kept)

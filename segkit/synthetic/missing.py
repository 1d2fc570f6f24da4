"""Hiding annotations on purpose: the mask loses them, the truth is kept for the evaluation."""

from __future__ import annotations

from typing import Mapping

import numpy as np

from segkit.contract import Sample, Source, shape_text, share, whole_number
from segkit.erasing import erase, erased_id
from segkit.labels import LabelSpace
from segkit.synthetic import streams
from segkit.targets import shown


def hide(
    masks: np.ndarray,
    labels: LabelSpace,
    rate: float | Mapping[str, float] = 0.5,
    seed: int = 0,
    *,
    annotated: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Hides annotations as annotators do: a class that nobody looked for becomes background.

    hidden[b, c] = u[b, c] < rate[c], with u uniform in [0, 1) and drawn from (seed, b) alone,
    whether or not class c is in image b. So a higher rate hides all that a lower one hides.

    Hidden pixels take the id of the background, or `labels.ignore_index` where the label space
    has no background. A coarse label is hidden when all its members are. Planes of independent
    classes become 0.

    Args:
        masks: integers (B, H, W); independent classes: 0/1 planes (B, H, W, C). Not modified.
        labels: the label space.
        rate: probability of hiding, in [0, 1]; one number for every foreground class, or a
            mapping {class name: probability}, in which classes left out are not hidden.
        seed: whole number from 0 on.
        annotated: bool (B, C), what was annotated before; None: everything. Hiding only takes
            away.
        groups: integers (B,), the source that each image comes from. Whole classes are then
            hidden in whole sources, as when data sets are joined: class c in a random
            round(rate[c] * G) of the G sources that occur, spread so that no source loses every
            class if that can be avoided; never in all of them unless rate[c] is 1.

    Returns:
        masks of the same shape and dtype, and annotated, bool (B, C), True for the background.

    Raises:
        ValueError: on a rate outside [0, 1], a name that is no foreground class, a shape or
            dtype that does not fit, or if there is no id that hidden pixels could take.
    """
    masks = np.asarray(masks)
    rates = class_rates(rate, labels)
    seed = whole_number("seed", seed)
    _check_masks(masks, labels)
    count = len(masks)
    known = _known(annotated, count, labels)
    if groups is None:
        rows = [_hidden(rates, seed, i) for i in range(count)]
        hidden = np.array(rows, bool).reshape(count, labels.num_classes)
    else:
        sources, source = np.unique(_group_ids(groups, count), return_inverse=True)
        hidden = hidden_by_source(rates, len(sources), seed)[source]
    return erase(masks, hidden, labels), known & ~hidden


class HiddenAnnotations:
    """A source whose annotations are partly hidden; the full mask is kept as the truth.

    Image i loses what `hide` takes from image i with the same rate and seed; in a split with a
    name, what a stream of its own takes, so that image i of train and image i of val have nothing
    in common.

    Args:
        source: any `contract.Source`. Its samples' own gaps stay: hiding only takes away.
        rate: see `hide`.
        seed: whole number from 0 on.
        groups: number of sources that the images are dealt to at random, by (seed, split, i);
            whole classes are then hidden in whole sources, the same in every split. 0: each image
            loses classes on its own.
        split: name of the split.
        declared: False loses the record of what was hidden, too, as where there is no manifest: a
            class then counts as annotated in the images whose mask still shows it.

    Raises:
        ValueError: see `hide`; or if `declared` is neither True nor False.
    """

    def __init__(
        self,
        source: Source,
        rate: float | Mapping[str, float] = 0.5,
        seed: int = 0,
        groups: int = 0,
        declared: bool = True,
        *,
        split: str = "",
    ):
        self.source = source
        self.labels = source.labels
        self.split = str(split)
        if not isinstance(declared, (bool, np.bool_)):
            raise ValueError(f"declared must be true or false. Received: {declared!r}.")
        self.declared = bool(declared)
        self.seed = whole_number("seed", seed)
        self.groups = whole_number("groups", groups)
        self.rates = class_rates(rate, self.labels)
        self._by_source = hidden_by_source(self.rates, self.groups, self.seed)

        if self.labels.exclusive:
            erased_id(self.labels)  # speaks up now rather than at the first image

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index` with a reduced mask and `annotated`.

        `truth` is the full mask; None if the source had gaps there itself and knows no truth.
        """
        index = streams.position(index, len(self), "This source")
        sample = self.source[index]
        mask, annotated = self._reduced(index, sample.mask, sample.annotated)
        whole = np.asarray(sample.annotated, bool).all()
        truth = sample.mask if sample.truth is None and whole else sample.truth
        return sample._replace(mask=mask, annotated=annotated, truth=truth)

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The reduced mask and `annotated` of sample `index`, without its image."""
        index = streams.position(index, len(self), "This source")
        return self._reduced(index, *self.source.annotation(index))

    def hidden(self, index: int) -> np.ndarray:
        """bool (C,): the classes hidden in image `index`, without reading the image."""
        if self.groups:
            return self._by_source[self.group(index)]
        return _hidden(self.rates, self.seed, index, self.split)

    def _reduced(
        self, index: int, mask: np.ndarray, annotated: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        hidden = self.hidden(index)
        mask = erase(mask[None], hidden[None], self.labels)[0]
        annotated = np.asarray(annotated, bool) & ~hidden
        if not self.declared:
            annotated &= shown(mask, self.labels)
            if self.labels.background is not None:
                annotated[self.labels.background] = True
        return mask, annotated

    def group(self, index: int) -> int:
        """The source, 0..groups - 1, that image `index` is dealt to."""
        rng = streams.generator(self.seed, *_address("deal", self.split), index)
        return int(rng.integers(self.groups))


def class_rates(rate: float | Mapping[str, float], labels: LabelSpace) -> np.ndarray:
    """float64 (C,): the probability of hiding each class, 0 for the background.

    Raises:
        ValueError: on a number outside [0, 1], or a name that is no foreground class.
    """
    foreground = [labels.names[c] for c in labels.foreground]
    given = rate if isinstance(rate, Mapping) else dict.fromkeys(foreground, rate)
    rates = np.zeros(labels.num_classes)
    for name, value in given.items():
        if name not in foreground:
            raise ValueError(
                f"rate may name the foreground classes {', '.join(foreground)}. "
                f"Received: {name!r}. Background is what is left when classes are hidden, and "
                "cannot be hidden itself."
            )
        rates[labels.index(name)] = share(f"rate of {name!r}", value)
    return rates


def hidden_by_source(rates: np.ndarray, sources: int, seed: int) -> np.ndarray:
    """bool (sources, C): a random round(rate * sources) of the sources lose each class.

    Each class goes to the sources that have lost the fewest so far, ties at random. So losses
    differ by at most one between sources, and none loses every class unless the rates force it.
    """
    rng = streams.generator(seed, "sources")
    hidden = np.zeros((sources, len(rates)), bool)
    for c in rng.permutation(len(rates)):
        number = sources if rates[c] == 1 else min(round(rates[c] * sources), sources - 1)
        order = np.lexsort([rng.random(sources), hidden.sum(axis=1)])
        hidden[order[: max(number, 0)], c] = True
    return hidden


def _hidden(rates: np.ndarray, seed: int, index: int, split: str = "") -> np.ndarray:
    return streams.generator(seed, *_address("hide", split), index).random(len(rates)) < rates


def _address(purpose: str, split: str) -> tuple[str, ...]:
    return (purpose, split) if split else (purpose,)


def _known(annotated, count: int, labels: LabelSpace) -> np.ndarray:
    shape = (count, labels.num_classes)
    known = np.ones(shape, bool) if annotated is None else np.array(annotated)
    if known.shape != shape or known.dtype != bool:
        raise ValueError(
            f"annotated is a table of booleans, one row an image and one column a class: {shape}. "
            f"Received: {known.dtype} {shape_text(known)}. "
            f"The classes are: {', '.join(labels.names)}."
        )
    if labels.background is not None:
        known[:, labels.background] = True
    return known


def _group_ids(groups, count: int) -> np.ndarray:
    ids = np.asarray(groups)
    if ids.shape != (count,) or ids.dtype.kind not in "iu":
        raise ValueError(
            f"groups names the source of each image by a whole number: ({count},). "
            f"Received: {ids.dtype} {shape_text(ids)}. "
            "Number the sources with np.unique(names, return_inverse=True)[1]."
        )
    return ids


def _check_masks(masks: np.ndarray, labels: LabelSpace) -> None:
    form = "(B, H, W)" if labels.exclusive else f"(B, H, W, {labels.num_classes})"
    fits = masks.ndim == 3 if labels.exclusive else masks.shape[3:] == (labels.num_classes,)
    if not fits or masks.dtype.kind not in "iu":
        raise ValueError(
            f"Masks are integers {form}. Received: {masks.dtype} {shape_text(masks)}. "
            "A single image needs a leading dimension: masks[None]."
        )

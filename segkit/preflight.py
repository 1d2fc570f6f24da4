"""What is checked of a loss before the first step: whether it can do here what it was chosen for.

Each warning names the classes and the way out.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any, Sequence

import numpy as np

from segkit import class_weights
from segkit.class_counts import ClassCounts
from segkit.contract import Source, innermost
from segkit.labels import LabelSpace
from segkit.losses import Exclusion, GatedCrossEntropy
from segkit.losses.compound import described, terms_of
from segkit.losses.estimated import estimated_terms

log = logging.getLogger(__name__)

# Gates that open as far as the model already believes in the class.
GATES_OF_BELIEF = ("predicted", "soft")


FOR_INDEPENDENT = "loss=binary_cross_entropy, loss=bce_dice or loss=cosine_similarity"


def require_fitting(loss: Any, labels: LabelSpace) -> None:
    """Refuses a loss that means nothing for these classes, before anything is computed.

    Independent classes need a sigmoid each: a softmax gives each pixel one class. `Exclusion`
    punishes just what overlapping classes are right to do. A loss over ordered classes needs an
    order.

    Args:
        loss: as built; the terms of a sum are found.
        labels: the label space.

    Raises:
        ValueError: naming the terms, and what to type instead.
    """
    terms = list(terms_of(loss))
    if not labels.exclusive:
        softmax = [term.name for term in terms if term.head == "softmax"]
        if softmax:
            raise ValueError(
                "Classes that may overlap need a loss in which each has a sigmoid of its own. "
                f"Received: {', '.join(softmax)}, over a softmax, which gives a pixel one class. "
                f"Type {FOR_INDEPENDENT}; or, where classes do not overlap and masks hold one id a "
                "pixel, labels.exclusive=true."
            )
        if any(isinstance(term, Exclusion) for term in terms):
            raise ValueError(
                "The loss exclusion pushes a class down wherever another one is labelled, so "
                "classes must exclude each other. Received: classes that may overlap. "
                f"Type {FOR_INDEPENDENT}."
            )
    ordered = [term.name for term in terms if term.ordered]
    if ordered and labels.values is None:
        raise ValueError(
            f"The loss {', '.join(ordered)} measures how far apart classes are, so they need an "
            f"order. Received: {', '.join(labels.names)}, without values. Give each class a "
            "number, in ascending order, as values in classes.json, or take another loss."
        )


def check_exclusion(loss: Any, labels: LabelSpace) -> None:
    """Refuses an `Exclusion` with another background than the data have.

    Their background would exclude every other class, those that nobody looked for, too.

    Args:
        loss: as compiled; the terms of a sum are found.
        labels: the label space.

    Raises:
        ValueError: naming both.
    """
    for term in terms_of(loss):
        if isinstance(term, Exclusion) and term.background != labels.background:
            there = "null" if labels.background is None else labels.background
            raise ValueError(
                f"The loss {term.name} needs the background of the data, {there}. "
                f"Received: {term.background}. Set loss.background={there}, or, where it is the "
                f"second term of a sum, +loss.losses.1.background={there}."
            )


def check_image_weights(source: Source, present: np.ndarray, annotated: np.ndarray) -> None:
    """Tells weights other than 1, and warns of classes that only images of weight 0 show.

    The loss never asks for such a class.

    Counts, and the class weights that are made of them, take all images alike.

    Args:
        source: the training split.
        present: bool (N, F), the foreground classes that the mask of each image shows.
        annotated: bool (N, F), which of them somebody looked for.
    """
    told = getattr(innermost(source), "weights", None)
    weights = np.ones(len(source)) if told is None else np.asarray(told, "float64")
    if (weights == 1).all():
        return
    least, most, none = weights.min(), weights.max(), (weights == 0).sum()
    log.info("train: images weigh %g to %g, %d of them 0", least, most, none)
    shown = present & annotated
    lost = shown.any(0) & ~shown[weights > 0].any(0)
    if lost.any():
        foreground = np.array(source.labels.foreground)
        log.warning(
            "%s: labelled only in images whose weight is 0 in annotations.csv, so the loss never "
            "asks for it. Give one of them a weight, or leave the class out.",
            _names(source.labels, foreground[lost]),
        )


def check_gates(loss: Any, labels: LabelSpace, counts: ClassCounts) -> None:
    """Warns of classes for which the gate of a `GatedCrossEntropy` may not open.

    Such a gate opens as far as the model believes in the class, and while it is closed the model
    comes to believe in it only if

        a_c w_c > (1 - a_c) w_0,  that is  a_c > w_0 / (w_0 + w_c)

    with a_c the share of the images holding class c in which it was annotated, and w the class
    weights in the loss. If annotations are missing at random, a_c is annotated_images[c] /
    total_images; otherwise nobody can tell it.

    Args:
        loss: as compiled, with its weights; the terms of a sum are found.
        labels: the label space.
        counts: of the training split.
    """
    looked = counts.annotated_images / counts.total_images
    missing = [c for c in labels.foreground if counts.pixels[c] and looked[c] < 1]
    if labels.background is None or not missing:
        return
    for gated in terms_of(loss):
        if not isinstance(gated, GatedCrossEntropy) or gated.gate not in GATES_OF_BELIEF:
            continue
        weights = gated.class_weights or [1] * len(labels.names)
        needed = _needed_share(weights, labels)
        closed = [c for c in missing if looked[c] <= needed[c]]
        if not counts.at_random:
            log.warning(
                "The gate of %s opens for a class that was outlined in more than this share of "
                "the images that hold it: %s. With data.annotated=present nobody can tell whether "
                "it was. loss=marginal_cross_entropy has no such bound.",
                gated.name,
                ", ".join(f"{labels.names[c]} {needed[c]:.0%}" for c in missing),
            )
        elif closed:
            log.warning(
                "The gate of %s may not open for %s; unopened, what nobody outlined counts as "
                "background. Take loss=marginal_cross_entropy, which has no such bound%s.",
                gated.name,
                "; ".join(
                    f"{labels.names[c]} (annotated in {looked[c]:.0%} of the images, more than "
                    f"{needed[c]:.0%} needed at weight {weights[c]:.3g} against "
                    f"{weights[labels.background]:.3g})"
                    for c in closed
                ),
                _other_weights(labels, counts, missing),
            )


def check_estimates(loss: Any, labels: LabelSpace, counts: ClassCounts) -> None:
    """Warns if an estimated loss meets a manifest, and offers it where there is none.

    Args:
        loss: as compiled; the terms of a sum are found.
        labels: the label space.
        counts: of the training split.
    """
    looked = counts.annotated_images[list(labels.foreground)]
    if not (looked < counts.total_images).any():
        return
    if not labels.exclusive:  # these losses are over a softmax
        return
    estimates = any(estimated_terms(loss))
    if estimates and counts.at_random:
        log.warning(
            "%s estimates how often a class was skipped that nobody said was skipped. Here it is "
            "declared which classes were annotated, so what is unknown is certain to be; "
            "loss=marginal_cross_entropy_dice takes it so.",
            described(loss),
        )
    elif not estimates and not counts.at_random:
        log.info(
            "Nobody declared what was annotated, so a class that a mask does not show is absent or "
            "was skipped. loss=estimated_cross_entropy_dice estimates how often."
        )


def _needed_share(weights: Sequence[float], labels: LabelSpace) -> np.ndarray:
    """w_0 / (w_0 + w_c), the least share of its images a class must be annotated in; 1 if 0 / 0."""
    w = np.asarray(weights, "float64")
    total = w + w[labels.background]
    return np.where(total > 0, w[labels.background] / np.where(total > 0, total, 1), 1)


def _other_weights(labels: LabelSpace, counts: ClassCounts, missing: Sequence[int]) -> str:
    """The end of a sentence that offers median-frequency weights, if they open every gate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes without a pixel, which are no matter here
        needed = _needed_share(class_weights.median_frequency(counts), labels)
    share = counts.annotated_images / counts.total_images
    if any(share[c] <= needed[c] for c in missing):
        return ""
    listed = ", ".join(f"{labels.names[c]} {needed[c]:.0%}" for c in missing)
    return f", or class_weights=median_frequency, with which the bounds are {listed}"


def _names(labels: LabelSpace, classes: Sequence[int]) -> str:
    return ", ".join(labels.names[c] for c in classes)

"""Layers that keep their weights while the others are trained."""

from __future__ import annotations

import difflib
import logging
import re
from typing import Iterator, Sequence

import keras

log = logging.getLogger(__name__)

_NAMED = 4  # layers that one line names


def freeze(model: keras.Model, patterns: Sequence[str] | str) -> list[str]:
    """Keeps layers as they are while the others are trained, and returns the names of these layers.

    Frozen batch normalisations use their moving statistics, and keep them.

    Args:
        model: whose optimizer has not been built yet. Models inside it are looked into.
        patterns: regular expressions; each is compared with the beginning of the names of layers,
            so `encoder` stands for `encoder_stem` too, and `up0$` for `up0` alone.

    Raises:
        ValueError: if a pattern is no regular expression or fits no layer with weights, or if
            nothing would be left to train.
    """
    layers = list(with_weights(model))
    names = [layer.name for layer in layers]
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    found = set().union(*(_fitting(pattern, names) for pattern in patterns))
    frozen = [layer for layer in layers if layer.name in found]
    if not any(layer.trainable_variables for layer in layers if layer.name not in found):
        raise ValueError(
            f"trainer.freeze leaves nothing to train. Received: {patterns}, which fits all "
            f"{len(frozen)} layers with weights. Let at least {names[-1]} learn."
        )
    for layer in frozen:
        layer.trainable = False
    if frozen:
        log.info(
            "frozen: %d of %d layers with weights, %s of %s parameters (%s)",
            *(len(frozen), len(layers), f"{parameters(frozen):,}", f"{parameters(layers):,}"),
            few([layer.name for layer in frozen]),
        )
    return [layer.name for layer in frozen]


def with_weights(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model that hold weights, those of models inside it among them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from with_weights(layer)
        elif layer.weights:
            yield layer


def parameters(layers: Sequence[keras.Layer]) -> int:
    """How many numbers the weights of some layers hold."""
    return sum(layer.count_params() for layer in layers)


def few(names: Sequence[str]) -> str:
    """Names for one line: all, or the first ones and how many more."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _fitting(pattern: str, names: Sequence[str]) -> set[str]:
    try:
        found = {name for name in names if re.match(pattern, name)}
    except (re.error, TypeError) as error:
        raise ValueError(
            f"trainer.freeze takes regular expressions. Received: {pattern!r} ({error})."
        ) from error
    if not found:
        near = difflib.get_close_matches(pattern, names, n=4, cutoff=0.4) or names
        raise ValueError(
            "trainer.freeze needs the beginning of the name of a layer with weights. "
            f"Received: {pattern!r}, which fits none of {len(names)}, such as {few(near)}."
        )
    return found

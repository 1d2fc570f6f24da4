"""The weights of a finished run as the first ones of a new run, also with other classes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

import keras
import numpy as np

from segkit.labels import LabelSpace
from segkit.transfer.freezing import few, parameters, with_weights
from segkit.transfer.reading import array, class_names, differences, load, model_file

log = logging.getLogger(__name__)

HEAD = "logits"  # how the names of the layers begin whose channels are classes
ENOUGH = 0.5  # share of the parameters that must fit for the two to be one architecture


class Taken(NamedTuple):
    """What a model took over.

    layers: names of the layers with the weights of the run, heads apart.
    adapted: of them, those that see the image and were brought to its number of channels.
    anew: names of those that begin as they were built.
    classes: names of the classes whose channels of the head were taken over.
    """

    layers: tuple[str, ...]
    adapted: tuple[str, ...]
    anew: tuple[str, ...]
    classes: tuple[str, ...]


def start_from(
    model: keras.Model,
    run: str | Path,
    labels: LabelSpace,
    settings: Mapping[str, Any] | None = None,
) -> Taken:
    """Gives a model the weights of a run, as far as they fit; the log says how far.

    Layers correspond by name, and take over weights of equal shapes. The head takes over the
    channels of classes of the same name; other classes begin anew. With other channels of the
    image, K for K', each channel of the first convolution takes the sum of the K', divided by K.

    Args:
        model: built, for the classes of `labels`.
        run: the folder of a run, finished or not, or a `.keras` file. What the classes of the run
            were is read from labels.json beside the model; without it the head begins anew.
        labels: of the data to train on.
        settings: the resolved config of the new run: if little fits, the error names the keys
            that differ.

    Raises:
        FileNotFoundError: if there is no such model.
        ValueError: if the file is damaged or holds code, if its weights are not finite, or if
            they fit less than half of the parameters.
    """
    path = model_file(run)
    saved, names = load(path), class_names(path)
    old = {layer.name: layer for layer in with_weights(saved)}
    layers = list(with_weights(model))
    heads = [layer for layer in layers if layer.name.startswith(HEAD)]
    body = [layer for layer in layers if layer not in heads]
    channels = saved.input_shape[-1], model.input_shape[-1]
    values = {layer.name: _values(old.get(layer.name), layer, channels) for layer in body}
    fitting = [layer for layer in body if values[layer.name] is not None]
    _require_enough(fitting, body, path, settings)
    for layer in fitting:
        _assign(layer, values[layer.name])
    kept = [_fill_head(head, old.get(head.name), names, labels.names) for head in heads]
    taken = Taken(
        layers=tuple(layer.name for layer in fitting),
        adapted=tuple(k.name for k in fitting if _shapes(k) != _shapes(old[k.name])),
        anew=tuple(layer.name for layer in body if layer not in fitting),
        classes=kept[0] if kept else (),
    )
    _report(taken, path, parameters(fitting), parameters(body), channels)
    _report_head(taken.classes, names, labels.names)
    _compare_normalization(saved, model)
    return taken


def _shapes(layer: keras.Layer) -> list[tuple]:
    return [(weight.name, tuple(weight.shape)) for weight in layer.weights]


def _values(
    old: keras.Layer | None, new: keras.Layer, channels: tuple[int, int]
) -> list[np.ndarray] | None:
    """The weights of a layer of the run, to be those of a new one; None if they do not fit."""
    if old is None:
        return None
    found = [array(weight) for weight in old.weights]
    wanted, (before, after) = [tuple(weight.shape) for weight in new.weights], channels
    shapes = [value.shape for value in found]
    if shapes != wanted and found[0].ndim == 4 and found[0].shape[2] == before:
        found[0] = np.repeat(found[0].sum(axis=2, keepdims=True) / after, after, axis=2)
        shapes[0] = found[0].shape
    return found if shapes == wanted else None


def _assign(layer: keras.Layer, values: Sequence[np.ndarray]) -> None:
    for weight, value in zip(layer.weights, values):
        weight.assign(value)


def _require_enough(
    fitting: Sequence[keras.Layer],
    body: Sequence[keras.Layer],
    path: Path,
    settings: Mapping[str, Any] | None,
) -> None:
    share = parameters(fitting) / max(parameters(body), 1)
    if not body or share >= ENOUGH:
        return
    found = differences(path, settings)
    listed = f" The configs say: {'; '.join(found)}. Set the same ones." if found else ""
    raise ValueError(
        f"trainer.start_from needs a run with the same network. Received: {path}, whose weights "
        f"fit {len(fitting)} of {len(body)} layers ({share:.0%} of the parameters).{listed}"
    )


def _fill_head(
    head: keras.Layer,
    old: keras.Layer | None,
    there: Sequence[str] | None,
    here: Sequence[str],
) -> tuple[str, ...]:
    """Copies the channels of classes of the same name; returns their names."""
    if old is None or there is None:
        return ()
    pairs = list(zip(old.weights, head.weights))
    alike = len(old.weights) == len(head.weights) and all(
        tuple(a.shape) == (*b.shape[:-1], len(there)) and b.shape[-1] == len(here) for a, b in pairs
    )
    shared = tuple(name for name in here if name in there)
    if not alike or not shared:
        return ()
    sources, targets = ([list(n).index(name) for name in shared] for n in (there, here))
    for before, after in pairs:
        value = array(after).copy()
        value[..., targets] = array(before)[..., sources]
        after.assign(value)
    return shared


def _report(taken: Taken, path: Path, fitting: int, body: int, channels: tuple) -> None:
    anew = f"; anew: {few(taken.anew)}" if taken.anew else ""
    log.info(
        "started from %s: %d layers with %s of %s parameters taken over%s",
        *(path, len(taken.layers), f"{fitting:,}", f"{body:,}", anew),
    )
    if taken.adapted:
        log.info(
            "%s: images have %d channels, and had %d: each channel takes the sum of those, "
            "divided by %d",
            *(few(taken.adapted), channels[1], channels[0], channels[1]),
        )


def _report_head(kept: Sequence[str], there: Sequence[str] | None, here: Sequence[str]) -> None:
    if there is None:
        log.warning("head: anew, as no labels.json beside the model says what its classes were")
        return
    parts = {
        "taken over": kept,
        "anew": [name for name in here if name not in kept],
        "given up": [name for name in there if name not in here],
    }
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
    log.info("head: %s", said)


def _compare_normalization(saved: keras.Model, model: keras.Model) -> None:
    there, here = (_mean_and_std(part) for part in (saved, model))
    if (there is None) != (here is None):
        log.warning(
            "normalization: %s. The weights expect what they learnt with: see the group "
            "normalization.",
            (
                "that run normalised its images, and this one does not"
                if here is None
                else "this run normalises its images, and that one did not"
            ),
        )
    elif there is not None and (
        there.shape != here.shape or not np.allclose(there, here, rtol=0.01)
    ):
        mean, std = (np.round(part, 4).tolist() for part in there)
        log.warning(
            "normalization: this run's own mean and std are used; that run had others. To keep "
            "those: normalization=fixed normalization.mean=%s normalization.std=%s",
            *(str(part).replace(" ", "") for part in (mean, std)),
        )


def _mean_and_std(model: keras.Model) -> np.ndarray | None:
    """(2, K), or None where the model does not normalise its images."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            mean, variance = np.ravel(layer.mean), np.ravel(layer.variance)
            return np.stack([mean, np.sqrt(variance)]).astype("float64")
    return None

"""A model as a graph of its layers, as TensorBoard draws it."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

_MODELS = ("Functional", "Sequential", "Model")


def graph_of(model: keras.Model) -> tf.compat.v1.GraphDef | None:
    """One node a layer; None if the model is not made of layers in a graph.

    Those of a model inside the model are named MODEL/LAYER.
    """
    graph = tf.compat.v1.GraphDef()
    if isinstance(model, keras.Sequential) or getattr(model, "inputs", None):
        _add(graph, model.get_config(), "", [])
    return graph if graph.node else None


def _add(
    graph: tf.compat.v1.GraphDef, config: Mapping[str, Any], scope: str, feeds: Sequence[str]
) -> list[str]:
    """Adds the layers of a model's config, and returns the nodes that its outputs come from."""
    sources: dict[str, list[str]] = {}  # layer: nodes of its outputs
    before, waiting = list(feeds), list(feeds)
    for layer in config.get("layers", []):
        name = layer["config"]["name"]
        inputs = [_pick(sources, tensor) for tensor in _tensors(layer.get("inbound_nodes", []))]
        if "input_layers" not in config:  # each layer follows the one before
            inputs = before
        elif layer["class_name"] == "InputLayer":
            inputs, waiting = waiting[:1], waiting[1:]
        if layer["class_name"] in _MODELS:
            sources[name] = _add(graph, layer["config"], f"{scope}{name}/", inputs)
        else:
            node = graph.node.add(name=scope + name, op=layer["class_name"])
            node.input.extend(dict.fromkeys(inputs))
            sources[name] = [node.name]
        before = sources[name]
    ends = list(_ends(config.get("output_layers", [])))
    return [_pick(sources, end) for end in ends] or before


def _tensors(inbound: Any) -> Iterator[tuple[str, int]]:
    """(layer, number of its output) for each tensor in the arguments of a layer's call."""
    if isinstance(inbound, Mapping):
        if "keras_history" in inbound:
            layer, _, number = inbound["keras_history"]
            yield layer, number
            return
        inbound = list(inbound.values())
    if isinstance(inbound, (list, tuple)):
        for part in inbound:
            yield from _tensors(part)


def _ends(outputs: Any) -> Iterator[tuple[str, int]]:
    """(layer, number of its output) for [layer, call, number], or lists or dicts of those."""
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if len(outputs) == 3 and isinstance(outputs[0], str):
        yield outputs[0], outputs[2]
    else:
        for part in outputs:
            yield from _ends(part)


def _pick(sources: Mapping[str, Sequence[str]], tensor: tuple[str, int]) -> str:
    nodes = sources[tensor[0]]
    return nodes[min(tensor[1], len(nodes) - 1)]

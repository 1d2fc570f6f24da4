"""A copy of a model for inference, its batch normalisations folded into the layers before them."""

from __future__ import annotations

import collections
from typing import Any, Iterator

import keras
import numpy as np
from keras import layers

from segkit.models.convolutions import Conv2D, Conv2DTranspose
from segkit.models.normalization import BatchNormalization

# Kind of layer -> the axes of its kernel that number the channels of the output.
_FOLDABLE = {
    Conv2D: (3,),
    Conv2DTranspose: (2,),
    layers.Conv2D: (3,),
    layers.Conv2DTranspose: (2,),
    layers.DepthwiseConv2D: (2, 3),
    layers.Dense: (1,),
}
_NORMALIZATIONS = (BatchNormalization, layers.BatchNormalization)
_DROPOUTS = (
    layers.AlphaDropout,
    layers.Dropout,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.SpatialDropout2D,
)


def fold(model: keras.Model) -> keras.Model:
    """Copies a functional model for inference, without the cost of its batch normalisations.

    A linear Conv2D, DepthwiseConv2D, Conv2DTranspose or Dense and the BatchNormalization of what
    it puts out are one such layer with another kernel and bias:

        W' = W gamma / sqrt(variance + epsilon)
        b' = beta + (b - mean) gamma / sqrt(variance + epsilon)

    for each channel of the output, with the moving statistics, in float64. Normalisations stay
    where the output goes elsewhere too, or where either layer is called more than once or computes
    in a precision of its own. Dropout goes. Nested models are folded each by itself.

    Args:
        model: functional or Sequential, with its weights; any shapes. It is not changed.

    Returns:
        A functional model with the inputs, outputs and precision of `model`, layers under their
        names, not compiled: model(x, training=False) up to roundoff. It is not for training.

    Raises:
        ValueError: if the graph of the model is not known: a subclass of keras.Model with a `call`
            of its own, or a Sequential that has no input yet.

    Ref: Jacob et al. 2018, arXiv:1712.05877, section 3.2, without the quantisation.
    """
    model = _with_known_graph(model)
    into = _foldable(model)
    copies = {}

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.Model) and _graph_is_known(layer):
            new = fold(layer)
        else:
            changed = {"use_bias": True} if layer.name in into else {}
            new = type(layer).from_config({**layer.get_config(), **changed})
        if isinstance(layer, keras.Layer):  # not one of keras.ops
            copies[layer.name] = new
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        gone = layer.name in into.values() or _does_nothing(layer, args, kwargs)
        return args[0] if gone else layer(*args, **kwargs)

    inference = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for name, new in copies.items():
        old = model.get_layer(name)
        if name in into:
            new.set_weights(_folded(old, model.get_layer(into[name])))
        elif new.built and not (isinstance(old, keras.Model) and _graph_is_known(old)):
            new.set_weights(old.get_weights())
            if isinstance(new, layers.Normalization):
                new.finalize_state()
    return inference


def _graph_is_known(model: keras.Model) -> bool:
    return isinstance(model, keras.Sequential) or hasattr(model, "operations")


def _with_known_graph(model: keras.Model) -> keras.Model:
    """The same layers as a plain functional model."""
    if not isinstance(model, keras.Model) or not _graph_is_known(model):
        raise ValueError(
            f"fold needs a functional model, keras.Model(inputs, outputs), whose graph it can "
            f"read. Received: {type(model).__name__}. Build that part of it as a functional model."
        )
    chain = isinstance(model, keras.Sequential)
    if chain and not model.built:
        raise ValueError(
            f"fold needs a model with weights. Received: {model.name!r}, which has seen no input "
            f"yet. Call it on a batch, or begin it with keras.Input."
        )
    if chain:  # whose input and output are of the graph it is nested in, if any
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def _foldable(model: keras.Model) -> dict[str, str]:
    """Names {layer: normalization to fold into it}."""
    config = model.get_config()
    calls = {layer["name"]: layer["inbound_nodes"] for layer in config["layers"]}
    users = collections.Counter(
        source["keras_history"][0] for nodes in calls.values() for source in _tensors(nodes)
    )
    users.update(w for w in keras.tree.flatten(config["output_layers"]) if isinstance(w, str))
    known = {layer.name: layer for layer in model.layers}
    found = {}
    for name, nodes in calls.items():
        if type(known.get(name)) not in _NORMALIZATIONS or len(nodes) != 1:
            continue
        args, training = nodes[0]["args"], nodes[0]["kwargs"].get("training")
        if training or len(args) != 1:
            continue
        (source,) = _tensors(args)
        before = source["keras_history"][0]
        alone = users[before] == 1 and len(calls[before]) == 1
        rank = len(source["shape"])
        if alone and before in known and _fits(known[before], known[name], rank):
            found[before] = name
    return found


def _tensors(node: Any) -> Iterator[dict]:
    """What the config of a call tells of each tensor in it."""
    if isinstance(node, dict) and node.get("class_name") == "__keras_tensor__":
        yield node["config"]
    elif isinstance(node, (dict, list, tuple)):
        for inner in node.values() if isinstance(node, dict) else node:
            yield from _tensors(inner)


def _fits(layer: Any, normalization: Any, rank: int) -> bool:
    first = getattr(layer, "data_format", None) == "channels_first"
    return (
        # No subclasses: their kernel may be something else.
        type(layer) in _FOLDABLE
        and layer.activation is keras.activations.linear
        and not getattr(layer, "quantization_mode", None)
        and not getattr(layer, "lora_enabled", False)
        and layer.compute_dtype == normalization.compute_dtype
        and normalization.axis % rank == (1 if first else rank - 1)
    )


def _folded(layer: Any, normalization: Any) -> list[np.ndarray]:
    """Kernel and bias of the two together."""

    def numbers(variable: Any, otherwise: float) -> Any:
        return otherwise if variable is None else np.asarray(variable, "float64")

    mean, variance = numbers(normalization.moving_mean, 0), numbers(
        normalization.moving_variance, 1
    )
    factor = numbers(normalization.gamma, 1) / np.sqrt(variance + normalization.epsilon)
    bias = numbers(normalization.beta, 0) + (numbers(layer.bias, 0) - mean) * factor
    kernel, axes = numbers(layer.kernel, 0), _FOLDABLE[type(layer)]
    shape = [size if axis in axes else 1 for axis, size in enumerate(kernel.shape)]
    return [kernel * factor.reshape(shape), bias]


def _does_nothing(layer: Any, args: tuple, kwargs: dict) -> bool:
    """Whether it is a dropout that neither acts in inference nor changes the precision."""
    silent = type(layer) in _DROPOUTS and not kwargs.get("training") and len(args) == 1
    return silent and args[0].dtype == layer.compute_dtype

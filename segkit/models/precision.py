"""A copy of a model that computes in another precision, with the same weights."""

from __future__ import annotations

from typing import Any, Sequence

import keras
from keras import layers

# Precision -> what Keras calls the policy of a layer: what it computes in, and keeps weights in.
PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def recast(model: keras.Model, precision: str) -> keras.Model:
    """Copies a functional model; the copy computes in the precision asked for.

    - "float32": everything.
    - "bfloat16": all activations, with weights in float32; but the layers that make the outputs
      of the model, and those that normalise images (`keras.layers.Normalization`), stay in
      float32, as `segkit.models.unet` builds them.

    So it is what `segkit.models.unet` builds under that policy, whatever policy the model was
    built, saved or loaded under. Its weights are the same bit by bit: both policies keep float32.

    Args:
        model: functional or Sequential, with its weights; any shapes. It is not changed.
        precision: "float32" or "bfloat16".

    Returns:
        A functional model with the inputs and outputs of `model`, layers under their names, not
        compiled.

    Raises:
        ValueError: on any other word; if the graph of the model is not known (a subclass of
            keras.Model with a `call` of its own, a Sequential that has no input yet); or if a
            layer is quantized or holds other layers, which have precisions of their own.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}. Received: {precision!r}.")
    known = isinstance(model, keras.Sequential) or hasattr(model, "operations")
    if not isinstance(model, keras.Model) or not known or not model.built:
        raise ValueError(
            "recast needs a functional model, keras.Model(inputs, outputs), with weights, whose "
            f"graph it can read. Received: {type(model).__name__}."
        )
    return _copied(model, PRECISIONS[precision], _makers(model.outputs), nested=False)


def _copied(model: keras.Model, policy: str, exact: set[str], nested: bool) -> keras.Model:
    """A copy under a policy, but for the layers whose names are in `exact`."""
    pairs: list[tuple[Any, Any]] = []

    def copy(old: Any) -> Any:
        if isinstance(old, keras.Model):
            inner = _makers(old.outputs) if old.name in exact else set()
            return _copied(old, policy, inner, nested=True)
        config = old.get_config()
        if isinstance(old, keras.Layer):  # not one of keras.ops, which take what they are given
            _require_plain(old)
            in_float32 = old.name in exact or isinstance(old, layers.Normalization)
            config["dtype"] = "float32" if in_float32 else policy
        pairs.append((old, type(old).from_config(config)))
        return pairs[-1][1]

    def entry(tensor: Any) -> Any:
        # Images come as they are; what goes into a nested model has been computed.
        computed = nested and "float" in tensor.dtype
        dtype = keras.DTypePolicy(policy).compute_dtype if computed else tensor.dtype
        return keras.Input(batch_shape=tensor.shape, dtype=dtype, name=tensor.name)

    plain = _functional(model)
    copied = keras.models.clone_model(
        plain, keras.tree.map_structure(entry, plain.input), clone_function=copy
    )
    for old, new in pairs:
        if getattr(old, "weights", None):
            new.set_weights(old.get_weights())
            if isinstance(new, layers.Normalization):
                new.finalize_state()
    return copied


def _functional(model: keras.Model) -> keras.Model:
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return keras.Model(model.input, model.output, name=model.name)


def _makers(tensors: Sequence[Any]) -> set[str]:
    """Names of the layers that make the given tensors."""
    return {tensor._keras_history.operation.name for tensor in tensors}


def _require_plain(layer: keras.Layer) -> None:
    if getattr(layer, "quantization_mode", None) or len(list(layer._flatten_layers())) > 1:
        raise ValueError(
            "recast changes layers of floating-point numbers one by one. Received: "
            f"{layer.name}, a {type(layer).__name__} that is quantized or holds other layers."
        )

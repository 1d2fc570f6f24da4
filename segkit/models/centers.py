"""Center loss: the features of each class are pulled towards a centre that follows them."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from segkit.contract import LABELLED, UNKNOWN, is_number, judged_pixels, share, whole_number
from segkit.models.normalization import one_of_several_replicas


@keras.saving.register_keras_serializable("segkit")
class CenterLoss(keras.layers.Layer):
    """Adds the distance of pixel features to the centre of their class to the loss of a model.

        loss[b] = 1 / (2 N[b]) sum_hw [certain] |x_hw - c_y(hw)|^2

    with x (B, H, W, F) the features, y the label, c (C, F) the centres and N the judged pixels of
    the image. Certain is a pixel of one label and no UNKNOWN channel: background in which a class
    may hide that nobody looked for has a label, and pulls nothing. `weight` times the mean over
    the images is added by `add_loss`. Range: from 0 up.

    The centres are no weights of the optimizer. Having served a batch in training, they move to

        c_j - alpha sum_j (c_j - x) / (1 + n_j)

    with the sum over the n_j certain pixels of class j in the images of weight above 0, of all
    replicas of a strategy together. A class without one keeps its centre. Centres begin at 0.

    Called with logits (B, H, W, C), features (B, H, W, F), a target int8 (B, H, W, C) and, if the
    images do not count alike, the share (B,) of each in the loss, in place of 1/B. Returns the
    logits as they came and loss (B,), not multiplied by `weight`. All is computed in float32,
    whatever the features are. `keras.Model.fit` shows the mean loss as `center_loss`.

    Args:
        weight: of this loss beside the others, from 0 on.
        alpha: how far the centres move, from 0 to 1.
        accumulate: the centres move once in so many calls, for all their pixels, as the weights do
            where gradients are accumulated.
        name, trainable: see `keras.layers.Layer`. Frozen, the centres stay.

    Raises:
        ValueError: if a number is out of its range, or the shapes do not fit.

    Ref: Wen et al. 2016, doi:10.1007/978-3-319-46478-7_31, eq. 2 to 4. Differs: pixels for
    samples, of which some are uncertain, and the mean over them in place of the sum.
    """

    def __init__(self, weight: float = 0.2, alpha: float = 0.5, accumulate: int = 1, **kwargs: Any):
        super().__init__(**{"name": "center_loss", **kwargs, "dtype": "float32"})
        if not is_number(weight) or not 0 <= weight < math.inf:
            raise ValueError(
                f"The weight of CenterLoss must be a number from 0 on. Received: {weight!r}."
            )
        self.weight, self.alpha = float(weight), share("alpha of CenterLoss", alpha)
        self.accumulate = whole_number("accumulate of CenterLoss", accumulate, 1)
        self.mean = keras.metrics.Mean(name=self.name)

    def build(
        self, logits_shape: Any, features_shape: Any, target_shape: Any, shares_shape: Any = None
    ) -> None:
        """Makes the centres, from the shapes of what is called."""
        logits, features, target = logits_shape, features_shape, target_shape
        if not len(logits) == len(features) == len(target) == 4 or logits[-1] != target[-1]:
            raise ValueError(
                "CenterLoss needs logits and a target (B, H, W, C), and features (B, H, W, F). "
                f"Received: {logits}, {target} and {features}."
            )
        if any(None not in pair and pair[0] != pair[1] for pair in zip(features[1:3], target[1:3])):
            raise ValueError(
                "CenterLoss needs features of each pixel of the target. Received: features "
                f"{features}, target {target}. Take those of a layer further up."
            )
        shape = (target[-1], features[-1])
        options = {"initializer": "zeros", "trainable": False}
        self.centers = self.add_weight(name="centers", shape=shape, **options)
        if self.accumulate > 1:
            kept = (shape[0], shape[1] + 1)
            self.waiting = self.add_weight(name="waiting", shape=kept, **options)
            self.calls = self.add_weight(name="calls", shape=(), dtype="int32", **options)

    def call(
        self, logits: Any, features: Any, target: Any, shares: Any = None, training: Any = None
    ) -> tuple[Any, Any]:
        """(B, H, W, C), (B, H, W, F), (B, H, W, C) and (B,) -> (B, H, W, C), (B,)."""
        labels = certain_labels(target)
        at = ops.any(labels, axis=-1, keepdims=True)
        # Looked up, not multiplied: a product of matrices may round to ten bits on a GPU.
        centers = ops.take(self.centers, ops.argmax(labels, axis=-1), axis=0)
        away = ops.where(at, ops.cast(features, "float32") - centers, 0)
        judged = ops.sum(ops.cast(judged_pixels(target), "float32"), axis=(1, 2))
        values = ops.sum(ops.square(away), axis=(1, 2, 3)) / (2 * ops.maximum(judged, 1))
        if training and self.trainable:
            counted = labels if shares is None else ops.logical_and(labels, _of_pixels(shares > 0))
            self._move(ops.cast(counted, "float32"), ops.stop_gradient(away))
            if one_of_several_replicas():
                # While this one waited for the others, they added theirs in this very layer.
                self._clear_losses()
        if shares is None:
            self.add_loss(self.weight * ops.mean(values))
            self.mean.update_state(values)
        else:
            self.add_loss(self.weight * ops.sum(values * shares))
        return logits, values

    def compute_output_shape(
        self, logits_shape: Any, features_shape: Any, target_shape: Any, shares_shape: Any = None
    ) -> tuple[Any, Any]:
        """The shapes of what `call` returns."""
        return logits_shape, logits_shape[:1]

    def get_config(self) -> dict[str, Any]:
        own = {"weight": self.weight, "alpha": self.alpha, "accumulate": self.accumulate}
        return {**super().get_config(), **own}

    def _move(self, labels: Any, away: Any) -> None:
        """Moves the centres, given (B, H, W, C) labels and (B, H, W, F) distances to them."""
        counts = ops.sum(labels, axis=(0, 1, 2))[:, None]
        sums = ops.einsum("bhwc,bhwf->cf", labels, away)
        found = _of_all_replicas(ops.concatenate([sums, counts], axis=1))
        if self.accumulate > 1:
            calls = ops.convert_to_tensor(self.calls) + 1
            due = ops.cast(ops.equal(calls, self.accumulate), "float32")
            found = found + self.waiting
            self.waiting.assign(found * (1 - due))
            self.calls.assign(calls % self.accumulate)
            found = found * due
        self.centers.assign(self.centers + self.alpha * found[:, :-1] / (1 + found[:, -1:]))


def certain_labels(target: Any) -> Any:
    """The label of each pixel where it is beyond doubt: bool, the shape of `target` (B, H, W, C).

    False in all channels where a channel is UNKNOWN, and where there is no label, or more than
    one.
    """
    labels = ops.equal(target, LABELLED)
    single = ops.equal(ops.sum(ops.cast(labels, "int32"), axis=-1), 1)
    known = ops.logical_not(ops.any(ops.equal(target, UNKNOWN), axis=-1))
    return ops.logical_and(labels, ops.logical_and(single, known)[..., None])


def with_center_loss(
    network: keras.Model,
    weight: float = 0.2,
    alpha: float = 0.5,
    features: str | None = None,
    accumulate: int = 1,
    exclusive: bool = True,
    weighted: bool = False,
) -> keras.Model:
    """A model to train in place of a network, with a `CenterLoss` on its features.

    Both share their layers, so what the one learns the other knows: train the model, then predict
    with the network, save it, and forget the model.

        model = with_center_loss(network)
        model.compile("adam", segkit.losses.CrossEntropy())
        model.fit(batches.map(lambda image, target: ((image, target), target)))

    Args:
        network: functional, images (B, H, W, K) -> logits (B, H, W, C).
        weight, alpha, accumulate: see `CenterLoss`.
        features: name of the layer that puts out the features, (B, H, W, F), as large as the
            logits; None: what goes into the last layer.
        exclusive: whether a pixel has one class, as it must.
        weighted: True for `segkit.loop.Loop`: the model takes a third input, the share (B,) of
            each image in the loss, and returns {"logits": (B, H, W, C), "center_loss": (B,)}.

    Returns:
        keras.Model, [images, target] -> logits.

    Raises:
        ValueError: if a number is out of its range, classes may overlap, there is no such layer,
            or the network has not one input, one output and features of each pixel.
    """
    if not exclusive:
        raise ValueError(
            "Center loss pulls each pixel to the centre of its class, so classes must exclude each "
            "other. Received: classes that may overlap (exclusive=False), of which a pixel has "
            "several. Set feature_loss=none."
        )
    x, image, logits = feature_tensor(network, features), network.inputs[0], network.outputs[0]
    layer = CenterLoss(weight, alpha, accumulate)
    target = keras.Input(tuple(logits.shape[1:]), dtype="int8", name="target")
    if not weighted:
        return keras.Model([image, target], layer(logits, x, target)[0], name=network.name)
    shares = keras.Input((), dtype="float32", name="shares")
    logits, values = layer(logits, x, target, shares)
    outputs = {"logits": logits, layer.name: values}
    return keras.Model([image, target, shares], outputs, name=network.name)


def without_feature_loss(network: keras.Model, **options: Any) -> None:
    """Nothing to train in place of the network: what `with_center_loss` is swapped for."""


def feature_tensor(network: keras.Model, layer: str | None = None) -> Any:
    """The symbolic output of a layer, or what goes into the last one: (B, H, W, F).

    Args:
        network: functional, of one input and one output.
        layer: its name; None: the last one.

    Raises:
        ValueError: if there is no such layer, or what there is are not features of each pixel.
    """
    if len(getattr(network, "inputs", None) or ()) != 1 or len(network.outputs) != 1:
        raise ValueError(
            "Features are those of a functional model that maps images to logits, "
            f"keras.Model(image, logits). Received: {type(network).__name__} {network.name}."
        )
    names = [one.name for one in network.layers]
    if layer is not None and layer not in names:
        raise ValueError(
            f"There is no layer {layer!r} to take features from. Received: a network that ends "
            f"with {', '.join(names[-8:])}."
        )
    last = network.outputs[0]._keras_history.operation
    found = last.input if layer is None else network.get_layer(layer).output
    if isinstance(found, list) or len(found.shape) != 4 or found.shape[-1] is None:
        raise ValueError(
            "Features are one tensor (B, H, W, F). Received: "
            f"{[tuple(t.shape) for t in found] if isinstance(found, list) else tuple(found.shape)} "
            f"at {layer or last.name}. Name another layer of the network."
        )
    return found


def _of_pixels(images: Any) -> Any:
    """(B,) -> (B, 1, 1, 1)."""
    return images[:, None, None, None]


def _of_all_replicas(sums: Any) -> Any:
    """(C, F + 1) of this replica -> the sum over all of them, the same bits in each."""
    replica = one_of_several_replicas()
    if replica is None:
        return sums
    import tensorflow as tf

    # A row for each replica, as in batch normalisation: the order of the sum is the same for all.
    own = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, own[:, None, None] * sums)
    return tf.reduce_sum(rows, axis=0)

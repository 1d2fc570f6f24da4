"""One step of training or validation, on one device or on all those of a strategy."""

from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, Mapping, Sequence

import keras
import tensorflow as tf

from segkit.averaging import Average
from segkit.clipping import Clip
from segkit.devices import jit_pays, local_replicas


class Loop:
    """Trains and validates a compiled model, batch by batch.

        g = d/dw 1/B sum_b weight[b] loss[b]

    is the gradient of a step, with the sum over the whole batch of B images: it does not matter
    how many replicas share it, into how many parts each of them cuts its share, one computed
    after another, and whether the shares are equal. (Batch normalisation sees one part at a time,
    and in a last batch of fewer images than parts some of them twice.)

    Differs from `keras.Model.fit`, which weighs unequal shares alike, cannot accumulate
    gradients across replicas, and does not run across machines.

    Args:
        model: compiled, under the scope of the strategy. Its loss is an object whose `call`
            returns one value an image, such as those of segkit.
        metrics: makes those that count, called once for the training and once for the validation
            batches; they get the target, the logits and the weights of the images.
        strategy: the one the model was built under.
        parts: how many parts a replica cuts its share of a batch into; more of them need less
            memory. Batch normalisation sees one part at a time.
        average: follows the weights, or None.
        extended: trained in place of `model`, whose layers it has, for what it adds to the loss:
            images, target and the share (B,) of each image in the loss -> {"logits": (B, H, W, C)
            and others, (B,), by name}. Of the others the mean over the images is logged. None:
            the model itself. See `segkit.models.with_center_loss`.

    Raises:
        ValueError: if the loss is a name or a function.
    """

    def __init__(
        self,
        model: keras.Model,
        metrics: Callable[[], Sequence[keras.metrics.Metric]],
        strategy: tf.distribute.Strategy | None = None,
        parts: int = 1,
        average: Average | None = None,
        extended: keras.Model | None = None,
    ):
        if not isinstance(model.loss, keras.losses.Loss):
            raise ValueError(
                "The model must be compiled with a loss object that returns one value an image, "
                f"such as segkit.losses.CrossEntropy(). Received: {model.loss!r}."
            )
        self.model, self.parts, self.average, self.extended = model, parts, average, extended
        self.strategy = strategy or tf.distribute.get_strategy()
        more = () if extended is None else [name for name in extended.output if name != "logits"]
        with self.strategy.scope():
            self.trained, self.validated = (Scores(metrics(), self._fused, more) for _ in range(2))
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
        self._clip = Clip(model.optimizer) if self.strategy.num_replicas_in_sync > 1 else None
        self._compute = self._differentiate
        if jit_pays(self.strategy):
            self._compute = self._fused(self._differentiate)
        elif parts > 1 and self.strategy.num_replicas_in_sync == 1:
            self._compute = tf.function(self._differentiate)  # traced once for all parts
        self._values = self._fused(model.loss.call)
        self._train = tf.function(self._train_step)
        self._validate = tf.function(self._validation_step)

    @property
    def variables(self) -> list[Any]:
        """All that a step of training changes: of model, optimizer, scores and average."""
        followed = [] if self.average is None else [self.average.steps, *self.average.variables]
        optimizer = self.model.optimizer.variables
        model = self.extended or self.model
        return [*model.variables, *optimizer, *self.trained.variables, *followed]

    def feed(self, make: Callable[..., tf.data.Dataset], parts: int = 1) -> Any:
        """What to iterate over for `train`, or for `validate` with one part.

        Args:
            make: called with shards=(ks, n): the parts ks of each batch cut into n, one after
                another, see `segkit.data.pipeline.batches`.
            parts: how many of them each replica computes one after another.
        """
        replicas = self.strategy.num_replicas_in_sync
        here = local_replicas(self.strategy)
        chosen = [part * replicas + replica for part in range(parts) for replica in here]
        shards = (chosen, parts * replicas)
        return self.strategy.distribute_datasets_from_function(lambda _: make(shards=shards))

    def train(self, batches: Iterator) -> None:
        """One step: takes `parts` parts from the iterator, and moves the weights once.

        A part is (images, target, weights, counts), see `segkit.data.pipeline.batches`.
        """
        self._train(batches)

    def validate(self, batches: Iterator) -> None:
        """Judges one batch, (images, target, counts), and counts it in `validated`."""
        self._validate(batches)

    def _train_step(self, batches: Iterator) -> None:
        gradients: list[Any] = []
        for _ in range(self.parts):
            gradients = self.strategy.run(self._part, args=(next(batches), gradients))
        self.strategy.run(self._move, args=(gradients,))
        if self.average is not None:
            self.average.update()

    def _part(self, part: tuple, before: list[tf.Tensor]) -> list[tf.Tensor]:
        images, target, weights, counts = part
        # One part after another: only then is the memory of one enough.
        with tf.control_dependencies(before):
            images = tf.identity(images)
        gradients, logits, values = self._compute(images, target, weights, counts[0])
        self.trained.count(target, logits, values, weights, self._real(counts))
        return [g + b for g, b in zip(gradients, before)] if before else gradients

    def _differentiate(
        self, images: tf.Tensor, target: tf.Tensor, weights: tf.Tensor, count: tf.Tensor
    ) -> tuple[list[tf.Tensor], tf.Tensor, dict[str, tf.Tensor]]:
        parts = self.parts * self.strategy.num_replicas_in_sync
        shares = weights / tf.cast(count, weights.dtype)
        with tf.GradientTape() as tape:
            # What layers add is divided by the parts, as it may be of no image.
            logits, values, added = self._judged(images, target, shares * parts, training=True)
            loss = tf.reduce_sum(values["loss"] * shares)
            if added:
                loss += tf.add_n(added) / parts
        weights = self.model.trainable_variables
        gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in gradients], logits, values

    def _move(self, gradients: list[tf.Tensor]) -> None:
        if self._clip is not None:
            gradients = self._clip(gradients)
        self.model.optimizer.apply(gradients, self.model.trainable_variables)

    def _validation_step(self, batches: Iterator) -> None:
        self.strategy.run(self._judge, args=(next(batches),))

    def _judge(self, part: tuple) -> None:
        images, target, counts = part
        alike = tf.ones_like(images[:, 0, 0, 0])
        logits, values, _ = self._judged(images, target, alike, training=False)
        self.validated.count(target, logits, values, alike, self._real(counts))

    def _judged(
        self, images: tf.Tensor, target: tf.Tensor, shares: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
        """The logits, what is said of each image, by name, and what layers add to the loss."""
        if self.extended is None:
            logits, more = self.model(images, training=training), {}
        else:
            more = dict(self.extended([images, target, shares], training=training))
            logits = more.pop("logits")
        values = {"loss": self._values(target, logits), **more}
        return logits, values, (self.extended or self.model).losses

    def _fused(self, function: Callable) -> Callable:
        """The function as one kernel of XLA, where that pays: not across replicas."""
        if self.strategy.num_replicas_in_sync > 1:
            return function
        return tf.function(function, jit_compile=True, autograph=False)

    def _real(self, counts: tf.Tensor) -> tf.Tensor | None:
        """How many images of a part count; None for all: it is the whole batch."""
        return counts[1] if self.parts * self.strategy.num_replicas_in_sync > 1 else None


class Scores:
    """The mean loss of the images counted so far, and what the metrics say of them.

    Args:
        metrics: any, of Keras.
        fused: makes one kernel of what counts, or leaves it as it is.
        more: names of what else has a mean over the images.
    """

    def __init__(
        self,
        metrics: Sequence[keras.metrics.Metric],
        fused: Callable[[Callable], Callable],
        more: Iterable[str] = (),
    ):
        self._means = {name: keras.metrics.Mean(name=name) for name in ("loss", *more)}
        self._metrics = list(metrics)
        self._updates = [fused(metric.update_state) for metric in self._metrics]

    @property
    def variables(self) -> list[keras.Variable]:
        """All that counting changes."""
        return [v for metric in self._all for v in metric.variables]

    @property
    def _all(self) -> list[keras.metrics.Metric]:
        return [*self._means.values(), *self._metrics]

    def count(
        self,
        target: tf.Tensor,
        logits: tf.Tensor,
        values: Mapping[str, tf.Tensor],
        weights: tf.Tensor,
        real: tf.Tensor | None = None,
    ) -> None:
        """Takes in a batch: (B, H, W, C) both, and by name what is said of each image, (B,).

        The weights of the images are (B,). Only the first `real` images count; None: all.
        """
        if real is not None:
            target, logits, weights = (part[:real] for part in (target, logits, weights))
            values = {name: part[:real] for name, part in values.items()}
        for name, mean in self._means.items():
            mean.update_state(values[name] * weights)
        for update in self._updates:
            update(target, logits, sample_weight=weights)

    def results(self) -> dict[str, float]:
        """By name, as `keras.Model.fit` would log them."""
        found: dict[str, Any] = {name: mean.result() for name, mean in self._means.items()}
        for metric in self._metrics:
            result = metric.result()
            found |= result if isinstance(result, dict) else {metric.name: result}
        return {name: float(value) for name, value in found.items()}

    def loss(self) -> float:
        """The mean loss alone."""
        return float(self._means["loss"].result())

    def reset(self) -> None:
        """Counts from zero."""
        for metric in self._all:
            metric.reset_state()

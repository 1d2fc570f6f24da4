"""One step of training or validation, on one device or on all those of a strategy."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Sequence

import keras
import tensorflow as tf

from segkit.averaging import Average
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
    ):
        if not isinstance(model.loss, keras.losses.Loss):
            raise ValueError(
                "The model must be compiled with a loss object that returns one value an image, "
                f"such as segkit.losses.CrossEntropy(). Received: {model.loss!r}."
            )
        self.model, self.parts, self.average = model, parts, average
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            self.trained, self.validated = (Scores(metrics(), self._fused) for _ in range(2))
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
        self._clip = _Clip(model.optimizer) if self.strategy.num_replicas_in_sync > 1 else None
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
        return [*self.model.variables, *optimizer, *self.trained.variables, *followed]

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
    ) -> tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = self.model(images, training=True)
            values = self._values(target, logits)
            loss = tf.reduce_sum(values * weights) / tf.cast(count, values.dtype)
            if self.model.losses:  # what layers add, of each image or of none
                shares = self.parts * self.strategy.num_replicas_in_sync
                loss += tf.add_n(self.model.losses) / shares
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
        logits = self.model(images, training=False)
        values = self._values(target, logits)
        self.validated.count(target, logits, values, tf.ones_like(values), self._real(counts))

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
    """

    def __init__(
        self, metrics: Sequence[keras.metrics.Metric], fused: Callable[[Callable], Callable]
    ):
        self._mean = keras.metrics.Mean(name="loss")
        self._metrics = list(metrics)
        self._updates = [fused(metric.update_state) for metric in self._metrics]

    @property
    def variables(self) -> list[keras.Variable]:
        """All that counting changes."""
        return [v for metric in (self._mean, *self._metrics) for v in metric.variables]

    def count(
        self,
        target: tf.Tensor,
        logits: tf.Tensor,
        values: tf.Tensor,
        weights: tf.Tensor,
        real: tf.Tensor | None = None,
    ) -> None:
        """Takes in a batch: (B, H, W, C) both, and the loss and the weight of each image, (B,).

        Only the first `real` images count; None: all.
        """
        if real is not None:
            parts = (target, logits, values, weights)
            target, logits, values, weights = (part[:real] for part in parts)
        self._mean.update_state(values * weights)
        for update in self._updates:
            update(target, logits, sample_weight=weights)

    def results(self) -> dict[str, float]:
        """By name, as `keras.Model.fit` would log them."""
        found: dict[str, Any] = {"loss": self._mean.result()}
        for metric in self._metrics:
            result = metric.result()
            found |= result if isinstance(result, dict) else {metric.name: result}
        return {name: float(value) for name, value in found.items()}

    def loss(self) -> float:
        """The mean loss alone."""
        return float(self._mean.result())

    def reset(self) -> None:
        """Counts from zero."""
        for metric in (self._mean, *self._metrics):
            metric.reset_state()


class _Clip:
    """Clips the sum of the gradients of all replicas, which Keras would clip before adding up."""

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self.norm, self.together = optimizer.clipnorm, optimizer.global_clipnorm
        self.value = optimizer.clipvalue
        optimizer.clipnorm = optimizer.global_clipnorm = optimizer.clipvalue = None

    def __call__(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        if self.norm is self.together is self.value is None:
            return gradients
        context = tf.distribute.get_replica_context()
        whole = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        if self.norm is not None:
            whole = [tf.clip_by_norm(g, self.norm) for g in whole]
        elif self.together is not None:
            whole, _ = tf.clip_by_global_norm(whole, self.together)
        else:
            whole = [tf.clip_by_value(g, -self.value, self.value) for g in whole]
        # The optimizer adds the replicas up once more.
        return [g / context.num_replicas_in_sync for g in whole]

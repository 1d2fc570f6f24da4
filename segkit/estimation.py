"""Estimating while training how often annotators skipped a class that was there."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from segkit.contract import LABELLED, Source, judged_pixels, whole_number
from segkit.data.pipeline import batches, steps
from segkit.losses.estimated import doubtful, estimate_share, estimated_terms, evidence


class AnnotatedShare(keras.callbacks.Callback):
    """Sets the `annotated_share` of the estimated losses after each epoch.

    The model predicts images of the training split as they are, without augmentation or mixing
    and each as likely as the others, and `segkit.losses.estimated.estimate_share` compares what
    it sees where a class is labelled with what it sees where the class is in doubt. The estimates
    go into the log as `annotated_share_CLASS`, hence into history.csv.

    Args:
        loss: the compiled loss; the estimated ones in a sum are found. Their `annotated_share`
            needs one value a class.
        source: the training split.
        images: predicted after each epoch, drawn anew by (seed, epoch): so many in whole batches,
            or all if there are fewer.
        batch_size: images a batch.
        seed: from 0 on.

    Raises:
        ValueError: if a number is out of range, the losses have one share for all classes, or on
            the JAX backend, where a compiled training step keeps the shares it began with.
    """

    def __init__(
        self, loss: Any, source: Source, images: int = 512, batch_size: int = 16, seed: int = 0
    ):
        super().__init__()
        self.losses = list(estimated_terms(loss))
        self.source, self.seed = source, whole_number("seed", seed)
        self.batch_size = whole_number("batch_size", batch_size, least=1)
        most = -(-whole_number("images", images, least=1) // self.batch_size)
        self.steps = min(most, steps(source, self.batch_size))
        if self.losses and keras.backend.backend() == "jax":
            raise ValueError(
                "Estimating annotated_share needs a backend whose compiled steps see it change. "
                "Received: jax. Set KERAS_BACKEND=tensorflow, or keep the share as it is, without "
                "this callback."
            )
        self.shares: list[float] | None = None  # the last estimates, for a run that is resumed
        classes = (source.labels.num_classes,)
        for term in self.losses:
            if tuple(term.annotated_share.shape) != classes:
                raise ValueError(
                    f"{type(term).__name__} needs one annotated_share a class to estimate them, "
                    f"{classes[0]} here. Received: {term.annotated_share.shape}. Pass "
                    f"annotated_share=[0.0] * {classes[0]}, or class_weights."
                )

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self._predict = tf.function(lambda images: model(images, training=False))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.losses:
            return
        labelled, doubted, seen = self._look(epoch)
        names = self.source.labels.names
        shares = np.array(self.losses[0].annotated_share, "float64")
        for c in self.source.labels.foreground:
            if labelled[:, c].any():  # else the last estimate stands: a rare class was not drawn
                shares[c] = estimate_share(seen[labelled[:, c], c], seen[doubted[:, c], c])
            if logs is not None:
                logs[f"annotated_share_{names[c]}"] = shares[c]
        self.shares = shares.tolist()
        self.restored()

    def restored(self) -> None:
        """Gives the last estimates to the losses."""
        for term in self.losses if self.shares is not None else ():
            term.annotated_share.assign(np.array(self.shares, "float32"))

    def _look(self, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """By image and class: is it labelled, is it in doubt, and the evidence; each (N, C)."""
        drawn = batches(
            self.source, self.batch_size, seed=self.seed, first_epoch=epoch, shuffle=True
        )
        parts = [self._states(*batch) for batch in drawn.take(self.steps)]
        labelled, doubted, seen = (np.concatenate(part) for part in zip(*parts))
        return labelled, doubted & ~labelled, seen

    def _states(self, images: Any, target: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        logits = ops.cast(self._predict(images), "float32")
        target = np.asarray(target)
        doubts, shown = doubtful(target, "float32"), (target == LABELLED).any((1, 2))
        everywhere = ops.cast(judged_pixels(target)[..., None], "float32")
        where = ops.where(shown[:, None, None, :], everywhere, doubts)
        return shown, np.asarray(doubts).any((1, 2)), np.asarray(evidence(where, logits))

"""What the losses cost: forward and backward, beside Keras' own cross-entropy.

Each loss takes its turn with `keras.losses.CategoricalCrossentropy(from_logits=True)`, compiled by
tf.function, in float32, so that a busy machine slows both down alike. What is printed is the median
over the rounds of the ratio of their times in one round; times mean nothing across machines.

    python scripts/bench_losses.py [--shape 8 256 256 21] [--repeats 7] [--threads 1] [--jit]
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any, Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from segkit import losses  # noqa: E402
from segkit.labels import LabelSpace  # noqa: E402
from segkit.targets import encode  # noqa: E402

LOSSES = {
    "cross_entropy": losses.CrossEntropy,
    "gated_cross_entropy, predicted": losses.GatedCrossEntropy,
    "gated_cross_entropy, everywhere": lambda w: losses.GatedCrossEntropy(w, gate="everywhere"),
    "gated_cross_entropy, soft": lambda w: losses.GatedCrossEntropy(w, gate="soft"),
    "marginal_cross_entropy": losses.MarginalCrossEntropy,
    "marginal_cross_entropy, smoothed": lambda w: losses.MarginalCrossEntropy(w, 0.1),
    "focal_cross_entropy": losses.FocalCrossEntropy,
    "estimated_cross_entropy": lambda w: losses.EstimatedCrossEntropy(w, annotated_share=0.5),
    "earth_movers": losses.EarthMovers,
    "soft_dice": losses.SoftDice,
    "tversky": losses.Tversky,
    "marginal_dice": losses.MarginalDice,
    "leaf_dice": losses.LeafDice,
    "bce_dice": losses.BCEDice,
    "exclusion": losses.Exclusion,
    "binary_cross_entropy": losses.BinaryCrossEntropy,
    "mean_squared_error": losses.MeanSquaredError,
    "cosine_similarity": losses.CosineSimilarity,
}


def main() -> None:
    options = _options()
    for set_threads in (
        tf.config.threading.set_intra_op_parallelism_threads,
        tf.config.threading.set_inter_op_parallelism_threads,
    ):
        set_threads(options.threads)
    complete, partial, logits = _data(options.shape)
    weights = np.linspace(0.5, 1.5, options.shape[-1]).tolist()
    plain = keras.losses.CategoricalCrossentropy(from_logits=True)
    plain_step = _step(plain, complete, logits, options.jit)
    print(f"{options.shape}, {options.repeats} rounds: times of Keras' categorical cross-entropy")
    print(f"{'':32} {'no weights':>10} {'weights':>8}")
    for name, make in LOSSES.items():
        ratios = [
            compare(_step(make(w), partial, logits, options.jit), plain_step, options.repeats)
            for w in (None, weights)
        ]
        print(f"{name:32} {ratios[0]:10.2f} {ratios[1]:8.2f}", flush=True)


def compare(work: Callable[[], Any], other: Callable[[], Any], repeats: int) -> float:
    """Median over rounds of the time of `work` by that of `other`, right after it."""
    # The first rounds compile and fill caches, and are left out.
    ratios = [_seconds(work) / _seconds(other) for _ in range(repeats + 2)]
    return statistics.median(ratios[2:])


def _data(shape: list[int]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """A target with everything annotated, the same with half of the classes unknown, logits."""
    rng = np.random.default_rng(0)
    classes = shape[-1]
    labels = LabelSpace([f"class {c}" for c in range(classes)])
    masks = rng.integers(0, classes, shape[:3])
    masks[rng.random(masks.shape) < 0.7] = 0
    annotated = rng.random((shape[0], classes)) < 0.5
    annotated[:, 0] = True
    complete = encode(masks, np.ones_like(annotated), labels)
    logits = 2 * rng.normal(size=shape).astype("float32")
    return tuple(map(tf.constant, (complete, encode(masks, annotated, labels), logits)))


def _step(
    loss: keras.losses.Loss, target: tf.Tensor, logits: tf.Tensor, jit: bool
) -> Callable[[], Any]:
    @tf.function(jit_compile=jit)
    def step(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = loss(target, logits)
        return tape.gradient(value, logits)

    return lambda: step(target, logits)


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()[0, 0, 0].numpy()  # waits for the device
    return time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=4, default=[8, 256, 256, 21])
    parser.add_argument("--repeats", type=int, default=7, help="rounds, at least 5")
    parser.add_argument("--threads", type=int, default=0, help="0: as TensorFlow likes")
    parser.add_argument("--jit", action="store_true", help="compile with XLA, both")
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error(f"--repeats must be at least 5. Received: {options.repeats}.")
    return options


if __name__ == "__main__":
    main()

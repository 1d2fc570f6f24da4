"""What missing planes cost where classes overlap: nothing hidden, known to be hidden, not known.

    python scripts/bench_independent.py            # a few minutes on 2 cores

16 classes of half transparent shapes, up to 5 in an image of 40 x 40, 600 images; a U-Net of 8
filters and depth 3, 900 steps of 8 images with Adam and a cosine decay from 0.003. `full`:
everything annotated; `masked`: a share of the planes hidden and unknown; `naive`: the same planes,
taken for absent. Scores are against the full truth of 60 other images; predicting nothing scores 0.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

from segkit import losses, metrics, models  # noqa: E402
from segkit.synthetic import Overlapping, hide  # noqa: E402
from segkit.targets import encode  # noqa: E402

WAYS = ("full", "masked", "naive")
LOSSES = {
    "cosine_similarity": losses.CosineSimilarity,
    "binary_cross_entropy": losses.BinaryCrossEntropy,
    "bce_dice": losses.BCEDice,
}


def drawn(split: str, count: int, size: int) -> tuple[Overlapping, np.ndarray, np.ndarray]:
    """Scenes with their images in [0, 1] and planes."""
    options = {"classes": 16, "present": [1, 5], "size": [0.16, 0.26], "split": split}
    scenes = Overlapping(count, size, size, **options)
    samples = [scenes[i] for i in range(count)]
    images = np.stack([sample.image for sample in samples]).astype("float32") / 255
    return scenes, images, np.stack([sample.mask for sample in samples])


def score(
    way: str, loss: str, rate: float, steps: int, seed: int, size: int = 40
) -> metrics.Counts:
    """Counts against the full truth after a training."""
    scenes, images, masks = drawn("train", 600, size)
    labels, annotated = scenes.labels, np.ones((len(masks), 16), bool)
    if way != "full":
        masks, annotated = hide(masks, labels, rate=rate, seed=seed)
    if way == "naive":
        annotated = np.ones_like(annotated)
    target = encode(masks, annotated, labels)
    keras.utils.set_random_seed(seed)
    model = models.unet((None, None, 3), 16, filters=8, depth=3)
    rate_of_learning = keras.optimizers.schedules.CosineDecay(0.003, steps)
    model.compile(keras.optimizers.Adam(rate_of_learning), LOSSES[loss](), jit_compile=False)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.integers(len(images), size=8)
        model.train_on_batch(images[chosen], target[chosen])
    _, images, masks = drawn("val", 60, size)
    truth = encode(masks, np.ones((len(masks), 16), bool), labels)
    return metrics.count(truth, model.predict(images, batch_size=20, verbose=0) >= 0)


def main() -> None:
    """Prints a row for each way."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--loss", choices=sorted(LOSSES), default="cosine_similarity")
    parser.add_argument("--rate", type=float, default=0.3, help="share of the planes hidden")
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(f"{given.loss}, {given.rate:.0%} hidden, {given.steps} steps, seed {given.seed}")
    for way in given.ways:
        found = score(way, given.loss, given.rate, given.steps, given.seed)
        parts = {"IoU": found.iou, "precision": found.precision, "recall": found.recall}
        print(way, *(f"{key} {np.nanmean(value):.3f}" for key, value in parts.items()), flush=True)


if __name__ == "__main__":
    main()

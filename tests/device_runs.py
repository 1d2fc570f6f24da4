"""Trains one network on one and on two devices; run as a program by test_devices.

A processor must be split before TensorFlow computes, which in the process of the tests it has.
"""

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras  # noqa: E402
import numpy as np  # noqa: E402

from segkit import checkpoints, epochs  # noqa: E402
from segkit.averaging import Average  # noqa: E402
from segkit.contract import Sample  # noqa: E402
from segkit.data.pipeline import batches  # noqa: E402
from segkit.devices import choose_strategy  # noqa: E402
from segkit.labels import LabelSpace  # noqa: E402
from segkit.loop import Loop  # noqa: E402
from segkit.losses import CrossEntropy  # noqa: E402
from segkit.metrics import MeanIoU  # noqa: E402
from segkit.models import unet, with_center_loss  # noqa: E402
from segkit.resuming import Position, Saver  # noqa: E402

NAMES = ["background", "cell", "rim"]
BATCH, EPOCHS = 4, 2


class Listed(list):
    labels = LabelSpace(NAMES)


def source(count):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (count, 7, 7, 3), dtype=np.uint8)
    return Listed(
        Sample(image, rng.integers(0, 3, (7, 7)), np.ones(3, bool), weight=weight)
        for image, weight in zip(images, rng.choice([0.5, 1.0, 3.0], count))
    )


def made(devices, parts=1, normalization="none", momentum=None, center=False, **optimizer):
    strategy = choose_strategy(devices)
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = unet(num_classes=3, filters=4, depth=1, normalization=normalization)
        # Not Adam: where a gradient is 0 but for rounding, it makes a whole step of the rounding.
        model.compile(keras.optimizers.SGD(0.05, 0.9, **optimizer), loss=CrossEntropy())
        average = None if momentum is None else Average(model, momentum)
        extended = with_center_loss(model, accumulate=parts, weighted=True) if center else None
    return Loop(model, lambda: [MeanIoU(NAMES)], strategy, parts, average, extended)


def feeds(loop, images):
    def train(position):
        def make(shards):
            options = {"epochs": EPOCHS, "shuffle": True, "weighted": True, "counted": True}
            return batches(images, BATCH, shards=shards, **options)

        return loop.feed(make, loop.parts)

    watched = loop.feed(lambda shards: batches(images, BATCH, shards=shards, counted=True))
    return train, watched


def trained(images, *arguments, **options):
    """Weights, and scores of training and validation, by name."""
    loop = made(*arguments, **options)
    train, watched = feeds(loop, images)
    steps = -(-len(images) // BATCH)
    log = keras.callbacks.History()
    epochs.fit(loop, train, watched, epochs.Steps(EPOCHS, steps, steps), [log])
    found = {f"weight {i}": np.asarray(w) for i, w in enumerate(loop.model.weights)}
    if loop.extended is not None:
        found["centers"] = np.asarray(loop.extended.get_layer("center_loss").centers)
    if loop.average is not None:
        found |= {f"average {i}": np.asarray(a) for i, a in enumerate(loop.average.variables)}
    return found | {f"score {name}": np.asarray(values) for name, values in log.history.items()}


def saved(images, folder):
    """What is counted in the middle of an epoch, and what another loop finds in the checkpoint."""
    loop, other = made(2), made(2)
    iterator = iter(feeds(loop, images)[0](Position()))
    for _ in range(3):
        loop.train(iterator)
    Saver(folder, loop, [], "").save(Position(0, 3))
    Saver(folder, other, [], "", found=checkpoints.newest(folder)).restore()
    counts = [
        [np.asarray(v.value.read_value()) for v in one.trained.variables] for one in (loop, other)
    ]
    return {f"{k} {i}": part for k, parts in enumerate(counts) for i, part in enumerate(parts)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    one_left, three_left = source(13), source(11)  # in the last batch, for two devices
    clipped = {"momentum": 0.9, "global_clipnorm": 0.05}
    runs = {
        # First, as the processor is split only before anything is computed.
        "plain 2": trained(one_left, 2),
        "plain 1": trained(one_left, 1),
        "parts 2": trained(one_left, 2, parts=2),
        "batch 2": trained(three_left, 2, normalization="batch"),
        "batch 1": trained(three_left, 1, normalization="batch"),
        "clipped 2": trained(one_left, 2, **clipped),
        "clipped 1": trained(one_left, 1, **clipped),
        "center 2": trained(one_left, 2, parts=2, center=True),
        "center 1": trained(one_left, 1, center=True),
        "saved": saved(one_left, folder / "checkpoints"),
    }
    for name, values in runs.items():
        np.savez(folder / f"{name}.npz", **values)

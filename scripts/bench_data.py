"""How fast images reach the model, beside other loaders; how much memory that takes; who waits.

    python scripts/bench_data.py speed [--data DIR] [--size 128] [--rounds 7]
    python scripts/bench_data.py memory [--counts 200 20000]
    python scripts/bench_data.py waiting [--data DIR]

`speed`: images a second of segkit's pipeline, of a PyTorch DataLoader with the same transforms, and
of tf.data with the operations of Keras' image_dataset_from_directory, on the same files. They take
turns, so that a busy machine slows all of them down alike; the medians of the rounds are shown, and
the median of the ratios within a round. PyTorch is left out where it is not installed.

`memory`: peak resident size of a process that goes through one epoch of few and of many images.

`waiting`: the share of the training time of the default model in which it waits for a batch.

DIR is a folder data set; without one, images of 480x360 are made up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import bench_data_rivals as rivals  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from PIL import Image  # noqa: E402

from segkit import assembly, sources, training  # noqa: E402
from segkit.config import build, compose  # noqa: E402
from segkit.data import writing  # noqa: E402
from segkit.data.folder import Folder  # noqa: E402
from segkit.data.pipeline import batches  # noqa: E402
from segkit.labels import LabelSpace  # noqa: E402

LABELS = LabelSpace(["background", *(f"class {c}" for c in range(1, 12))])
CACHES = ("none", "disk", "memory")
TORCH = "PyTorch DataLoader"
BATCH = 8
SKIPPED = 10  # steps of an epoch that compile, or fill buffers


def main() -> None:
    options = _options()
    if options.part is epoch:
        return epoch(options)
    with tempfile.TemporaryDirectory(prefix="bench_data_") as scratch:
        options.scratch = Path(scratch)
        options.part(options)


# Speed


def speed(options: argparse.Namespace) -> None:
    """Prints images a second of every loader."""
    data = options.data or make(options.scratch / "data", 200)
    starts, count = loaders(data, options)
    epochs = max(1, round(options.images / count))
    print(f"{count} images at {options.size}, {epochs} epochs a round, {options.rounds} rounds")
    rates: dict[str, list[float]] = {name: [] for name in starts}
    for _ in range(options.rounds + 1):
        for name, start in starts.items():
            rates[name].append(epochs * count / _seconds(start(epochs)))
    _print_rates({name: found[1:] for name, found in rates.items()})  # the first round warms up


def loaders(
    data: Path, options: argparse.Namespace
) -> tuple[dict[str, Callable[[int], Iterable]], int]:
    """{name: epochs -> batches}, and the number of images in an epoch."""
    light = build(compose("train", ["data=folder", f"data.root='{data}'"]).augment)
    starts: dict[str, Callable[[int], Iterable]] = {}
    for kind in CACHES:
        source = _open(data, options.size, kind, options.scratch / "cache")
        starts[f"segkit, cache={kind}"] = _segkit(source, light)
    files, size = [(pair.image, pair.mask) for pair in source.pairs], source[0].mask.shape[:2]
    try:
        args = files, size, light.transforms, BATCH, options.workers
        starts[f"{TORCH}, {options.workers} workers"] = rivals.torch_loader(*args)
    except ImportError:
        print("PyTorch is not installed, and left out.")
    starts["tf.data, Keras' operations"] = rivals.keras_style(files, size, BATCH)
    return starts, len(source)


def _segkit(source: Folder, augmentation: Any) -> Callable[[int], Iterable]:
    return lambda epochs: batches(
        source, BATCH, epochs=epochs, shuffle=True, augmentation=augmentation
    )


def _open(data: Path, size: list[int], kind: str, folder: Path) -> Folder:
    """The split train; says how long it took to look at the files."""
    start = time.perf_counter()
    node = compose("train", ["data=folder", f"data.root='{data}'", f"data.size={size}"]).data
    node.cache, node.cache_folder = kind, str(folder)
    found = sources.open_splits(node)["train"]
    print(f"opened with cache={kind} in {time.perf_counter() - start:.1f} s", flush=True)
    return found


def _seconds(batches_of_a_round: Iterable) -> float:
    start = time.perf_counter()
    for _ in batches_of_a_round:
        pass
    return time.perf_counter() - start


def _print_rates(rates: dict[str, list[float]]) -> None:
    base = next((found for name, found in rates.items() if name.startswith(TORCH)), None)
    print(f"{'':32} {'images/s':>8} {'by PyTorch':>11}")
    for name, found in rates.items():
        ratio = "" if base is None else f"{statistics.median(np.divide(found, base)):11.2f}"
        print(f"{name:32} {statistics.median(found):8.0f} {ratio}")


# Memory


def memory(options: argparse.Namespace) -> None:
    """Prints the peak resident size of one epoch, by the number of images."""
    few, many = (make(options.scratch / str(n), n, (64, 64)) for n in options.counts)
    print(f"{'':12} " + " ".join(f"{n:>8,}" for n in options.counts) + f" {'ratio':>6}   MiB")
    for kind in ("none", "disk"):
        peaks = [_peak_of_child(data, kind, options.scratch / "cache") for data in (few, many)]
        shown = " ".join(f"{peak:8.0f}" for peak in peaks)
        print(f"cache={kind:6} {shown} {peaks[1] / peaks[0]:6.3f}", flush=True)


def epoch(options: argparse.Namespace) -> None:
    """Goes through one epoch, and prints the peak resident size in MiB; `memory` runs this."""
    source = _open(options.data, [64, 64], options.cache, options.cache_folder)
    light = build(compose("train").augment)
    for _ in _segkit(source, light)(1):
        pass
    print(_peak())


def _peak_of_child(data: Path, kind: str, folder: Path) -> float:
    places = ["--data", data, "--cache", kind, "--cache-folder", folder]
    command = [sys.executable, __file__, "epoch", *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _peak() -> float:
    """MiB; not ru_maxrss, which starts at what the parent had when it started this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


# Waiting


def waiting(options: argparse.Namespace) -> None:
    """Prints the share of the training time that the default model waits for its batches."""
    data = options.data or make(options.scratch / "data", 200)
    folder = ["data=folder", f"data.root='{data}'", f"data.size={options.size}"]
    folder += [f"data.cache_folder='{options.scratch / 'cache'}'"]
    for name, overrides in (("scenes", []), ("folder", folder)):
        times = timed_run(overrides, options.scratch / f"run_{name}", options.epochs)
        share, step = waited(times, options.epochs)
        print(f"{name:8} waits {share:6.2%} of {step * 1e3:.0f} ms a step", flush=True)


def timed_run(overrides: list[str], output: Path, epochs: int) -> np.ndarray:
    """When each training step asked for its batch, and when it got it; seconds, (steps, 2)."""
    times: list[tuple[float, float]] = []
    usual = assembly.batches

    def timed(source: Any, *args: Any, **options: Any) -> tf.data.Dataset:
        loaded = usual(source, *args, **options)
        if not options.get("shuffle"):  # validation
            return loaded

        def ask() -> Iterator[Any]:
            batches_left = iter(loaded)
            while True:
                asked = time.perf_counter()
                batch = next(batches_left, None)
                if batch is None:
                    return
                times.append((asked, time.perf_counter()))
                yield batch

        # Nothing after this one loads ahead, so it is asked when the step before has ended.
        return tf.data.Dataset.from_generator(ask, output_signature=loaded.element_spec)

    config = compose("train", [*overrides, f"trainer.epochs={epochs}", f"output='{output}'"])
    assembly.batches = timed
    try:
        training.run(config)
    finally:
        assembly.batches = usual
    return np.array(times)


def waited(times: np.ndarray, epochs: int) -> tuple[float, float]:
    """The share of the time spent waiting, and the seconds of a step, without the first ones."""
    of_epoch = times.reshape(epochs, -1, 2)[:, min(SKIPPED, len(times) // epochs // 2) :]
    # The last step of an epoch lasts until the validation is over, and is left out.
    total = (of_epoch[:, -1, 0] - of_epoch[:, 0, 0]).sum()
    waits = (of_epoch[:, :-1, 1] - of_epoch[:, :-1, 0]).sum()
    return waits / total, total / of_epoch[:, :-1, 0].size


def make(root: Path, count: int, size: tuple[int, int] = (360, 480)) -> Path:
    """A data set of made-up images, no two alike: JPEG, every fourth PNG; returns its folder."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    writing.write_labels(LABELS, root)
    for index in range(count):
        rng = np.random.default_rng(index)
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        smooth = np.array(coarse.resize(size[::-1], Image.Resampling.BICUBIC), np.int16)
        image = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
        suffix = ".png" if index % 4 == 3 else ".jpg"
        Image.fromarray(image).save(root / "images" / f"{index:06d}{suffix}", compress_level=1)
        ids = Image.fromarray(rng.integers(0, len(LABELS.names), (6, 8), np.uint8))
        ids.resize(size[::-1], Image.Resampling.NEAREST).save(root / "masks" / f"{index:06d}.png")
    return root


def _options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(required=True)
    for part in (speed, memory, waiting, epoch):
        # That `epoch` exists is nobody's business.
        text = {} if part is epoch else {"help": part.__doc__}
        one = parts.add_parser(part.__name__, **text)
        one.set_defaults(part=part)
        if part is not memory:
            one.add_argument("--data", type=Path, help="a folder data set; made up without one")
            one.add_argument("--size", type=int, nargs="+", default=[128], help="pixels")
    one.add_argument("--cache", choices=CACHES)
    one.add_argument("--cache-folder", type=Path)
    of_speed, of_memory, of_waiting, _ = parts.choices.values()
    of_speed.add_argument("--rounds", type=int, default=7, help="at least 5")
    of_speed.add_argument("--images", type=int, default=2000, help="about so many a round")
    of_speed.add_argument("--workers", type=int, default=2, help="of PyTorch")
    of_memory.add_argument("--counts", type=int, nargs=2, default=[200, 20_000], help="of images")
    of_waiting.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args(arguments)
    if getattr(options, "rounds", 5) < 5:
        parser.error(f"--rounds must be at least 5. Received: {options.rounds}.")
    if "size" in options:
        options.size = (options.size * 2)[:2]
    return options


if __name__ == "__main__":
    main()

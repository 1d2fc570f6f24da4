"""How fast a trained U-Net predicts: segkit beside stock Keras and MONAI, on the machine at hand.

    python scripts/bench_prediction.py [images] [tiles] [memory] [--json FILE]

images: batches of small images; segkit's folded copy against Keras' `predict` of the same network
    built of Keras' own layers.
tiles: one large image in tiles that overlap by a quarter; segkit's blending against MONAI's
    `sliding_window_inference` with the same network in PyTorch, tile, overlap and tiles at once.
memory: the peak of a whole `segkit predict` of an 8,192 x 8,192 image, for PNG and tiled TIFF.

All weights are random: they change nothing of this. Each variant has a process of its own, which
computes when its turn comes; shown are the medians of the rounds and of the ratios within a round.
What is not installed is left out: pip install -e '.[bench]' has PyTorch and MONAI.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable

import bench_training_rivals as rivals
import numpy as np
from bench_training import Variant, Worker
from bench_training_torch import torch_unet

PARTS = ("images", "tiles", "memory")
TILE, OVERLAP, AT_ONCE = 512, 0.25, 4
EDGE = 8192  # of the image of `memory`


def folded(precision: str, shape: rivals.Shape) -> rivals.Trainer:
    """segkit's copy for inference: from bytes to probabilities."""
    run = _segkit(precision, shape)
    images = (255 * rivals.random_data(shape)[0]).astype("uint8")
    return _trainer(lambda: run(images))


def keras_predict(policy: str, jit: bool | str, shape: rivals.Shape) -> rivals.Trainer:
    """Keras' own layers and `predict`: from floats to logits."""
    import keras
    import tensorflow as tf

    keras.config.set_dtype_policy(policy)
    model = rivals.keras_unet((None, None, 3), shape.classes, shape.filters, shape.depth)
    model.compile(jit_compile=jit)
    batches = tf.data.Dataset.from_tensors(rivals.random_data(shape)[0]).repeat()
    steps = lambda count: model.predict(batches, steps=count, verbose=0)  # noqa: E731
    return rivals.Trainer(steps, _device(), note=f"XLA {'on' if model.jit_compile else 'off'}")


def blended(precision: str, shape: rivals.Shape) -> rivals.Trainer:
    """segkit's tiles: from the bytes of one image to its probabilities."""
    from segkit.inference import Tiling
    from segkit.inference import blended as blend

    run, image = _segkit(precision, shape), _large(shape)
    tiling = Tiling(TILE, OVERLAP, AT_ONCE)

    def once() -> None:
        for _ in blend(lambda rows, columns: image[rows, columns], image.shape[:2], run, tiling):
            pass

    return _trainer(once)


def monai(bfloat16: bool, last: bool, shape: rivals.Shape) -> rivals.Trainer:
    """MONAI's sliding window, blended by a Gaussian: from floats to probabilities."""
    import torch
    from monai.inferers import sliding_window_inference

    device = "cuda" if torch.cuda.is_available() else "cpu"
    order = torch.channels_last if last else torch.contiguous_format
    model = torch_unet(shape).eval().to(device, memory_format=order)
    image = torch.from_numpy(_large(shape)).permute(2, 0, 1)[None].to(device).float() / 255

    def network(tiles: Any) -> Any:
        return torch.softmax(model(tiles.contiguous(memory_format=order)).float(), 1)

    def once() -> None:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            sliding_window_inference(
                image, (TILE, TILE), AT_ONCE, network, overlap=OVERLAP, mode="gaussian"
            )

    return _trainer(once, "GPU" if device == "cuda" else "CPU")


IMAGES = {
    "segkit": Variant("segkit, folded", "bfloat16", partial(folded, "bfloat16")),
    "segkit-float32": Variant("segkit, folded", "float32", partial(folded, "float32")),
    "keras": Variant(
        "Keras predict, as it comes", "float32", partial(keras_predict, "float32", "auto")
    ),
    "keras-plain": Variant(
        "Keras predict, no XLA", "float32", partial(keras_predict, "float32", False)
    ),
    "keras-bfloat16": Variant(
        "Keras predict, no XLA", "bfloat16", partial(keras_predict, "mixed_bfloat16", False)
    ),
}
TILES = {
    "segkit": Variant("segkit, blended tiles", "bfloat16", partial(blended, "bfloat16")),
    "segkit-float32": Variant("segkit, blended tiles", "float32", partial(blended, "float32")),
    "monai": Variant("MONAI sliding window", "float32", partial(monai, False, False)),
    "monai-last": Variant("... channels_last", "float32", partial(monai, False, True)),
    "monai-bfloat16": Variant("... channels_last", "bfloat16", partial(monai, True, True)),
}


def measure(
    variants: dict[str, Variant], shape: rivals.Shape, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Lets the variants take turns; returns the seconds of a step of each round, by name."""
    workers = {name: Worker(variant, shape) for name, variant in variants.items()}
    for name, worker in workers.items():
        if worker.skipped:
            print(f"{variants[name].title}: left out, {worker.skipped}")
    turns = {name: worker for name, worker in workers.items() if not worker.skipped}
    for worker in turns.values():
        worker.warm_up(seconds)
    times: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds):
        order = list(turns)
        for name in order[number % len(order) :] + order[: number % len(order)]:
            times[name].append(turns[name].run())
    for worker in workers.values():
        worker.stop()
    return times


def table(
    title: str, variants: dict[str, Variant], times: dict[str, list[float]], unit: Callable
) -> list[str]:
    """The lines of a Markdown table; ratios are those of segkit in the same precision, too."""
    lines = [f"| {title} | precision | a second | segkit is faster by | in the same precision |"]
    lines.append("|---|---|---|---|---|")
    for name, found in times.items():
        variant = variants[name]
        same = "segkit" if variant.precision == "bfloat16" else "segkit-float32"
        ratios = (_ratio(times, ours, name) for ours in ("segkit", same))
        cells = [variant.title, variant.precision, unit(statistics.median(found)), *ratios]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def memory(kind: str, shape: rivals.Shape) -> tuple[float, float]:
    """Peak of `segkit predict` in MiB, and its seconds, on an image of 8,192 x 8,192 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_run(place / "run", shape)
        _write_image(place / f"image.{kind}")
        out = "png" if kind == "png" else "tif"
        keys = [f"run={place / 'run'}", f"input={place / f'image.{kind}'}", f"masks={out}"]
        code = (
            "import sys, time; from segkit.cli import main; before = time.time()\n"
            "assert main(['predict', *sys.argv[1:]]) == 0\n"
            "peak = [row for row in open('/proc/self/status') if row.startswith('VmHWM')]\n"
            "print(int(peak[0].split()[1]) / 1024, time.time() - before)"
        )
        command = [sys.executable, "-c", code, *keys, f"output={place / 'out'}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peak, seconds = done.stdout.split("\n")[-2].split()
    return float(peak), float(seconds)


def main(arguments: list[str] | None = None) -> None:
    """Measures, and prints the tables."""
    options = _options(arguments)
    shape = rivals.Shape(options.batch_size, options.size, options.filters, options.depth, 4)
    found: dict[str, Any] = {"shape": shape._asdict(), "cores": os.cpu_count()}
    if "images" in options.parts:
        times = found["images"] = measure(IMAGES, shape, options.rounds, options.seconds)
        unit = lambda seconds: f"{shape.batch / seconds:.1f} images"  # noqa: E731
        print("\n".join(table(f"batch {shape.batch}", IMAGES, times, unit)), flush=True)
    if "tiles" in options.parts:
        large = shape._replace(size=options.large)
        times = found["tiles"] = measure(TILES, large, options.rounds, options.seconds)
        unit = lambda seconds: f"{large.size**2 / seconds / 1e6:.3f} megapixels"  # noqa: E731
        print("\n".join(table(f"{large.size} x {large.size}", TILES, times, unit)), flush=True)
    if "memory" in options.parts:
        print(f"| {EDGE:,} x {EDGE:,} x 3 | peak, MiB | seconds |\n|---|---|---|")
        for kind in ("png", "tif"):
            peak, seconds = found[kind] = memory(kind, shape)
            print(f"| {kind} | {peak:,.0f} | {seconds:.0f} |", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _segkit(precision: str, shape: rivals.Shape) -> Callable[[np.ndarray], np.ndarray]:
    from segkit import models
    from segkit.inference import compiled

    model = models.unet((None, None, 3), shape.classes, shape.filters, shape.depth)
    return compiled(models.fold(models.recast(model, precision)))


def _trainer(once: Callable[[], Any], device: str | None = None) -> rivals.Trainer:
    def steps(count: int) -> None:
        for _ in range(count):
            once()

    return rivals.Trainer(steps, _device() if device is None else device)


def _device() -> str:
    import tensorflow as tf

    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def _large(shape: rivals.Shape) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (shape.size, shape.size, 3), "uint8")


def _ratio(times: dict[str, list[float]], ours: str, name: str) -> str:
    if ours == name or ours not in times:
        return ""
    ratios = [theirs / mine for mine, theirs in zip(times[ours], times[name])]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def _write_run(folder: Path, shape: rivals.Shape) -> None:
    """What a run folder must hold, with an untrained model."""
    from segkit import models
    from segkit.labels import LabelSpace

    folder.mkdir()
    model = models.unet((None, None, 3), shape.classes, shape.filters, shape.depth)
    model.save(folder / "model.keras")
    LabelSpace(names=["background", "a", "b", "c"]).to_json(folder / "labels.json")
    (folder / "config.yaml").write_text("data: {}\n", encoding="utf-8")


def _write_image(path: Path) -> None:
    """Noise over a slow wave, so that it neither compresses to nothing nor not at all."""
    from skimage.io import imsave
    from tifffile import imwrite

    rng = np.random.default_rng(0)
    wave = (100 * (1 + np.sin(np.arange(EDGE) / 300))).astype("uint8")
    image = rng.integers(0, 16, (EDGE, EDGE, 3), "uint8") + wave[:, None, None]
    if path.suffix == ".tif":
        imwrite(path, image, tile=(256, 256), compression="deflate", photometric="rgb")
    else:
        imsave(path, image, check_contrast=False)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=", ".join(PARTS))
    parser.add_argument("--batch-size", type=int, default=16, help="images")
    parser.add_argument("--size", type=int, default=128, help="pixels of the small images")
    parser.add_argument("--large", type=int, default=1536, help="pixels of the large one")
    parser.add_argument("--filters", type=int, default=32, help="channels of the first level")
    parser.add_argument("--depth", type=int, default=4, help="poolings")
    parser.add_argument("--rounds", type=int, default=5, help="at least 5")
    parser.add_argument("--seconds", type=float, default=2, help="about so long a turn")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    options = parser.parse_args(arguments)
    unknown = set(options.parts) - set(PARTS)
    if unknown or options.rounds < 5:
        parser.error(f"parts are {', '.join(PARTS)}, and --rounds at least 5. Received: {options}.")
    return options


if __name__ == "__main__":
    main()

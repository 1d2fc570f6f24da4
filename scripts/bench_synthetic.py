"""How fast synthetic scenes are: an image with its mask against the article's masks alone.

Both are drawn in turn, a few samples at a time, in one process on one thread, so that a busy
machine slows both down alike. Times mean nothing across machines; the ratio does.

    python scripts/bench_synthetic.py [--sizes 64 128 256] [--repeats 15] [--samples 40]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Callable

import cv2

from segkit.synthetic.scenes import Scenes
from segkit.synthetic.shapes import article


def main() -> None:
    options = _options()
    cv2.setNumThreads(1)
    print("Microseconds a sample, medians; the ratio is above 1 where the scene is faster.")
    print(f"{'pixels':>6} {'article':>8} {'difficulty':>10} {'scene':>8} {'ratio':>6}")
    for size in options.sizes:
        for difficulty in options.difficulties:
            masks, scene = compare(size, difficulty, options.repeats, options.samples)
            print(f"{size:6d} {masks:8.0f} {difficulty:10g} {scene:8.0f} {masks / scene:6.2f}")


def compare(size: int, difficulty: float, repeats: int, samples: int) -> tuple[float, float]:
    """Median microseconds of one sample: the article's masks, and a scene with its mask."""
    scenes = Scenes(samples, size, size, difficulty=difficulty)

    def draw_masks() -> None:
        article(samples, size, size)

    def draw_scenes() -> None:
        for index in range(samples):
            scenes[index]

    times = [(_seconds(draw_masks), _seconds(draw_scenes)) for _ in range(repeats + 1)]
    # The first round fills caches and is left out.
    masks, drawn = zip(*times[1:])
    return tuple(1e6 * statistics.median(part) / samples for part in (masks, drawn))


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--difficulties", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--repeats", type=int, default=15, help="rounds, at least 5")
    parser.add_argument("--samples", type=int, default=40, help="samples a round")
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error(f"--repeats must be at least 5. Received: {options.repeats}.")
    return options


if __name__ == "__main__":
    main()

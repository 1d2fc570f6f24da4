"""How long `segkit check` takes, beside a loop that only decodes the same files in two threads.

    python scripts/bench_check.py [--images 300] [--rounds 5]

Images of 512x512 and their masks; the two take turns, and the medians and the median of the ratios
are shown. What check does but decode grows with the number of images, too; its start does not.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import bench_data  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from segkit import checking  # noqa: E402
from segkit.config import compose  # noqa: E402


def main() -> None:
    """Prints images a second of both, and the ratio of their times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_check_") as scratch:
        root = bench_data.make(Path(scratch) / "data", options.images, (512, 512))
        files = sorted(root.glob("images/*")) + sorted(root.glob("masks/*"))
        config = compose("check", [f"data.root='{root}'", "output=null"])
        times = [
            (_seconds(lambda: _decode(files)), _seconds(lambda: checking.check(config)))
            for _ in range(options.rounds + 1)
        ][1:]
    for name, found in zip(("decoding", "check"), zip(*times)):
        print(f"{name:10} {options.images / statistics.median(found):6.0f} images/s")
    print(f"check takes {statistics.median(c / d for d, c in times):.2f} times as long")


def _decode(files: list[Path]) -> None:
    with ThreadPoolExecutor(2) as pool:
        for _ in pool.map(lambda path: np.asarray(Image.open(path)).shape, files):
            pass


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

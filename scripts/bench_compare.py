"""How long `segkit compare` takes over a thousand runs, against only reading their files.

Run: python scripts/bench_compare.py [--runs 1000]

Both read the same made-up run folders (config, scores, history, gallery, as training leaves them):
`segkit compare` as a process of its own, with its tables and its page; and a loop with PyYAML's
default loader and json, which makes nothing of what it reads. Alternately, medians.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from comparison_runs import block, write_run  # noqa: E402

READ = """import json, pathlib, sys, yaml
for folder in pathlib.Path(sys.argv[1]).iterdir():
    yaml.safe_load((folder / "config.yaml").read_text())
    json.loads((folder / "metrics.json").read_text())
"""


def main() -> None:
    """Writes the runs, times both, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        top, output = Path(folder, "runs"), Path(folder, "output")
        write(top, arguments.runs)
        compare = [sys.executable, "-m", "segkit.cli", "compare", str(top), f"output={output}"]
        ways = {"segkit compare": compare, "only reading": [sys.executable, "-c", READ, str(top)]}
        ways["segkit compare --help"] = [*compare[:4], "--help"]
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.repeats):
            for name, command in ways.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
        page = (output / "comparison.html").stat().st_size
    reading = statistics.median(seconds["only reading"])
    print(f"{arguments.runs} runs, page of {page / 2**20:.2f} MiB")
    for name, times in seconds.items():
        median = statistics.median(times)
        print(f"{name:<24} {median:6.2f} s   {median / reading:5.2f} x reading")


def write(top: Path, runs: int) -> None:
    """Runs of 5 seeds each over losses, widths and learning rates, with a gallery."""
    rng = np.random.default_rng(0)
    rates = np.geomspace(1e-4, 1e-1, max(1, runs // 20))
    with_gallery = top / "0"
    for number in range(runs):
        choice, seed = divmod(number, 5)
        rate, width = divmod(choice, 2)
        folder = top / str(number)
        rate, loss = divmod(rate, 2)
        best = 0.8 - 0.1 * abs(np.log10(rates[rate % len(rates)]) + 2.5) + 0.05 * loss
        means = np.clip(best + rng.normal(0, 0.01, 3) + (0.1, 0, -0.1), 0, 1).tolist()
        write_run(
            folder,
            means,
            blocks={"val": block(means), "val/truth": block(means)},
            epochs=50,
            images=12 if number == 0 else 0,
            loss=("cross_entropy", "tversky")[loss],
            seed=seed,
            model__filters=(16, 32)[width],
            optimizer__learning_rate=float(rates[rate % len(rates)]),
            **{f"trainer__key{k}": [k, {"a": 1, "b": "text"}] for k in range(12)},
        )
        if number:
            shutil.copytree(with_gallery / "gallery", folder / "gallery")


if __name__ == "__main__":
    main()

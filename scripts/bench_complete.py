"""What one round of pseudo-labels gains on half-hidden scenes, against the full truth.

Each step is one command in a process of its own; its folder is the record, so the same command
goes on where it was stopped.

    python scripts/bench_complete.py run OUT [--seeds 0 1 2] [--only WORDS ...]
    python scripts/bench_complete.py table OUT

`once` is the recipe of the partial-label benchmark, one training. The others complete its training
data with its own model and train anew, from the same first weights, for as many steps.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np

SCENES = ["experiment=missing", "data.missing.rate=0.5"]
# way -> what `segkit complete` is told
WAYS = {
    "default": [],
    "all decided": ["confidence=0.5"],
    "ignore": ["doubt=ignore"],
    "undeclared": ["doubt=unknown"],
    "propagation": ["method=propagation", "tta=none"],
}
ONCE = "once"


def main() -> None:
    options = _options()
    if options.verb == "table":
        print(table(options.out))
        return
    for seed in options.seeds:
        for way in (ONCE, *WAYS):
            name = f"{way}_{seed}".replace(" ", "-").replace(",", "")
            if all(word in name for word in options.only):
                print(f"{name}: {train(options.out, way, name, seed):.4f}", flush=True)


def train(out: Path, way: str, name: str, seed: int) -> float:
    """One training, after completing if the way says so; returns its score against the truth."""
    folder = out / name
    if not (folder / "metrics.json").exists():
        told = [f"seed={seed}", f"output={folder}"]
        if way == ONCE:
            _segkit("train", *SCENES, *told)
        else:
            data = out / f"data_{name}"
            if not data.exists():
                run = out / f"{ONCE}_{seed}"
                _segkit("complete", f"run={run}", f"output={data}", *WAYS[way])
            _segkit("train", *told, *completed(data))
    return foreground(folder)


def completed(data: Path) -> list[str]:
    """What makes a training like that of the experiment, on a completed folder."""
    return [
        "data=folder",
        f"data.root={data}",
        "data.size=null",
        "mix=copy_paste",
        "trainer.epochs=12",
        "trainer.gallery=8",
    ]


def foreground(folder: Path) -> float:
    """Mean IoU of the foreground against the truth; NaN where there is none."""
    try:
        blocks = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except OSError:
        return math.nan
    rows = blocks["val/truth"]["per_class"]
    return float(np.mean([row["iou"] for row in rows if row["name"] != "background"]))


def table(out: Path) -> str:
    """Markdown: a row a way, a column a seed, and the gain over the same seed's single training."""
    seeds = sorted(int(path.name.rpartition("_")[2]) for path in out.glob(f"{ONCE}_*"))
    once = {seed: foreground(out / f"{ONCE}_{seed}") for seed in seeds}
    head = " | ".join(f"seed {seed}" for seed in seeds)
    lines = [f"| way | {head} | mean gain |", "|---" * (len(seeds) + 2) + "|"]
    for way in (ONCE, *WAYS):
        name = way.replace(" ", "-").replace(",", "")
        found = {seed: foreground(out / f"{name}_{seed}") for seed in seeds}
        if all(map(math.isnan, found.values())):
            continue
        gains = [found[s] - once[s] for s in seeds if not math.isnan(found[s])]
        cells = [
            "" if math.isnan(found[s]) else f"{found[s]:.3f} ({found[s] - once[s]:+.3f})"
            for s in seeds
        ]
        lines.append(f"| {way} | {' | '.join(cells)} | {np.mean(gains):+.3f} |")
    return "\n".join(lines)


def _segkit(*arguments: str) -> None:
    command = [sys.executable, "-m", "segkit.cli", *arguments]
    print("$ segkit", *arguments, flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("run", "table"))
    parser.add_argument("out", type=Path, help="folder of the run folders")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--only", nargs="*", default=[], help="ways whose name holds these words")
    return parser.parse_args()


if __name__ == "__main__":
    main()

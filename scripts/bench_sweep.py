"""How much faster a sweep is with several trials at once, and that its numbers are the same.

    python scripts/bench_sweep.py [--trials 8] [--jobs 2] [--rounds 1] [--threads 1] [KEY=VALUE ...]

The same small trials (synthetic scenes, one seed each) run one by one and then several at once,
`hydra/launcher=joblib`; each command is what a user would type, start-up and all. A round is both,
one right after the other, so a machine that others use slows both down alike; it had better be
quiet. Then the history, the scores and the counts of every two trials of one seed are compared,
character by character. --threads 0 leaves trainer.threads alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Sequence

COMPARED = ("history.csv", "metrics.json", "coverage.json", "class_weights.json")
SMALL = ("experiment=quick", "trainer.epochs=8", "callbacks.tensorboard=null")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns 0 where all numbers are the same."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    given = parser.parse_args(arguments)
    threads = [f"trainer.threads={given.threads}"] if given.threads else []
    typed = [*SMALL, f"seed=range({given.trials})", *threads, *given.overrides]
    at_once = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={given.jobs}"]
    print(f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores", flush=True)
    rounds, differing = [], []
    with tempfile.TemporaryDirectory() as place:
        for number in range(given.rounds):
            alone, beside = Path(place, f"{number}-alone"), Path(place, f"{number}-beside")
            times = [seconds(typed, alone), seconds([*typed, *at_once], beside)]
            rounds.append(times)
            differing += differences(alone, beside)
            print(line(*times, given.jobs), flush=True)
    ratio = statistics.median(one / several for one, several in rounds)
    same = "the same numbers" if not differing else f"DIFFERENT: {', '.join(differing)}"
    print(f"{given.trials} trials, {given.jobs} at once: {ratio:.2f} times as fast, {same}")
    if given.json:
        content = {"rounds": rounds, "ratio": ratio, "differing": differing}
        given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if differing else 0


def seconds(overrides: Sequence[str], folder: Path) -> float:
    """What the sweep takes, from typing to the end; its folder must be a new one."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "segkit.cli", "train", "-m", *overrides, f"output={folder}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


def differences(one: Path, other: Path) -> list[str]:
    """The files that are not the same in two sweeps: trial/file."""
    trials = sorted({path.parent.name for root in (one, other) for path in root.glob("*/*.json")})
    return [
        f"{trial}/{name}"
        for trial in trials
        for name in COMPARED
        if content(one / trial / name) != content(other / trial / name)
        or content(one / trial / name) is None
    ]


def content(path: Path) -> bytes | None:
    """What is in a file; None: it is not there."""
    return path.read_bytes() if path.exists() else None


def line(alone: float, beside: float, jobs: int) -> str:
    """One round in words."""
    return f"one by one {alone:.1f} s, {jobs} at once {beside:.1f} s: {alone / beside:.2f}"


if __name__ == "__main__":
    sys.exit(main())

"""The partial-label benchmark: ways to learn from incomplete annotations, side by side.

Each cell is one `segkit train` in a process of its own, on one thread; its run folder is the
record, so the same command goes on where it was stopped and adds what is new. The table is made
of all cells that are there.

    python scripts/bench_missing.py run OUT [--jobs 2] [--only WORDS ...] [--larynx DIR]
    python scripts/bench_missing.py naive OUT [--only WORDS ...]
    python scripts/bench_missing.py table OUT [--figure FILE.svg]

`naive` scores the models of finished cells once more, on the incomplete masks as if they were
complete, which is what a tool reports that does not know better.

R is the recovered share, (mIoU - plain) / (full - plain), over the foreground classes against the
full truth: *plain* is cross-entropy on the incomplete masks, *full* the best way to learn from
the complete ones. Both are of the same seed, data and number of steps.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, NamedTuple

import bench_missing_table as report
import numpy as np

PLAIN = ["mix=none", "sampling=uniform"]
RECIPE = ["loss=marginal_cross_entropy_dice", "mix=copy_paste", "sampling=labelled"]
ESTIMATED = ["loss=estimated_cross_entropy_dice", "mix=copy_paste", "sampling=labelled"]
UNDECLARED = ["data.missing.declared=false"]
WEIGHTED = ["class_weights=median_frequency"]

# way -> (what the command line says, the rates that are run), those that decide first
DECIDING: dict[str, tuple[list[str], tuple[float, ...]]] = {
    "plain": (["loss=cross_entropy", *PLAIN], (0.5, 0.9, 0.7)),
    "full": (["loss=cross_entropy_dice", *PLAIN], (0,)),
    "recipe": (RECIPE, (0, 0.5, 0.9, 0.7)),
    "estimated, no manifest": (ESTIMATED + UNDECLARED, (0.5, 0.9, 0.7, 0)),
}
COMPARED: dict[str, tuple[list[str], tuple[float, ...]]] = {
    "marginal": (["loss=marginal_cross_entropy", *PLAIN], (0.5, 0.9)),
    "gated": (["loss=gated_cross_entropy", *PLAIN], (0.5, 0.9)),
    "gated, weighted": (["loss=gated_cross_entropy", *WEIGHTED, *PLAIN], (0.5, 0.9)),
    "ignore background": (["loss=gated_cross_entropy", "loss.gate=everywhere", *PLAIN], (0.5,)),
    "drop incomplete": (["loss=cross_entropy_dice", "mix=none", "sampling=complete"], (0.5,)),
    "marginal + Dice": (["loss=marginal_cross_entropy_dice", *PLAIN], (0.5, 0.9)),
    "recipe, no manifest": (RECIPE + UNDECLARED, (0.5, 0.9)),
    "marginal, copy-paste": (["loss=marginal_cross_entropy", *RECIPE[1:]], (0.5,)),
    "plain, copy-paste": (["loss=cross_entropy", *RECIPE[1:]], (0.5,)),
}
WAYS = DECIDING | COMPARED
BY_SOURCE = ("plain", "recipe", "marginal")  # whole classes missing per source
LARYNX = {
    "plain": ["loss=cross_entropy", *PLAIN],
    "default": [],
    "estimated, no manifest": [ESTIMATED[0], *UNDECLARED],
    "recipe": RECIPE,
}
HIDDEN = "{vocal_folds: 0.5, glottal_space: 0.5, surgical_tool: 0.5}"


class Cell(NamedTuple):
    """One training run."""

    data: str  # scenes or larynx
    pattern: str  # random or sources
    way: str
    rate: float
    seed: int
    overrides: list[str]

    @property
    def name(self) -> str:
        words = (self.data, self.pattern, self.way, f"{self.rate:g}", str(self.seed))
        return "_".join(words).replace(" ", "-").replace(",", "").replace("+", "and")


def cells(seeds: int, larynx: str | None) -> Iterator[Cell]:
    """All cells, the ones that decide first, each seed by seed."""
    for seed in range(seeds):
        yield from _scenes(DECIDING, seed)
    for seed in range(seeds):
        yield from _sources(seed)
        yield from _larynx(seed, larynx) if larynx else ()
    for seed in range(seeds):
        yield from _scenes(COMPARED, seed)


def _scenes(ways: dict[str, tuple[list[str], tuple[float, ...]]], seed: int) -> Iterator[Cell]:
    for way, (overrides, rates) in ways.items():
        for rate in rates:
            given = ["experiment=missing", f"data.missing.rate={rate}", f"seed={seed}"]
            yield Cell("scenes", "random", way, rate, seed, given + overrides)


def _sources(seed: int) -> Iterator[Cell]:
    for way in BY_SOURCE:
        given = ["experiment=missing", "data.missing.rate=0.5", "data.missing.groups=2"]
        yield Cell("scenes", "sources", way, 0.5, seed, [*given, f"seed={seed}", *WAYS[way][0]])


def _larynx(seed: int, root: str) -> Iterator[Cell]:
    given = ["experiment=larynx", f"data.root={root}", f"seed={seed}", f"data.missing.seed={seed}"]
    hiding = [f"data.missing.rate={HIDDEN}"]
    yield Cell("larynx", "random", "full", 0, seed, given + WAYS["full"][0])
    for way, overrides in LARYNX.items():
        yield Cell("larynx", "random", way, 0.5, seed, given + hiding + overrides)
        if way in ("default", "recipe"):
            yield Cell("larynx", "random", way, 0, seed, given + overrides)


def run(cell: Cell, out: Path) -> str:
    """Trains one cell unless it is there; returns a line on how it ended."""
    folder = out / cell.name
    if not (folder / "metrics.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "segkit.cli", "train", *cell.overrides]
        threads = {f"TF_NUM_{kind}_THREADS": "1" for kind in ("INTRAOP", "INTEROP")}
        with open(folder / "terminal.txt", "w", encoding="utf-8") as log:
            done = subprocess.run(
                [*command, f"output={folder}"],
                env={**os.environ, **threads, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        if done.returncode:
            return f"{cell.name}: failed, see {folder / 'terminal.txt'}"
        (folder / "cell.json").write_text(json.dumps(cell._asdict()), encoding="utf-8")
    return f"{cell.name}: {report.foreground_iou(folder):.4f}"


class Believed:
    """A source whose masks are taken for complete."""

    def __init__(self, source: Any):
        self.source, self.labels = source, source.labels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Any:
        sample = self.source[index]
        return sample._replace(annotated=np.ones_like(sample.annotated), truth=None)


def score_naively(folder: Path) -> None:
    """Writes the scores of a finished cell on its incomplete validation masks to naive.json."""
    # Imported on use: the other verbs need no TensorFlow in this process.
    import keras
    from omegaconf import OmegaConf

    from segkit import losses, metrics, models, scoring, sources  # noqa: F401

    config = OmegaConf.load(folder / "config.yaml")
    source = sources.open_splits(config.data)["val"]
    model = keras.models.load_model(folder / "model.keras", compile=False)
    found = scoring.evaluate(model, Believed(source))
    text = json.dumps(found.known.to_dict(source.labels.names))
    (folder / "naive.json").write_text(text, encoding="utf-8")


def main() -> None:
    options = _options()
    if options.verb == "table":
        report.write(options.out, options.figure)
        return
    if options.verb == "naive":
        for record in sorted(options.out.glob("*/cell.json")):
            if all(word in record.parent.name for word in options.only):
                score_naively(record.parent)
        return
    chosen = [
        cell
        for cell in cells(options.seeds, options.larynx)
        if all(word in cell.name for word in options.only)
    ]
    print(f"{len(chosen)} cells")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for line in pool.map(lambda cell: run(cell, options.out), chosen):
            print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=("run", "naive", "table"))
    parser.add_argument("out", type=Path, help="folder of the run folders")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--seeds", type=int, default=3, help="0, 1, ... of each cell")
    parser.add_argument("--only", nargs="*", default=[], help="cells whose name holds these words")
    parser.add_argument("--larynx", help="folder of the larynx data set, for the real twin")
    parser.add_argument("--figure", type=Path, help="also draw the table")
    return parser.parse_args()


if __name__ == "__main__":
    main()

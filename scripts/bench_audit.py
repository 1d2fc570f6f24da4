"""How well an audit tells missing annotations from absent classes, beside cleanlab.

    python scripts/bench_audit.py run OUT [--larynx DIR] [--only CASE]
    python scripts/bench_audit.py table OUT

`run` hides 30 % of all cells, one image and one class, with nobody saying which; trains a run that
is hardly more than its config; and audits it with 3 folds. The same command goes on where it was
stopped. `table` compares the ranks of the cells without a pixel of their class with the truth: a
class that is there and was hidden against one that is absent. AUROC is the probability that of one
of each the missing one ranks higher; all classes together, and the mean of the classes.

cleanlab (AGPL, no dependency of segkit: pip install --no-deps cleanlab somewhere on PYTHONPATH)
gets the same out-of-fold probabilities, one class against the rest, and the better of its methods.
"""

from __future__ import annotations

import argparse
import csv
import logging
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

RATE = 0.3
HIDING = [f"data.missing.rate={RATE}", "data.missing.declared=false"]
TRAINING = [*HIDING, "loss=estimated_cross_entropy_dice", "trainer.gallery=0"]
BASE = ["trainer.epochs=1", "trainer.images_per_epoch=16"]  # all that counts is the config
CASES = {
    "scenes": (["experiment=missing"], 12),
    "larynx": (["experiment=larynx", "data.size=64"], 24),
}


def run(out: Path, larynx: str | None, only: str | None = None) -> None:
    """Trains and audits each case."""
    for name, (given, epochs) in CASES.items():
        if name == "larynx" and not larynx or only not in (None, name):
            continue
        given = [*given, *([f"data.root={larynx}"] if name == "larynx" else []), *TRAINING]
        folder = out / name / "base"
        if not (folder / "report.html").exists():
            _segkit("train", *given, *BASE, f"output={folder}")
        more = f"{{trainer.epochs: {epochs}, trainer.images_per_epoch: null}}"
        _segkit("audit", f"run={folder}", "audit.folds=3", f"audit.training={more}")


def _segkit(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "segkit.cli", *arguments], check=True)


def table(out: Path) -> None:
    """Prints a line a case and method."""
    print("| data | method | cells missing / absent | AUROC | mean of the classes | each class |")
    print("|---|---|---|---|---|---|")
    for name in CASES:
        folder = out / name / "base"
        if (folder / "audit" / "audit.csv").exists():
            _lines(name, folder)


def _lines(name: str, folder: Path) -> None:
    from segkit import sources

    options = OmegaConf.load(folder / "config.yaml").data
    splits = sources.open_splits(options)
    labels = splits["train"].labels
    truth = {
        (split, sample.name): np.isin(np.arange(labels.num_classes), sample.truth)
        for split, source in splits.items()
        for sample in (source[i] for i in range(len(source)))
    }
    with open(folder / "audit" / "audit.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "missing" and row["score"]]
    keys = [(row["split"], row["image"], labels.index(row["class"])) for row in rows]
    missing = np.array([truth[key[:2]][key[2]] for key in keys])
    classes = np.array([key[2] for key in keys])
    found = {"segkit audit": np.array([float(row["score"]) for row in rows])}
    found |= _cleanlab(folder, splits, labels, keys)
    for method, scores in found.items():
        pooled = roc_auc_score(missing, scores)
        each = {
            labels.names[c]: roc_auc_score(missing[classes == c], scores[classes == c])
            for c in sorted(set(classes))
            if len(set(missing[classes == c])) == 2
        }
        listed = ", ".join(f"{n} {value:.3f}" for n, value in each.items())
        counts = f"{missing.sum():,} / {(~missing).sum():,}"
        mean = np.mean(list(each.values()))
        print(f"| {name} | {method} | {counts} | {pooled:.4f} | {mean:.4f} | {listed} |")
    p = found["segkit audit"]
    print(f"\n{name}: {p.sum():.0f} expected to be missing, {missing.sum()} are;", end=" ")
    print(f"Brier score {np.mean((p - missing) ** 2):.4f}\n")


def _cleanlab(folder: Path, splits: Any, labels: Any, keys: list[tuple]) -> dict[str, np.ndarray]:
    """Scores of the same cells, high where the annotation is doubted; {} without cleanlab."""
    try:
        from cleanlab.segmentation.rank import get_label_quality_scores
    except ModuleNotFoundError:
        print("cleanlab is not installed: left out", file=sys.stderr)
        return {}
    names, masks, probabilities = _out_of_fold(folder, splits)
    methods: dict[str, dict[str, Any]] = {
        "cleanlab, softmin": {"method": "softmin"},
        "cleanlab, num_pixel_issues": {"method": "num_pixel_issues", "downsample": 1, "n_jobs": 1},
    }
    found: dict[str, dict[tuple, float]] = defaultdict(dict)
    for c in labels.foreground:
        # What is drawn as another class, or ignored, is none of this one: cleanlab cannot be told.
        open_ = (masks == labels.background) | (masks == c)
        p = np.where(open_, probabilities[..., c], 0).clip(0, 1)
        pairs = np.stack([1 - p, p], axis=1)
        for method, how in methods.items():
            quality, _ = get_label_quality_scores(
                (masks == c).astype(int), pairs, verbose=False, **how
            )
            found[method] |= {(*name, c): 1 - q for name, q in zip(names, quality)}
    return {method: np.array([scores[key] for key in keys]) for method, scores in found.items()}


def _out_of_fold(folder: Path, splits: Any) -> tuple[list[tuple], np.ndarray, np.ndarray]:
    """(split, name), mask and probabilities of each image, by the models of the audit."""
    from segkit import predictor
    from segkit.data import folds

    pool = folds.Pool({name: splits[name] for name in folds.POOLED})
    dealt = folds.deal(pool, 3, 0)
    names, masks, probabilities = [], [], []
    for held, indices in enumerate(dealt):
        model = predictor.load(folder / "audit" / "folds" / f"fold_{held}", batch_size=8)
        places = [pool.homes[i] for i in indices]
        samples = [splits[split][i] for split, i in places]
        names += [(split, sample.name) for (split, _), sample in zip(places, samples)]
        masks += [sample.mask for sample in samples]
        probabilities += list(model.each(sample.image for sample in samples))
    return names, np.stack(masks).astype(int), np.stack(probabilities)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--larynx", help="the folder of the data set")
    parser.add_argument("--only", choices=list(CASES))
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    run(given.out, given.larynx, given.only) if given.what == "run" else table(given.out)


if __name__ == "__main__":
    main()

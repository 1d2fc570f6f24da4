"""What a search writes for people: a table of its trials, the best one, and what mattered."""

from __future__ import annotations

import contextlib
import csv
import os
import shlex
import warnings
from pathlib import Path
from typing import Any, Iterator

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from segkit.searching.study import Study
from segkit.tables import cell

TABLE, BEST, IMPORTANCE = "trials.csv", "best.yaml", "importance.csv"
STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}
FINAL = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
_FEWEST = 8  # trials, from which an importance can be told


def write(study: Study) -> None:
    """Writes trials.csv, and best.yaml once a trial has finished, whole or not at all."""
    trials = [trial for trial in study.trials() if trial.state in STATES]
    with _replacing(study.folder / TABLE) as file:
        writer = csv.writer(file, lineterminator="\n")
        keys = list(study.space.entries)
        writer.writerow(["trial", "state", "score", "epochs", "seconds", *keys, "seed", "error"])
        writer.writerows(_row(study, trial, keys) for trial in trials)
    best = study.best()
    if best is not None:
        with _replacing(study.folder / BEST) as file:
            file.write(
                f"# The overrides of trial {best.number:04d}, {study.asked.score} "
                f"{best.value:.4f}. To train with them:\n# {command(study, best)}\n"
            )
            yaml.safe_dump(best.user_attrs["overrides"], file, allow_unicode=True)


def command(study: Study, trial: FrozenTrial) -> str:
    """The command that trains as a trial did."""
    own = trial.user_attrs["overrides"]
    seeded = any(override.startswith("seed=") for override in own)
    typed = [o for o in study.asked.overrides if not (seeded and o.startswith("seed="))]
    return shlex.join(["segkit", "train", *typed, *own, "output=DIR"])


def write_importance(study: Study) -> None:
    """Writes how much each key mattered, as shares of 1, where enough trials tell.

    Ref: Watanabe et al. 2023, arXiv:2304.10255: how far the distribution of a key among the better
    trials is from that among all.
    """
    path = study.folder / IMPORTANCE
    shares = _importances(study)
    if not shares:
        path.unlink(missing_ok=True)
        return
    with _replacing(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["key", "importance"])
        writer.writerows([key, f"{share:.6g}"] for key, share in shares.items())


def _importances(study: Study) -> dict[str, float]:
    done = study.trials(TrialState.COMPLETE)
    if len(done) < _FEWEST or len({trial.value for trial in done}) == 1:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError):
        warnings.simplefilter("ignore")
        found = optuna.importance.get_param_importances(study.optuna, evaluator=evaluator)
        return {key: float(share) for key, share in found.items()}
    return {}


def _row(study: Study, trial: FrozenTrial, keys: list[str]) -> list[Any]:
    values = study.space.values(trial.params)
    own = trial.user_attrs.get("overrides", [])
    seeds = [o.removeprefix("seed=") for o in own if o.startswith("seed=")]
    steps = trial.intermediate_values
    return [
        f"{trial.number:04d}",
        STATES[trial.state],
        "" if trial.value is None else trial.value,
        max(steps, default=""),
        "" if trial.duration is None else round(trial.duration.total_seconds(), 1),
        *("" if key not in values else _said(values[key]) for key in keys),
        *(seeds or [study.asked.training_seed]),
        cell(trial.user_attrs.get("error")),
    ]


def _said(value: Any) -> Any:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else value


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    # Of several processes, each writes a file of its own, and the last one stays.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(unfinished, "w", newline="", encoding="utf-8") as file:
            yield file
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)

"""Models that never saw the images they judge: one training a fold, in processes of their own."""

from __future__ import annotations

import csv
import importlib.resources
import json
import logging
from pathlib import Path
from typing import Any, Mapping, Sequence

import yaml

from segkit import run_folders, tables, trials
from segkit.explaining import NotAll
from segkit.runs import Run
from segkit.surroundings import quoted

log = logging.getLogger(__name__)

CHOICE = "of_the_run"  # what the choice of every group is called
RUNS, CONFIG = "folds", "config"
_OURS = ("output", "hydra", "experiment")  # of the run alone


def train(
    run: Run,
    data: Mapping[str, Any],
    folder: Path,
    count: int,
    seed: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Trains a model on all folds but one, for each of them, as a run was trained.

    The same call goes on where it was stopped, and trains nothing twice.

    Args:
        run: whose config says model, loss and the rest.
        data: a node like the group `data`; its `fold` is replaced.
        folder: `config` with the config, and `folds` with a run folder a fold, are made in it.
        count: of the folds.
        seed: of the deal.
        changes: of the config, {key: value}; of a group, {group: choice}.

    Returns:
        The run folder of each fold.

    Raises:
        NotAll: if one of them did not finish; saying why.
        KeyboardInterrupt, SystemExit: when the training at work has written a checkpoint.
    """
    fold = {"count": count, "held": 0, "seed": seed}
    given = [*_as_choices(run, {**data, "fold": fold}, folder / CONFIG), *_changed(changes or {})]
    found = []
    for held in range(count):
        place = folder / RUNS / f"fold_{held}"
        if not run_folders.is_finished(place):
            log.info("fold %d of %d: training in %s", held + 1, count, place)
        outcome = trials.run(place, "train", [*given, f"data.fold.held={held}"])
        if outcome.status != "finished":
            busy = "another process has it" if outcome.status == "busy" else outcome.status
            raise NotAll(
                f"The training of fold {held} in {place} did not finish: "
                f"{outcome.error or busy}. The same command goes on with it."
            )
        score = "" if outcome.value is None else f", mean IoU {outcome.value:.3f}"
        took = f", {outcome.seconds:.0f} s" if outcome.seconds >= 1 else ", was there"
        log.info("fold %d of %d: trained%s%s", held + 1, count, score, took)
        found.append(place)
    return found


def require_deal(folder: Path, names: Sequence[Sequence[str]]) -> None:
    """Refuses trainings that were dealt otherwise: their models saw images they would judge.

    The deal hangs on what is annotated, which a review changes.

    Args:
        folder: as of `train`.
        names: of the images of each fold; none if they have no names.

    Raises:
        ValueError: naming the folder of the trainings.
    """
    for held, mine in enumerate(names):
        path = folder / RUNS / f"fold_{held}" / "splits.csv"
        if not path.is_file():
            continue
        with open(path, newline="", encoding="utf-8") as file:
            found = {row["image"] for row in csv.DictReader(file) if row["split"] == "val"}
        # Names need not be UTF-8, and are written as `segkit.sources.write_splits` does.
        if found != {n.encode("utf-8", "backslashreplace").decode() for n in mine}:
            raise ValueError(
                f"The models in {folder / RUNS} were trained on other folds: images, annotations, "
                "audit.folds or audit.seed were changed since, or audit.training changes which "
                "images there are. So they may have seen what they would judge. Delete that folder "
                "to train anew, or choose another one with output=DIR."
            )


def _as_choices(run: Run, data: Mapping[str, Any], folder: Path) -> list[str]:
    """Writes each group of a config as a choice of its own, and returns what chooses them."""
    config = _moved({**run.config, "data": data}, str(run.config.get("output")))
    given = [f"hydra.searchpath=[{_address(folder)}]"]
    tree = importlib.resources.files("segkit.conf")
    for key, node in config.items():
        if key in _OURS:
            continue
        if not (tree / key).is_dir():  # no group: single values
            given += _values(key, node)
            continue
        path = folder / key / f"{CHOICE}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(node, sort_keys=False, allow_unicode=True)
        words = tables.plain(str(run.folder))
        path.write_text(f"# As in {words}; written by segkit audit.\n{text}", encoding="utf-8")
        given.append(f"{key}={CHOICE}")
    return given


def _changed(changes: Mapping[str, Any]) -> list[str]:
    tree = importlib.resources.files("segkit.conf")
    given = []
    for key, value in changes.items():
        chosen = isinstance(value, str) and (tree / key).is_dir()
        given += [f"{key}={value}"] if chosen else _values(key, value)
    return given


def _values(key: str, node: Any) -> list[str]:
    """Overrides that set the values below a key."""
    if isinstance(node, Mapping):
        return [text for name, value in node.items() for text in _values(f"{key}.{name}", value)]
    return [f"++{key}={quoted(node) if isinstance(node, str) else json.dumps(node)}"]


def _address(folder: Path) -> str:
    return quoted(f"file://{folder.resolve()}")


def _moved(node: Any, output: str) -> Any:
    """A config in which paths in the folder of the run are such in that of a training."""
    if isinstance(node, Mapping):
        return {key: _moved(value, output) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_moved(value, output) for value in node]
    inside = isinstance(node, str) and (node == output or node.startswith(f"{output}/"))
    return f"${{output}}{node[len(output):]}" if inside else node

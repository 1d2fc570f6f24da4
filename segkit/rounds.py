"""What `segkit rounds` does: trains, completes the data with the model, and trains again."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from segkit import run_folders, sources, tables, trials
from segkit.contract import is_number, whole_number
from segkit.explaining import NotAll
from segkit.pseudo_labels import NothingUnknown, complete
from segkit.pseudo_labels.telling import RECORD
from segkit.report import rounds_plot
from segkit.searching.names import key_of, text

log = logging.getLogger(__name__)

FILE, PLOT = "rounds.json", "rounds.png"
_OURS = ("rounds", "complete", "output", "hydra")
_KEPT = ("size", "fit", "channels", "pixel_size", "follow_links", "cache", "cache_folder")
_TEACHERS = ("best", "last")
_NOTHING = {"rate": 0.0, "groups": 0, "declared": True, "seed": 0}  # hidden


class Round(NamedTuple):
    """One training.

    number: 0 is the first, on the data as they are.
    run: its folder.
    score: mean IoU on known cells of val.
    truth: against the full truth, where it is known; else None.
    filled: share of the unknown cells of the training data that were filled; 0 in round 0.
    """

    number: int
    run: Path
    score: float
    truth: float | None
    filled: float


def run(config: DictConfig) -> list[Round]:
    """Does what `segkit rounds` does; the same command goes on with what was interrupted.

    Args:
        config: composed from `conf/rounds.yaml`.

    Raises:
        ValueError, OSError: naming what is wrong with the config, the data or the folder.
        NotAll: if a training failed, after the rounds before it.
    """
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return do(config, typed)


def do(config: DictConfig, typed: Sequence[str]) -> list[Round]:
    """The same, with the overrides that the config was composed with."""
    _check(config)
    given = [o for o in typed if key_of(o).lstrip("~").partition(".")[0] not in _OURS]
    folder = sources.make_folder(config.output)
    with run_folders.claimed(folder):
        _require_same(folder, config, given)
        done = [_trained(folder, 0, given, 0.0)]
        why, taught = f"rounds.count={config.rounds.count}", None
        for number in range(1, config.rounds.count + 1):
            before = max(one.score for one in done)
            teacher = _best(done) if config.rounds.teacher == "best" else done[-1]
            if teacher == taught:  # on the same data, with the same seed
                why = f"round {number} would repeat round {number - 1}: its teacher is the same"
                break
            taught = teacher
            filled = _completed(folder, number, config, teacher.run)
            if filled is None or filled < config.rounds.filled:
                share = "no cell is unknown" if filled is None else f"{filled:.1%} of the cells"
                why = f"round {number} would fill too little: {share}"
                break
            told = data_overrides(config.data, folder / f"round_{number}" / "data")
            done.append(_trained(folder, number, [*given, *told], filled))
            _write(folder, done, None)
            if done[-1].score - before < config.rounds.gain:
                gain = done[-1].score - before
                why = f"round {number} changed the best score by {gain:+.4f}"
                break
        _write(folder, done, why)
    log.info(table(done))
    log.info("stopped: %s", why)
    log.info("best on known cells of val: %s", _best(done).run)
    log.info("plot: %s", folder / PLOT)
    return done


def table(done: Sequence[Round]) -> str:
    """The scores of all rounds, for the terminal."""
    rows = []
    for one in done:
        gain = "" if not one.number else f"{one.score - done[0].score:+.4f}"
        truth = "-" if one.truth is None else f"{one.truth:.4f}"
        mark = " *" if one is _best(done) else ""
        rows.append([str(one.number), f"{one.filled:.1%}", f"{one.score:.4f}{mark}", gain, truth])
    head = ["round", "cells filled", "val, known cells", "gain", "val, truth"]
    return tables.text("rounds (* the best)", head, rows)


def data_overrides(data: DictConfig, root: Path) -> list[str]:
    """Overrides that turn a data node into one of the completed folder, read as the old one was.

    Args:
        data: the node `data` of the first training.
        root: the completed data set.
    """
    old = OmegaConf.to_container(data, resolve=True)
    plain = trials.composed("train", ["data=folder", "data.root=DIR"], root)
    new = OmegaConf.to_container(plain.data, resolve=True)
    new |= {"root": str(root), "size": None, "missing": dict(_NOTHING)}
    if "fit" in old:
        new |= {key: old[key] for key in _KEPT if key in old}
    if "root" in old:  # the files are the same, and so are their values
        new["value_range"] = old.get("value_range")
    gone = [f"~data.{key}" for key in old if key not in new]
    return [*gone, *(f"++data.{key}={text(value)}" for key, value in new.items())]


def _trained(folder: Path, number: int, overrides: Sequence[str], filled: float) -> Round:
    """The training of a round, in a process of its own, unless it is there already."""
    place = folder / f"round_{number}" / "run"
    log.info("round %d: training, %s", number, place)
    outcome = trials.run(place, "train", list(overrides))
    if outcome.status != "finished" or outcome.value is None:
        why = outcome.error or "without a score on known cells of val"
        raise NotAll(
            f"The training of round {number} {outcome.status}: {why}. Its words are in "
            f"{place / 'console.txt'}; the same command goes on."
        )
    log.info("round %d: mean IoU %.4f on known cells of val", number, outcome.value)
    return Round(number, place, outcome.value, _against_truth(place), filled)


def _completed(folder: Path, number: int, config: DictConfig, teacher: Path) -> float | None:
    """Completes the data as they were given, unless that is done; the share of cells filled.

    None if nothing is unknown. What an earlier round filled is forgotten, so that its mistakes are
    not taken for annotations.
    """
    data = folder / f"round_{number}" / "data"
    if not (data / RECORD).exists():
        options = OmegaConf.to_container(config.complete, resolve=True)
        options |= {"run": str(teacher), "output": str(data), "dry_run": False, "split": "train"}
        log.info("round %d: completing with %s", number, teacher)
        try:
            complete(config.data, options)
        except NothingUnknown:
            return None
    record = json.loads((data / RECORD).read_text(encoding="utf-8"))
    return float(record["share_of_unknown_cells_filled"])


def _against_truth(run: Path) -> float | None:
    blocks = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return (blocks.get("val/truth") or {}).get("mean_iou")


def _best(done: Sequence[Round]) -> Round:
    return max(done, key=lambda one: one.score)


def _write(folder: Path, done: Sequence[Round], why: str | None) -> None:
    """rounds.json, whole or not at all, and the plot."""
    old = json.loads((folder / FILE).read_text(encoding="utf-8"))
    rows = [
        {**one._asdict(), "run": str(one.run), "gain": one.score - done[0].score} for one in done
    ]
    _save(folder, {**old, "rounds": rows, "best": _best(done).number, "stopped": why})
    scores, truths = [one.score for one in done], [one.truth for one in done]
    rounds_plot.write(folder / PLOT, scores, truths, [one.filled for one in done])


def _save(folder: Path, content: Mapping[str, Any]) -> None:
    unfinished = folder / f".{FILE}.unfinished"
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, folder / FILE)


def _require_same(folder: Path, config: DictConfig, given: Sequence[str]) -> None:
    """Refuses a folder of rounds that were begun otherwise; signs a new one."""
    mine = {
        "overrides": list(given),
        "complete": OmegaConf.to_container(config.complete, resolve=True),
        "teacher": config.rounds.teacher,
    }
    if not (folder / FILE).exists():
        if any(path.name != ".claim" for path in folder.iterdir()):
            raise FileExistsError(
                f"{folder} is there, and no folder of segkit rounds. Choose another: output=DIR."
            )
        _save(folder, mine)
        return
    try:
        old = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if not (folder / "round_1" / "data" / RECORD).exists():
            old |= {"complete": mine["complete"]}  # nothing was completed with the others
        differing = [key for key in mine if old[key] != mine[key]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / FILE} cannot be read ({error}). Restore it, or choose another folder with "
            "output=DIR; the runs in this one stay as they are."
        ) from error
    if differing:
        told = "; ".join(f"{key} was {old[key]}, now {mine[key]}" for key in differing)
        raise FileExistsError(
            f"{folder} holds rounds that were begun with others: {told}. Take them as they were to "
            "go on, or choose another folder with output=DIR."
        )
    _save(folder, old)


def _check(config: DictConfig) -> None:
    """Refuses what could only go wrong after the first training."""
    whole_number("rounds.count", config.rounds.count, 1)
    for key, low in (("gain", -1), ("filled", 0)):
        value = config.rounds[key]
        if not is_number(value) or not low <= value <= 1:
            raise ValueError(f"rounds.{key} must be a number from {low} to 1. Received: {value!r}.")
    if config.rounds.teacher not in _TEACHERS:
        raise ValueError(
            f"rounds.teacher must be best or last. Received: {config.rounds.teacher!r}."
        )
    for key in sorted(OmegaConf.missing_keys(config)):
        raise ValueError(f"{key} has no value yet. Give it one: {key}=VALUE.")

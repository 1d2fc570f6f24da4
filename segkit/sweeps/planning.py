"""What a sweep is: its trials, their names, its folder, and how it is found again."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from hydra import initialize_config_module
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from segkit import run_folders, trials

FILE = "sweep.json"

_LONGEST = 120  # characters of a name
# Overrides that are of the sweep, and none of its trials' business.
_OF_THE_SWEEP = re.compile(r"[+~]*(output=|hydra[./](launcher|sweeper|sweep|mode)\b)")


class Trial(NamedTuple):
    """overrides: of its config, without output; swept: those values of it that have others, too."""

    overrides: list[str]
    swept: dict[str, str]


@dataclass(frozen=True)
class Sweep:
    """Trials that differ in some keys of their config.

    verb: that each of them is.
    typed: the overrides of the whole.
    folder: holds a folder a trial, and `sweep.json`.
    trials: by name, in order.
    config: composed for the whole, with Hydra's own part.
    """

    verb: str
    typed: list[str]
    folder: Path
    trials: dict[str, Trial]
    config: DictConfig

    def is_finished(self) -> bool:
        """Whether all of its trials are."""
        return all(run_folders.is_finished(self.folder / name) for name in self.trials)


@contextlib.contextmanager
def hydra_of(verb: str) -> Iterator[Hydra]:
    """Hydra itself, over the config tree, where no verb is at work."""
    with initialize_config_module("segkit.conf", job_name=verb, version_base="1.3"):
        yield GlobalHydra.instance().hydra


def plan(verb: str, typed: Sequence[str]) -> Sweep:
    """The sweep that a command line describes; composes every value once.

    A command that names no folder finds the sweep that it began before and that is not finished.

    Args:
        verb: of the command line.
        typed: its overrides, with lists of values; those of `hydra.sweeper.params` are added.

    Raises:
        ValueError: if it is no sweep that can be run, saying why.
        FileExistsError: if its folder is a run of its own.
    """
    with hydra_of(verb) as engine:
        config = engine.compose_config(verb, list(typed), RunMode.MULTIRUN)
        _check(config, typed)
        found = _trials(engine, config)
    for name in _one_of_each_value(found):
        composed = trials.composed(verb, found[name].overrides, Path(name))
        for key in sorted(OmegaConf.missing_keys(composed)):
            raise ValueError(f"{key} has no value yet. Give it one: {key}=VALUE.")
    folder = Path(config.hydra.sweep.dir)
    if (folder / "config.yaml").exists():
        raise FileExistsError(
            f"{folder} holds a run. A sweep needs a folder of its own: choose one with output=DIR."
        )
    named = any(re.match(r"[+]*(output|hydra\.sweep\.dir)=", text) for text in typed)
    sweep = Sweep(verb, list(typed), folder, found, config)
    return sweep if named or not config.trainer.resume else _unfinished_twin(sweep) or sweep


def write(sweep: Sweep) -> None:
    """Adds the trials of a sweep to the `sweep.json` in its folder, which is made if need be."""
    sweep.folder.mkdir(parents=True, exist_ok=True)
    with open(sweep.folder / ".sweep", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other machines may do the same
        before = read(sweep.folder)
        mine = {name: trial.overrides for name, trial in sweep.trials.items()}
        content = {
            "verb": sweep.verb,
            "overrides": sweep.typed,
            "trials": {**(before["trials"] if before else {}), **mine},
        }
        unfinished = sweep.folder / f".{FILE}.unfinished"
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, sweep.folder / FILE)


def read(folder: Path) -> dict[str, Any] | None:
    """The `sweep.json` in a folder; None where there is none that can be read."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        {name: list(overrides) for name, overrides in content["trials"].items()}
        return content
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def name_of(swept: Mapping[str, str]) -> str:
    """A file name for a trial, of the values of the keys that are swept.

    Characters that are no good in file names become _; such names, and those cut for their
    length, end in a digest. They depend on these values alone, so a sweep that is extended finds
    its trials.
    """
    text = ",".join(f"{key}={swept[key]}" for key in sorted(swept)) or "trial"
    name = re.sub(r"[^\w.=,+-]+", "_", text, flags=re.ASCII)
    if name == text and len(name) <= _LONGEST and not name.startswith("."):
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].strip('._')}-{digest}"


def _check(config: DictConfig, typed: Sequence[str]) -> None:
    sweeper = str(config.hydra.sweeper.get("_target_", ""))
    if not sweeper.endswith(".BasicSweeper"):
        raise ValueError(
            f"segkit train -m runs every combination. Received: the sweeper {sweeper}. "
            "segkit search looks for good ones."
        )
    for text in typed:
        if text.lstrip("+").startswith("hydra.sweep.subdir"):
            raise ValueError(
                f"Trials are named by what is swept. Received: {text!r}. Leave it out."
            )


def _trials(engine: Hydra, config: DictConfig) -> dict[str, Trial]:
    """Every combination of the values, the last key fastest; by name."""
    parser = OverridesParser.create(config_loader=engine.config_loader)
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.get("params") or {}).items()]
    own = [text for text in config.hydra.overrides.hydra if not _OF_THE_SWEEP.match(text)]
    lists: dict[str, list[str]] = {}
    swept = {override.get_key_element() for override in parser.parse_overrides(params)}
    for override in parser.parse_overrides([*params, *config.hydra.overrides.task]):
        key, text = override.get_key_element(), str(override.input_line)
        if _OF_THE_SWEEP.match(text):
            if override.is_sweep_override():
                raise ValueError(f"A sweep has one folder, output=DIR. Received: {text!r}.")
            continue
        if not override.is_sweep_override():
            lists[key] = [text]
        elif override.is_discrete_sweep():
            swept.add(key)
            lists[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise ValueError(
                f"A sweep runs every value of a list. Received: {text!r}, which has no end of "
                "them. Write some, separated by commas; segkit search takes ranges."
            )
    found: dict[str, Trial] = {}
    for chosen in itertools.product(*lists.values()):
        pairs = ((key, text.partition("=")[2]) for key, text in zip(lists, chosen) if key in swept)
        values = {key.lstrip("+"): value.strip("\"'") for key, value in pairs}
        found[name_of(values)] = Trial([*own, *chosen], values)
    return found


def _one_of_each_value(found: Mapping[str, Trial]) -> Iterator[str]:
    """Names of trials in which every value is there: enough to find mistyped ones."""
    seen: set[tuple[str, str]] = set()
    for name, trial in found.items():
        if not seen or not seen.issuperset(trial.swept.items()):
            seen |= set(trial.swept.items()) | {("", "")}
            yield name


def _unfinished_twin(sweep: Sweep) -> Sweep | None:
    """The newest sweep beside it, of the same trials, that is not finished."""
    mine = {name: sorted(trial.overrides) for name, trial in sweep.trials.items()}
    with contextlib.suppress(OSError):
        for folder in sorted(sweep.folder.parent.iterdir(), reverse=True):
            content = read(folder)
            if content is None or content.get("verb") != sweep.verb:
                continue
            twin = Sweep(sweep.verb, sweep.typed, folder, sweep.trials, sweep.config)
            theirs = {name: sorted(given) for name, given in content["trials"].items()}
            if theirs == mine and not twin.is_finished():
                return twin
    return None

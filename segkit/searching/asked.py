"""What a search was asked for: the node `search` of the config, checked, and kept in its folder."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from segkit.contract import is_number, whole_number
from segkit.searching.names import key_of

FILE = "search.json"
SAMPLERS = ("tpe", "gp", "random", "grid")
PRUNERS = ("median", "hyperband", "none")
DIRECTIONS = ("maximize", "minimize")

# What may be another in the next call: it changes how far a search goes, not where.
_FREE = ("trials", "workers", "timeout")


@dataclass(frozen=True)
class Asked:
    """The node `search` of the config, and the overrides of the training beside it.

    epochs: the most that a trial trains.
    training_seed: of the trainings.
    """

    space: Mapping[str, Any] | None
    trials: int
    workers: int
    score: str
    direction: str
    sampler: str
    pruner: str
    startup: int
    warmup: int | None
    timeout: float | None
    seed: int
    epochs: int
    training_seed: int
    overrides: tuple[str, ...]

    @property
    def pruned_from(self) -> int:
        """Epochs of a trial before which it is not pruned."""
        return max(1, self.epochs // 4) if self.warmup is None else self.warmup

    @property
    def maximizes(self) -> bool:
        """Whether a higher score is the better one."""
        return self.direction == "maximize"


def read(config: DictConfig, overrides: Sequence[str]) -> Asked:
    """Checks what was asked for.

    Args:
        config: composed from `conf/search.yaml`.
        overrides: of the training, as typed.

    Raises:
        ValueError: naming the key that is wrong.
    """
    node: Any = OmegaConf.to_container(config.search, resolve=True)
    for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS), ("direction", DIRECTIONS)):
        # YAML reads a bare none as a word, and null as nothing: both mean that there is none.
        node[name] = "none" if node[name] is None and "none" in known else node[name]
        if node[name] not in known:
            raise ValueError(
                f"search.{name} is one of {', '.join(known)}. Received: {node[name]!r}."
            )
    if node["sampler"] == "gp" and importlib.util.find_spec("torch") is None:
        raise ValueError("search.sampler=gp needs PyTorch: pip install torch; or take tpe.")
    if not isinstance(node["score"], str) or not node["score"]:
        raise ValueError(
            f"search.score is mean_iou, mean_dice, iou_CLASS or dice_CLASS. "
            f"Received: {node['score']!r}."
        )
    timeout = node["timeout"]
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        raise ValueError(f"search.timeout is in seconds, above 0, or null. Received: {timeout!r}.")
    epochs = _most_epochs(config, node["space"])
    if node["warmup"] is not None:
        node["warmup"] = whole_number("search.warmup", node["warmup"], 0)
    if node["pruner"] != "none" and config.callbacks.get("history") is None:
        raise ValueError(
            "search.pruner looks at history.csv, and callbacks.history=null writes none. "
            "Leave that out, or search without pruning: search.pruner=none."
        )
    whole = {
        name: whole_number(f"search.{name}", node[name], least)
        for name, least in (("trials", 1), ("workers", 1), ("startup", 1), ("seed", 0))
    }
    whole |= {"epochs": epochs, "training_seed": config.seed}
    return Asked(**{**node, **whole, "overrides": tuple(overrides)})


def require_same(folder: Path, asked: Asked) -> None:
    """Writes what was asked into a new search folder, or refuses one that was asked otherwise.

    Raises:
        FileExistsError: naming what differs.
        ValueError: if what the folder holds cannot be read.
    """
    path = folder / FILE
    now = _content(asked)
    elsewhere = "choose another folder with output=DIR, or delete it"
    if not path.exists():
        if (folder / "journal.log").exists():
            raise FileExistsError(
                f"{folder} holds a search, and {FILE}, which says of what, is gone: {elsewhere}."
            )
        _write(path, now)
        return
    try:
        then = json.loads(path.read_text(encoding="utf-8"))
        differing = list(_differences(then, now))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): {elsewhere}.") from error
    if differing:
        raise FileExistsError(
            f"{folder} holds another search: {'; '.join(differing)}. Take them as they were to go "
            f"on with it; or {elsewhere}."
        )
    _write(path, now)  # of how many trials, may be new


def _most_epochs(config: DictConfig, space: Any) -> int:
    drawn = space.get("trainer.epochs") if isinstance(space, Mapping) else None
    if isinstance(drawn, Mapping) and is_number(drawn.get("high")):
        return int(drawn["high"])
    if isinstance(drawn, list) and drawn and all(is_number(value) for value in drawn):
        return int(max(drawn))
    return whole_number("trainer.epochs", config.trainer.epochs, 1)


def _content(asked: Asked) -> dict[str, Any]:
    node = {name: getattr(asked, name) for name in Asked.__annotations__}
    del node["epochs"], node["training_seed"]  # which the overrides say
    return {"overrides": list(node.pop("overrides")), "search": node}


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = _flat(then), _flat(now)
    free = {f"search.{key}" for key in _FREE}
    missing = object()

    def said(value: Any) -> str:
        return "not given" if value is missing else json.dumps(value).strip('"')

    return [
        f"{key} was {said(before.get(key, missing))}, now {said(after.get(key, missing))}"
        for key in [*before, *(key for key in after if key not in before)]
        if before.get(key, missing) != after.get(key, missing) and key not in free
    ]


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    node = dict(content["search"])
    space = node.pop("space") or {}
    flat = {f"search.space, {key}": value for key, value in space.items()}
    flat |= {f"search.{key}": value for key, value in node.items()}
    return flat | {key_of(override): _value(override) for override in content["overrides"]}


def _value(override: str) -> str:
    return override.partition("=")[2].strip("\"'")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)

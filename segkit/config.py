"""From config nodes to objects: `_target_` strings are the registry, and only some are allowed."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Mapping

import hydra
import pydantic
from omegaconf import DictConfig, OmegaConf

# Rooms whose public classes and functions a config may name. Workshops are not among them, nor
# what deletes files (writing) or calls its arguments (reference).
ROOMS = (
    "callbacks",
    "class_weights",
    "data",
    "losses",
    "metrics",
    "models",
    "optimizers",
    "schedules",
    "synthetic",
)
CLOSED = ("segkit.data.writing", "segkit.losses.reference")

# Classes of other packages must be of one of these kinds.
KINDS = {
    "keras": (
        "callbacks.Callback",
        "optimizers.Optimizer",
        "optimizers.schedules.LearningRateSchedule",
    ),
    "albumentations": ("BasicTransform", "BaseCompose"),
}


def compose(verb: str = "train", overrides: list[str] | None = None) -> DictConfig:
    """The config of a verb, as the command line would compose it; for notebooks and tests.

    Args:
        verb: name of a file at the top of `conf/`.
        overrides: as typed on the command line, for example `["trainer.epochs=3"]`.
    """
    with hydra.initialize_config_module("segkit.conf", version_base="1.3"):
        return hydra.compose(verb, overrides or [])


def build(node: Any, **arguments: Any) -> Any:
    """Builds what a config node describes; every `_target_` is checked before anything is called.

    Args:
        node: a mapping with `_target_` (nested ones are built first), or None, which stays None.
        arguments: passed on to the target, over what the node says.

    Raises:
        ValueError: if a `_target_` is not allowed or not there, or if the arguments do not fit;
            naming it.
    """
    if node is None:
        return None
    # Resolved once, here: hydra.utils.instantiate would resolve again what came out, and an
    # escaped interpolation could turn into a target behind the check.
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, Mapping) or "_target_" not in plain:
        raise ValueError(f"A config node that is built needs a _target_. Received: {plain!r}.")
    check_targets(plain)
    return _call(plain, arguments)


def check_targets(node: Any) -> None:
    """Refuses every `_target_` in a resolved config that may not be built.

    Raises:
        ValueError: naming the target and what is allowed.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            _allowed(node["_target_"])
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            check_targets(value)


def _make(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            return _call(value, {})
        return {key: _make(inner) for key, inner in value.items()}
    return [_make(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _call(node: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
    name = node["_target_"]
    target = _allowed(name)
    given = {key: _make(value) for key, value in node.items() if key != "_target_"}
    try:
        inspect.signature(target).bind(**{**given, **arguments})
    except TypeError as error:
        known = ", ".join(inspect.signature(target).parameters)
        raise ValueError(f"{name}: {error}. It takes: {known}.") from error
    try:
        return target(**{**given, **arguments})
    except TypeError as error:  # a value of the wrong type, or a keyword that a base class refuses
        raise ValueError(f"{name}: {error}. Received: {given!r}.") from error
    except ValueError as error:
        if not isinstance(error.__cause__, pydantic.ValidationError):
            raise
        # Of albumentations, which names no class, in four lines.
        first = error.__cause__.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its arguments"
        raise ValueError(f"{name}: {place}: {first['msg']}. Received: {given!r}.") from error


def _allowed(target: Any) -> Any:
    """The object that a `_target_` names, if it may be built."""
    refusal = ValueError(
        "_target_ may name a class or function of segkit, or a callback, optimizer or schedule "
        f"of keras, or a transform of albumentations. Received: {target!r}. "
        "Anything else could run any code, and is refused."
    )
    package = target.split(".")[0] if isinstance(target, str) else ""
    if package not in ("segkit", *KINDS) or any(p.startswith("_") for p in target.split(".")):
        raise refusal
    found = _locate(target)
    if package == "segkit":
        # Where it is defined is what counts: `segkit.config.hydra` starts well, too.
        home = str(getattr(found, "__module__", ""))
        room = any(f"{home}.".startswith(f"segkit.{name}.") for name in ROOMS)
        closed = any(f"{home}.".startswith(f"{name}.") for name in CLOSED)
        if room and not closed and (inspect.isclass(found) or inspect.isfunction(found)):
            return found
        raise refusal
    kinds = tuple(_locate(f"{package}.{kind}") for kind in KINDS[package])
    if inspect.isclass(found) and issubclass(found, kinds):
        return found
    raise refusal


def _locate(target: str) -> Any:
    parts = target.split(".")
    found = importlib.import_module(parts[0])
    for at, part in enumerate(parts[1:], start=1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(parts[: at + 1]))
            except ModuleNotFoundError:
                there = [name for name in dir(found) if not name.startswith("_")]
                raise ValueError(
                    f"There is no {target!r}: {'.'.join(parts[:at])} has no {part!r}. "
                    f"It has: {', '.join(there[:40])}."
                ) from None
    return found

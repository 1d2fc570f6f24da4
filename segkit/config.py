"""From config nodes to objects: `_target_` strings are the registry, and only some are allowed."""

from __future__ import annotations

import importlib
import inspect
from typing import Any, Mapping

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

ALLOWED = ("segkit", "keras", "albumentations")


def compose(verb: str = "train", overrides: list[str] | None = None) -> DictConfig:
    """The config of a verb, as the command line would compose it; for notebooks and tests.

    Args:
        verb: name of a file at the top of `conf/`.
        overrides: as typed on the command line, for example `["trainer.epochs=3"]`.
    """
    with hydra.initialize_config_module("segkit.conf", version_base="1.3"):
        return hydra.compose(verb, overrides or [])


def build(node: Any, **arguments: Any) -> Any:
    """Builds what a config node describes.

    Args:
        node: a mapping with `_target_` (nested ones are built first), or None, which stays None.
        arguments: passed on to the target, over what the node says.

    Raises:
        ValueError: if a `_target_` is not a class or function of segkit, or a class of Keras or
            albumentations, or if the arguments do not fit; naming it.
    """
    if node is None:
        return None
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    check_targets(plain)
    try:
        # Partial, and called below: Hydra would turn dataclasses among the arguments into dicts.
        target = instantiate(plain, _convert_="all", _partial_=True)
    except hydra.errors.InstantiationException as error:
        # Hydra's words are for developers; what went wrong inside a nested node is for users.
        raise ValueError(str(error.__cause__ or error)) from error
    try:
        return target(**arguments)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        known = ", ".join(inspect.signature(target.func).parameters)
        raise ValueError(f"{plain['_target_']}: {error}. It takes: {known}.") from error


def check_targets(node: Any) -> None:
    """Refuses every `_target_` in a resolved config that may not be instantiated.

    Raises:
        ValueError: naming the target and what is allowed.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_target(node["_target_"])
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            check_targets(value)


def _check_target(target: Any) -> None:
    refusal = (
        f"_target_ may name a class or function of segkit, or a class of keras or albumentations. "
        f"Received: {target!r}. Anything else could run any code, and is refused."
    )
    if not isinstance(target, str) or target.split(".")[0] not in ALLOWED:
        raise ValueError(refusal)
    found = _locate(target)
    # `segkit.config.hydra.utils.get_method` starts well too: what counts is where it is defined.
    home = str(getattr(found, "__module__", "")).split(".")[0]
    function = home == "segkit" and inspect.isfunction(found)
    if home not in ALLOWED or not (inspect.isclass(found) or function):
        raise ValueError(refusal)


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

"""What the page says about how a run was set up: its title, the choices, the machine."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import PurePath
from typing import Any, Mapping

# In the order in which a reader asks for them; the page shows the whole config below.
CHOICES = (
    "data",
    "loss",
    "feature_loss",
    "class_weights",
    "model",
    "sampling",
    "patches",
    "augment",
    "mix",
    "normalization",
    "optimizer",
    "schedule",
    "trainer",
    "experiment",
    "seed",
)


def title(config: Mapping[str, Any], environment: Mapping[str, Any]) -> dict[str, str]:
    """The "data", the "loss" and the "date" of a run, "" for what is not known."""
    return {
        "data": called(config.get("data")),
        "loss": called(config.get("loss")),
        "date": _date(environment.get("started")),
    }


def choices(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The important sections of a config: "key", "name" and the "settings" below, flattened."""
    rows = []
    for key in CHOICES:
        if config.get(key) is not None:
            name = called(config[key])
            below = _flat(config[key]) if isinstance(config[key], Mapping) else []
            below = [(inner, value) for inner, value in below if value != name]
            rows.append({"key": key, "name": name, "settings": below})
    return rows


def environment(recorded: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of environment.json as text, in the order of the file."""
    texts = {"seconds": _duration, "started": _date}
    return [(key, texts.get(key, _text)(value)) for key, value in recorded.items()]


def called(section: Any) -> str:
    """What a section of a config is called in one word: its choice, class, or folder."""
    if not isinstance(section, Mapping):
        return "" if section is None else _text(section)
    if section.get("name"):
        return _text(section["name"])
    if section.get("losses"):
        return " + ".join(called(term) for term in section["losses"])
    if section.get("root"):
        return PurePath(str(section["root"])).name
    for key in ("_target_", "source", "scheme"):
        value = section.get(key)
        if isinstance(value, Mapping):
            return called(value)
        if value:
            parts = str(value).split(".")
            # segkit.synthetic.scenes.splits: the module tells the data sets apart.
            return parts[-2] if parts[-1] == "splits" and len(parts) > 1 else parts[-1]
    return ""


def _flat(section: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs = []
    for key, value in section.items():
        if key == "transforms" and isinstance(value, Mapping):  # the names are for the config
            pairs.append((f"{prefix}{key}", _text(list(value.values()))))
        elif isinstance(value, Mapping) and value:
            pairs += _flat(value, f"{prefix}{key}.")
        elif key != "_target_" or prefix:
            pairs.append((f"{prefix}{key}", _text(value)))
    return pairs


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(part, Mapping) for part in value):
        return ", ".join(called(part) for part in value)
    return json.dumps(value, ensure_ascii=False, default=str)


def _date(value: Any) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return "" if value is None else _text(value)
    return f"{moment.day} {moment:%B %Y, %H:%M}"


def _duration(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _text(value)
    if value < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"

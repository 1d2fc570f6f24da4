"""What `segkit VERB --help` shows: the choices there are, and the keys with their comments."""

from __future__ import annotations

import re
import shutil
import string
import textwrap
from importlib.resources import files
from typing import Any, Iterator, Mapping, Sequence

import hydra
import yaml
from omegaconf import OmegaConf

_END = "...\n"  # of a YAML document that is one word

Key = tuple[str, ...]  # ("data", "missing", "rate")


def text(verb: str, overrides: Sequence[str]) -> str:
    """The answer to `segkit VERB --help OVERRIDES`.

    Args:
        verb: name of a file at the top of `conf/`.
        overrides: as typed on the command line.
    """
    with hydra.initialize_config_module("segkit.conf", version_base="1.3"):
        composed = hydra.compose(verb, list(overrides), return_hydra_config=True)
    choices: dict[str, str | None] = dict(composed.hydra.runtime.choices)
    template = string.Template(composed.hydra.help.template)
    config: Any = OmegaConf.to_container(composed, resolve=False)
    del config["hydra"]
    notes = _of_verb(verb, choices)
    # Other dollars in it are of interpolations and of the shell.
    return template.safe_substitute(
        APP_CONFIG_GROUPS="".join(f"{line}\n" for line in _groups()),
        CONFIG="".join(f"{line}\n" for line in _lines(config, notes)),
    )


def comments(content: str) -> dict[Key, str]:
    """The comment of each key in a YAML file: behind it, or else in the lines above it.

    What stands above the first key is about the file.
    """
    found: dict[Key, str] = {}
    parents: list[tuple[int, str]] = []
    above: list[str] = []
    for line in content.splitlines():
        key = re.match(r"( *)([^\s:#'\"-][^\s:#]*):(?:\s+(.*))?$", line)
        if key is None:
            alone = re.match(r" *# ?(.*)", line)
            above = [*above, alone[1]] if alone and parents else []
            continue
        while parents and parents[-1][0] >= len(key[1]):
            parents.pop()
        parents.append((len(key[1]), key[2]))
        behind = re.search(r"(?:^|\s)# (.*)$", key[3] or "")
        note = behind[1] if behind else " ".join(above)
        if note:
            found[tuple(name for _, name in parents)] = note
        above = []
    return found


def _of_verb(verb: str, choices: Mapping[str, str | None]) -> dict[Key, str]:
    notes = comments(_read(f"{verb}.yaml"))
    for group, choice in choices.items():
        folder, _, package = group.partition("@")
        if choice is None or folder.startswith(("hydra", "experiment")):
            continue
        if not files("segkit.conf").joinpath(*folder.split("/"), f"{choice}.yaml").is_file():
            continue  # an optional group without such a choice
        place = tuple((package or folder).split("/"))
        found = _of_choice(folder, choice)
        if not package:
            notes[place] = f"{folder}={choice}: {_first_line(folder, choice)}"
        notes |= {(*place, *key): note for key, note in found.items()}
    return notes


def _of_choice(group: str, choice: str) -> dict[Key, str]:
    """The comments of a choice, over those of the choices that it is built on."""
    content = _read(f"{group}/{choice}.yaml")
    notes: dict[Key, str] = {}
    for base in (yaml.safe_load(content) or {}).get("defaults", []):
        if isinstance(base, str) and base != "_self_":
            notes |= _of_choice(group, base)
    return notes | comments(content)


def _first_line(group: str, choice: str) -> str:
    return _read(f"{group}/{choice}.yaml").partition("\n")[0].removeprefix("#").strip()


def _groups() -> Iterator[str]:
    width = max(40, shutil.get_terminal_size((100, 24)).columns)
    for folder in sorted(files("segkit.conf").iterdir(), key=lambda entry: entry.name):
        if folder.is_dir() and folder.name not in ("hydra", "__pycache__"):
            names = [f.name for f in folder.iterdir() if f.name.endswith(".yaml")]
            listed = ", ".join(sorted(name.removesuffix(".yaml") for name in names))
            yield textwrap.fill(f"{folder.name}: {listed}", width, subsequent_indent="  ")


def _lines(node: Mapping[str, Any], notes: Mapping[Key, str], above: Key = ()) -> Iterator[str]:
    for name, value in node.items():
        key = (*above, str(name))
        note = f"  # {notes[key]}" if key in notes else ""
        indent = "  " * len(above)
        if isinstance(value, Mapping) and value and not above:
            yield from ("", note.strip(), f"{name}:")
            yield from _lines(value, notes, key)
        elif isinstance(value, Mapping) and value:
            yield f"{indent}{name}:{note}"
            yield from _lines(value, notes, key)
        else:
            flow = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
            yield f"{indent}{name}: {flow.removesuffix(_END).strip()}{note}"


def _read(name: str) -> str:
    found = files("segkit.conf")
    for part in name.split("/"):
        found = found.joinpath(part)
    return found.read_text(encoding="utf-8")

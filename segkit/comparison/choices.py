"""The keys in which configs differ, and short names for what they were."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Iterator, Mapping, Sequence

from segkit.report import settings
from segkit.run_folders import FREE

_ABSENT = object()


@dataclass(frozen=True)
class Column:
    """A key and what each run has there, as text; None where the run has no such key.

    named: whether these are names of what was chosen, that need no key beside them.
    told: what the command of each run said for the key, where it is known: cross_entropy for a
        CrossEntropy.
    """

    key: str
    values: tuple[str | None, ...]
    named: bool
    told: tuple[str | None, ...]


def differing(
    configs: Sequence[Mapping[str, Any]],
    replicates: Sequence[str] = ("seed",),
    overrides: Sequence[Sequence[str]] = (),
) -> list[Column]:
    """The keys in which the configs differ, in the order of the files.

    Where a whole node is another one (`loss`, say, with another `_target_`), it is shown by its
    name; keys below it only if they differ among runs with the same name. So two runs that have
    the same texts in all columns have the same config, but for what is left out: the keys of
    replicates, seeds that follow them, and where and how a run was made.

    Args:
        configs: resolved, one a run.
        replicates: dotted keys that tell repeated runs apart.
        overrides: of trials, one list a run, for the names of choices; or nothing.
    """
    flat = [_flat(config) for config in configs]
    left_out = {*replicates, *_following(flat, replicates)}
    nodes = {i: _pruned(config, left_out, config.get("output")) for i, config in enumerate(configs)}
    told = [_told(given) for given in overrides] or [{} for _ in configs]
    names = _choice_names(nodes, told)
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for key, i, text in _walk("", nodes, names):
        found[key][i] = text
    whole = {key for key in found if any(isinstance(_at(nodes[i], key), Mapping) for i in nodes)}
    return [
        Column(
            key,
            tuple(texts.get(i) for i in nodes),
            key in whole,
            tuple(given.get(key) for given in told),
        )
        for key, texts in found.items()
    ]


def all_the_same(configs: Sequence[Mapping[str, Any]], key: str) -> Column:
    """The column of a key, whether or not it differs."""
    values = [_at(config, key) for config in configs]
    named = any(isinstance(value, Mapping) for value in values)
    texts = tuple(None if value is _ABSENT else name(value) for value in values)
    return Column(key, texts, named, (None,) * len(texts))


def replicate(config: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, ...] | None:
    """What tells a run from its repetitions; None if its config does not say."""
    values = [_at(config, key) for key in keys]
    if not values or any(value is _ABSENT or value is None for value in values):
        return None
    return tuple(name(value) for value in values)


def name(value: Any) -> str:
    """A value of a config in a few words."""
    if isinstance(value, Mapping):
        try:
            return settings.called(value) or "other"
        except (TypeError, ValueError, RecursionError):  # a node that no segkit wrote
            return "other"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)  # 1 and 1.0 are no difference
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def shown(text: str) -> str:
    """A text of a column to look at: of long numbers, what tells them apart well enough."""
    try:
        value = float(text)
    except ValueError:
        return text
    return f"{value:.4g}" if len(text) > 7 and not text.isdecimal() else text


def _walk(
    key: str, nodes: Mapping[int, Any], names: Mapping[str, Mapping[int, str]]
) -> Iterator[tuple[str, int, str]]:
    """(key, run, text) of what differs among these runs, from the top down."""
    first = next(iter(nodes.values()))
    if all(node is first or node == first for node in nodes.values()):
        return
    if not all(isinstance(node, Mapping) for node in nodes.values()):
        lengths = {len(node) if _of_mappings(node) else None for node in nodes.values()}
        if len(lengths) == 1 and None not in lengths:
            for place in range(len(first)):
                inner = {i: node[place] for i, node in nodes.items()}
                yield from _walk(f"{key}.{place}", inner, names)
            return
    texts = {i: "" if node is _ABSENT else name(node) for i, node in nodes.items()}
    if key in names:
        texts = dict(names[key])
    if key and len(set(texts.values())) > 1:
        yield from ((key, i, text) for i, text in texts.items() if nodes[i] is not _ABSENT)
    alike: dict[str, dict[int, Any]] = defaultdict(dict)
    for i, text in texts.items():
        if isinstance(nodes[i], Mapping):
            alike[text if key else ""][i] = nodes[i]
    for part in alike.values():
        for child in dict.fromkeys(child for node in part.values() for child in node):
            inner = {i: node.get(child, _ABSENT) for i, node in part.items()}
            yield from _walk(f"{key}.{child}" if key else str(child), inner, names)


def _told(overrides: Sequence[str]) -> dict[str, str]:
    pairs = (entry.partition("=") for entry in overrides)
    return {key.lstrip("+"): value for key, equals, value in pairs if equals}


def _choice_names(
    nodes: Mapping[int, Mapping[str, Any]], told: Sequence[Mapping[str, str]]
) -> dict[str, dict[int, str]]:
    """Groups of which every run was told its choice by name, `augment=strong`, with these names.

    Only where the class tells nothing, because it is the same.
    """
    found = {}
    for key in set.intersection(*map(set, told)) if told else ():
        groups = {i: node.get(key) for i, node in nodes.items()}
        if all(isinstance(node, Mapping) for node in groups.values()):
            if len({name(node) for node in groups.values()}) == 1:
                found[key] = {i: told[i][key] for i in groups}
    return found


def _following(flat: Sequence[Mapping[str, Any]], replicates: Sequence[str]) -> set[str]:
    """Seeds that have the value of one of the replicates in every run, as `seed: ${seed}` has."""
    seeds = {key for keys in flat for key in keys if key.rpartition(".")[2].endswith("seed")}
    return {
        key
        for key in seeds
        for source in replicates
        if all(keys.get(key, _ABSENT) in (_ABSENT, keys.get(source)) for keys in flat)
    }


def _pruned(config: Mapping[str, Any], left_out: set[str], output: Any) -> dict[str, Any]:
    """A config without the keys that say nothing about what comes out."""
    output = str(output).rstrip("/") if output else None

    def cut(node: Any, key: str) -> Any:
        if isinstance(node, Mapping):
            inner = {k: (f"{key}.{k}" if key else str(k), v) for k, v in node.items()}
            return {
                k: cut(v, full)
                for k, (full, v) in inner.items()
                if full not in left_out and full not in FREE
            }
        if isinstance(node, list):
            return [cut(value, key) for value in node]
        # Paths inside the run folder are no choice.
        inside = output and isinstance(node, str) and f"{node}/".startswith(f"{output}/")
        return node[len(output) :] if inside else node

    return cut(config, "")


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping):
        return {prefix: node}
    flat: dict[str, Any] = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _at(node: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, Mapping) and part in node:
            node = node[part]
        else:
            return _ABSENT
    return node


def _of_mappings(node: Any) -> bool:
    return isinstance(node, list) and bool(node) and all(isinstance(v, Mapping) for v in node)

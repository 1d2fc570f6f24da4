"""The space of a search: which keys are drawn how, checked against the config in advance."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segkit import trials
from segkit.explaining import explain
from segkit.searching.drawing import Choices, Numbers, parse
from segkit.searching.names import choices, is_group, key_of, overrides

# What is drawn where nobody says what: the rate, and what a loss makes of rare classes.
DEFAULT = {
    "optimizer.learning_rate": {"low": 3e-4, "high": 1e-2, "log": True},
    "loss": ["marginal_cross_entropy", "marginal_cross_entropy_dice", "marginal_dice"],
    "class_weights": ["none", "median_frequency", "effective_number"],
}
MOST = 10_000  # combinations of a grid

_LOOKED_AT = 32  # combinations of groups that are composed in advance; one takes 0.1 s
_OURS = ("output", "search", "hydra")  # what a search itself sets
_ERRORS = (HydraException, OmegaConfBaseException, ValueError)


@dataclass
class Space:
    """How each key is drawn.

    entries: by key; groups first, since a choice decides which keys there are.
    overrides: of the config that the drawn values come on top of, as typed.
    depending: keys that are not there under every choice of a group; they are drawn where they
        are.
    """

    entries: dict[str, Numbers | Choices]
    overrides: list[str]
    depending: set[str] = field(default_factory=set)
    _there: dict[tuple[str, ...], set[str]] = field(default_factory=dict)

    def draw(self, trial: Any) -> dict[str, Any]:
        """What an Optuna trial suggests, by key; the same each time it is asked."""
        drawn: dict[str, Any] = {}
        for key, entry in self.entries.items():
            if key not in self.depending or key in self.there(drawn):
                drawn[key] = entry.draw(trial, key)
        return drawn

    def values(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What was drawn, from the parameters that Optuna recorded."""
        return {k: e.value(params[k]) for k, e in self.entries.items() if k in params}

    def combinations(self) -> list[dict[str, Any]]:
        """All that can be drawn, once each, as parameters of Optuna.

        Raises:
            ValueError: naming the key whose values cannot be listed, or how many there would be.
        """
        for key, entry in self.entries.items():
            if entry.listed() is None:
                raise ValueError(
                    f"search.space, {key}: a grid needs a list of values, or a step. "
                    f"Received: from {entry.low} to {entry.high}. "
                    "search.sampler=tpe or random draws from all of them."
                )
        count = math.prod(len(entry.listed()) for entry in self.entries.values())
        if count > MOST:
            raise ValueError(
                f"search.space has {count:,} combinations, and a grid at most {MOST:,}. "
                "search.sampler=tpe or random draws some of them."
            )
        found = {}
        for values in itertools.product(*(entry.listed() for entry in self.entries.values())):
            drawn = dict(zip(self.entries, values))
            there = self.there(drawn) if self.depending else set()
            params = {
                key: self.entries[key].suggested(value)
                for key, value in drawn.items()
                if key not in self.depending or key in there
            }
            found[tuple(params.items())] = params
        return list(found.values())

    def there(self, drawn: Mapping[str, Any]) -> set[str]:
        """Which depending keys the config has under the drawn choices of groups."""
        groups = {key: value for key, value in drawn.items() if is_group(key)}
        return {k for k in self._keys_under(groups) if k in self.depending}

    def bind(self) -> None:
        """Finds out under which choices each key is there, and whether it takes what is drawn.

        Raises:
            ValueError: naming the key and the value that the config refuses.
        """
        groups = {key: entry.values for key, entry in self.entries.items() if is_group(key)}
        looked_at = list(_combinations(groups))
        under = [self._keys_under(combination) for combination in looked_at]
        homes = set()
        for key, entry in self.entries.items():
            places = [at for at, keys in enumerate(under) if key in keys]
            if len(places) < len(looked_at):
                self.depending.add(key)
            home = places[0] if places else 0
            homes.add(home)
            if isinstance(entry, Numbers):
                self.entries[key] = self._of_the_right_kind(key, entry, looked_at[home])
            if not places:
                self._composed({**looked_at[0], key: entry.probes()[0]})  # which says what is there
        for home in sorted(homes):
            self._try(looked_at[home], [k for k in self.entries if k in under[home]])

    def _keys_under(self, drawn_groups: Mapping[str, Any]) -> set[str]:
        at = tuple(overrides(drawn_groups))
        if at not in self._there:
            config = self._composed(drawn_groups)
            for key in sorted(OmegaConf.missing_keys(config) - set(self.entries)):
                words = (
                    f"search.space, {' '.join(at)}: " if key.split(".")[0] in drawn_groups else ""
                )
                raise ValueError(f"{words}{key} has no value yet. Give it one: {key}=VALUE.")
            self._there[at] = {key for key in self.entries if _is_there(config, key)}
        return self._there[at]

    def _of_the_right_kind(self, key: str, entry: Numbers, groups: Mapping[str, Any]) -> Numbers:
        if key.startswith("+"):
            return entry
        now = OmegaConf.select(self._composed(groups), key)
        if isinstance(now, float):  # low: 0, high: 1 of a share means all between
            return replace(entry, whole=False)
        if isinstance(now, bool) or (isinstance(now, int) and not entry.whole):
            wanted = "true or false: give a list" if isinstance(now, bool) else "a whole number"
            raise ValueError(
                f"search.space, {key}: it is {wanted}. Received: low {entry.low}, "
                f"high {entry.high}{'' if entry.step is None else f', step {entry.step}'}."
            )
        return entry

    def _try(self, groups: Mapping[str, Any], keys: Sequence[str]) -> None:
        """Composes the config with each value that the keys may take, all keys at once."""
        probes = {key: self.entries[key].probes() for key in keys if not is_group(key)}
        for number in range(max((len(values) for values in probes.values()), default=1)):
            drawn = {key: values[min(number, len(values) - 1)] for key, values in probes.items()}
            try:
                self._composed({**groups, **drawn})
            except ValueError:
                for key, value in drawn.items():  # whose fault it is
                    self._composed({**groups, key: value})
                raise

    def _composed(self, drawn: Mapping[str, Any]) -> Any:
        try:
            config = trials.composed("train", [*self.overrides, *overrides(drawn)], Path("trial"))
            OmegaConf.to_container(config, resolve=True)
            return config
        except _ERRORS as error:
            at = f"search.space, {' '.join(overrides(drawn))}: " if drawn else ""
            raise ValueError(f"{at}{explain(error)}") from None


def make(space: Mapping[str, Any] | None, overrides: Sequence[str]) -> Space:
    """The space of a search, checked: every value that can be drawn makes a config.

    Args:
        space: by key or group, how it is drawn; None: `DEFAULT`, without what the overrides set.
        overrides: of the training, as typed.

    Raises:
        ValueError: naming the key that is unknown, given twice, or drawn from nothing.
    """
    typed = {key_of(override) for override in overrides}
    if space is None:
        space = {key: how for key, how in DEFAULT.items() if key not in typed}
    if not isinstance(space, Mapping) or not space:
        raise ValueError(
            "search.space says how keys are drawn: 'search.space={optimizer.learning_rate: "
            "{low: 1e-4, high: 1e-2, log: true}, loss: [marginal_cross_entropy, marginal_dice]}'. "
            f"Received: {space!r}."
        )
    entries = {str(key): parse(str(key), how) for key, how in space.items()}
    for key, entry in entries.items():
        _require_name(key, typed)
        if is_group(key) and not all(isinstance(value, str) for value in entry.probes()):
            raise ValueError(
                f"search.space, {key}: it is a group; give a list of its choices: "
                f"{', '.join(choices(key))}."
            )
    groups_first = dict(sorted(entries.items(), key=lambda pair: not is_group(pair[0])))
    made = Space(groups_first, list(overrides))
    made.bind()
    return made


def _require_name(key: str, typed: set[str]) -> None:
    try:
        name = key_of(f"{key}=1")
    except HydraException:
        raise ValueError(f"search.space: {key!r} is no key of the config.") from None
    if name.split(".")[0] in _OURS:
        raise ValueError(f"search.space, {key}: a search sets it itself.")
    if name in typed:
        raise ValueError(
            f"search.space, {key}: it is drawn, and it is given as {name}=VALUE too. "
            "Leave out one of the two."
        )


def _is_there(config: Any, key: str) -> bool:
    if key.startswith("+") or is_group(key):
        return True
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    return OmegaConf.is_dict(node) and name in list(node.keys())  # `in` leaves out ???


def _combinations(groups: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Choices of the groups together: all, or if they are many, each choice once."""
    if math.prod(map(len, groups.values())) <= _LOOKED_AT:
        yield from (dict(zip(groups, values)) for values in itertools.product(*groups.values()))
        return
    for number in range(max(map(len, groups.values()))):
        yield {key: values[number % len(values)] for key, values in groups.items()}

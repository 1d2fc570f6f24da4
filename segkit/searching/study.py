"""The study of a search: which trial comes next, and how those that are done went."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from segkit.searching import journal
from segkit.searching.asked import Asked, require_same
from segkit.searching.names import overrides
from segkit.searching.space import Space

TRIALS = "trials"
DONE = (TrialState.COMPLETE, TrialState.PRUNED)

_WAIT = 5.0  # seconds before a trial is looked at again whose process is still ending


@dataclass
class Drawn:
    """A trial to run.

    overrides: what was drawn, as overrides of the training.
    claim: closed when it is done.
    """

    trial: Trial
    folder: Path
    overrides: list[str]
    claim: contextlib.ExitStack

    @property
    def number(self) -> int:
        """The number of the trial, from 0."""
        return self.trial.number


class Study:
    """The study in a search folder, which any number of processes may have open.

    Each trial is drawn from what all of them have told, with a seed of its own (from
    `search.seed` and its number), so that no two draw alike, and a search of one worker draws the
    same whether it was interrupted or not.

    Args:
        folder: of the search.
        asked: what for.
        space: what is drawn.

    Raises:
        FileExistsError: if the folder holds another search.
        ValueError, OSError: if it cannot be read or written.
    """

    def __init__(self, folder: Path, asked: Asked, space: Space):
        self.folder, self.asked, self.space = folder, asked, space
        self._began = datetime.now()
        self._deadline = time.monotonic() + (asked.timeout or float("inf"))
        self._later: dict[int, float] = {}
        self._grid = space.combinations() if asked.sampler == "grid" else None
        if self._grid is not None:
            np.random.default_rng(asked.seed).shuffle(self._grid)
        self.total = asked.trials if self._grid is None else min(asked.trials, len(self._grid))
        with journal.turn(folder):
            require_same(folder, asked)
            self.optuna = optuna.create_study(
                storage=journal.open_storage(folder),
                study_name="search",
                load_if_exists=True,
                direction=asked.direction,
                sampler=_sampler(asked, 0),
                pruner=_pruner(asked),
            )

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials there are, of these states or of all."""
        return self.optuna.get_trials(deepcopy=False, states=states or None)

    def counted(self) -> list[FrozenTrial]:
        """The trials that count towards the total.

        Those that failed before this call do not: in their place, as many are drawn anew.
        """
        return [t for t in self.trials() if t.state in (*DONE, TrialState.RUNNING) or self._now(t)]

    def next(self) -> Drawn | None:
        """A trial that nobody is at work on: one that was left, or else a new one.

        None: there is none left to begin.
        """
        with journal.turn(self.folder):
            if time.monotonic() > self._deadline:
                return None
            left = self._left()
            if left is not None:
                return left
            if len(self.counted()) >= self.total:
                return None
            return self._new()

    def put_off(self, drawn: Drawn) -> None:
        """Leaves a trial for later whose process has not ended yet."""
        self._later[drawn.number] = time.monotonic() + _WAIT
        drawn.claim.close()

    def waits(self) -> bool:
        """Whether there is a trial that was put off."""
        running = {trial.number for trial in self.trials(TrialState.RUNNING)}
        return bool(running & set(self._later)) and time.monotonic() <= self._deadline

    def finish(self, drawn: Drawn, value: float) -> None:
        """Records the score of a trial."""
        self.optuna.tell(drawn.trial, value)

    def prune(self, drawn: Drawn) -> None:
        """Records a trial as pruned, with the last score that it reported."""
        self.optuna.tell(drawn.trial, state=TrialState.PRUNED)

    def fail(self, drawn: Drawn, error: str) -> None:
        """Records a trial as failed, and why."""
        drawn.trial.set_user_attr("error", error)
        self.optuna.tell(drawn.trial, state=TrialState.FAIL)

    def best(self) -> FrozenTrial | None:
        """The finished trial with the best score, the first of equals; None: none finished."""
        sign = 1 if self.asked.maximizes else -1
        done = self.trials(TrialState.COMPLETE)
        return max(done, key=lambda trial: sign * trial.value, default=None)

    def _now(self, trial: FrozenTrial) -> bool:
        return trial.state == TrialState.FAIL and trial.datetime_complete >= self._began

    def _left(self) -> Drawn | None:
        """A trial that is recorded as running, and whose process is gone."""
        for found in self.trials(TrialState.RUNNING):
            if time.monotonic() < self._later.get(found.number, 0):
                continue
            with contextlib.ExitStack() as stack:
                mine = stack.enter_context(journal.claimed(self.folder, found.number))
                # Looked at again: it may have ended between the first look and the claim.
                if mine and self.trials()[found.number].state == TrialState.RUNNING:
                    # Of an id, Optuna makes the trial again that ask() had made.
                    return self._drawn(Trial(self.optuna, found._trial_id), stack.pop_all())
        return None

    def _new(self) -> Drawn | None:
        number = len(self.trials())
        self.optuna.sampler = _sampler(self.asked, number)
        # One that waits was left by a process that ended between the two calls.
        if self._grid is not None and not self.trials(TrialState.WAITING):
            visited = [_params(trial) for trial in self.counted()]
            unvisited = [params for params in self._grid if params not in visited]
            if not unvisited:
                return None
            self.optuna.enqueue_trial(unvisited[0])
        with contextlib.ExitStack() as stack:
            trial = self.optuna.ask()
            stack.enter_context(journal.claimed(self.folder, trial.number))
            return self._drawn(trial, stack.pop_all())

    def _drawn(self, trial: Trial, claim: contextlib.ExitStack) -> Drawn:
        folder = self.folder / TRIALS / f"{trial.number:04d}"
        given = trial.user_attrs.get("overrides")
        if given is None:
            drawn = self.space.draw(trial)
            given = [*overrides(drawn), *self._repeated(trial, drawn)]
            trial.set_user_attr("overrides", given)
        return Drawn(trial, folder, given, claim)

    def _repeated(self, trial: Trial, drawn: dict[str, Any]) -> list[str]:
        """Another seed for what was drawn before: the same again would tell nothing new."""
        same = [
            other
            for other in self.trials(*DONE, TrialState.RUNNING)
            if other.number != trial.number and other.params == trial.params
        ]
        if not same or "seed" in drawn:
            return []
        return [f"seed={self.asked.training_seed + len(same)}"]


def _params(trial: FrozenTrial) -> dict[str, Any]:
    # A trial that has just begun has drawn none yet of those that it is to draw.
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _sampler(asked: Asked, number: int) -> BaseSampler:
    seed = int(np.random.SeedSequence((asked.seed, number)).generate_state(1)[0])
    if asked.sampler == "tpe":
        return TPESampler(
            seed=seed,
            n_startup_trials=asked.startup,
            multivariate=True,
            group=True,  # keys that are there only under some choices
            constant_liar=True,  # keeps away from what is being tried
        )
    if asked.sampler == "gp":
        return GPSampler(seed=seed, n_startup_trials=asked.startup)
    return RandomSampler(seed=seed)


def _pruner(asked: Asked) -> BasePruner:
    if asked.pruner == "median":
        return MedianPruner(n_startup_trials=asked.startup, n_warmup_steps=asked.pruned_from)
    if asked.pruner == "hyperband":
        least = min(max(1, asked.pruned_from), asked.epochs)
        return HyperbandPruner(min_resource=least, max_resource=asked.epochs)
    return NopPruner()

"""The workers of a search: each runs one trial after the other, and says how it went."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Callable

from segkit import run_folders, trials
from segkit.searching import scores
from segkit.searching.study import Drawn, Study

log = logging.getLogger(__name__)

ALIKE = 5  # trials in a row that fail with the same words end a search

_BETWEEN = 2.0  # seconds between two looks for something to do
_GRACE = 3.0  # seconds in which a Ctrl-C that ended a trial reaches this process, too


class Workers:
    """Runs the trials of a study until there are none left, several at once.

    Args:
        study: the study.
        count: trials at once.
        told: called after each trial with it and its seconds; never by two at once.
    """

    def __init__(self, study: Study, count: int, told: Callable[[Drawn, float], None]):
        self.study, self.count, self.told = study, count, told
        self.failed = 0
        self._stop = threading.Event()
        self._telling = threading.Lock()
        self._errors: list[str] = []  # of the trials that failed last
        self._fault: BaseException | None = None

    def run(self) -> None:
        """Returns when nothing is left to begin.

        Raises:
            ValueError, OSError: what keeps trials from running at all.
            KeyboardInterrupt, SystemExit: when the trials at work have written checkpoints.
        """
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.count)]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads)
        except (KeyboardInterrupt, SystemExit):
            self._stop.set()
            log.info("stopping: the trials at work write a checkpoint")
            self._wait(threads)
            raise
        if self._fault is not None:
            raise self._fault

    def _wait(self, threads: list[threading.Thread]) -> None:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)  # without a limit, a signal would wait, too

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                drawn = self.study.next()
                if drawn is not None:
                    with drawn.claim:
                        self._try(drawn)
                elif self.study.waits():
                    self._stop.wait(_BETWEEN)
                else:
                    return
        except BaseException as fault:
            self._fault = self._fault or fault
            self._stop.set()

    def _try(self, drawn: Drawn) -> None:
        watch = Watch(self.study, drawn)
        given = [*self.study.asked.overrides, *drawn.overrides]
        outcome = trials.run(drawn.folder, "train", given, watch, stop=self._stop)
        if outcome.status == "busy":
            self.study.put_off(drawn)
            return
        if outcome.status == "stopped" and (self._stop.is_set() or self._stop.wait(_GRACE)):
            return  # recorded as running; the next call goes on with it
        with self._telling:
            self._record(drawn, outcome, watch)
            self.told(drawn, outcome.seconds)
            if len(self._errors) >= ALIKE and len(set(self._errors[-ALIKE:])) == 1:
                raise ValueError(
                    f"{ALIKE} trials in a row failed alike, the last in {drawn.folder}: "
                    f"{self._errors[-1]} Mend it, and start the same command again."
                )

    def _record(self, drawn: Drawn, outcome: trials.Outcome, watch: Watch) -> None:
        asked = self.study.asked
        error = None
        if outcome.status == "finished":
            watch.look()  # at the epochs since the last time
            value = scores.final(drawn.folder, asked.score, asked.maximizes)
            if value is None:
                error = f"{asked.score} has no evidence in the validation."
            else:
                self.study.finish(drawn, value)
        elif outcome.status == "pruned":
            self.study.prune(drawn)
            # Nobody goes on with it.
            shutil.rmtree(drawn.folder / run_folders.CHECKPOINTS, ignore_errors=True)
        else:
            error = outcome.error or f"It was {outcome.status} by something else."
        if error is None:
            self._errors = []
            return
        self.failed += 1
        self.study.fail(drawn, error)
        self._errors.append(error.replace(str(drawn.folder), "").replace(drawn.folder.name, ""))


class Watch:
    """Reports the best score so far of a trial after each epoch, and says when it is pruned.

    So what is reported last is the score of the model that is kept.
    """

    def __init__(self, study: Study, drawn: Drawn):
        self.study, self.drawn = study, drawn
        self._seen: float | None = None
        self._reported: set[int] | None = None

    def __call__(self, folder: Path) -> bool:
        return self.look() and self.drawn.trial.should_prune()

    def look(self) -> bool:
        """Reports what is new; whether there was anything."""
        try:
            changed = (self.drawn.folder / scores.HISTORY).stat().st_mtime
        except OSError:
            return False
        if changed == self._seen:
            return False
        self._seen = changed
        if self._reported is None:  # maybe by another process, before it ended
            found = self.study.trials()[self.drawn.number]
            self._reported = set(found.intermediate_values)
        asked, best = self.study.asked, None
        better = max if asked.maximizes else min
        for epochs, value in scores.by_epoch(self.drawn.folder, asked.score):
            best = value if best is None else better(best, value)
            if epochs not in self._reported:
                self.drawn.trial.report(best, epochs)
                self._reported.add(epochs)
        return best is not None

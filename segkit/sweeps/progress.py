"""What a sweep says: what is there, a line for each trial that ends, and a table."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Iterator

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from segkit import run_folders, tables, trials
from segkit.sweeps.planning import Sweep
from segkit.trials import Outcome

_ROWS = 60  # of the table


class Progress:
    """Lines on the terminal while a sweep runs.

    Args:
        sweep: that runs.
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self._console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._at_work: dict[str, float] = {}
        self._lock = threading.Lock()
        self._seconds: list[float] = []  # of trials that finished in this call
        self._open: set[str] = set()  # names of trials whose end was not told
        self._at_once = 1
        self._width = max(map(len, sweep.trials))

    def begin(self) -> None:
        """Says what is there already."""
        states = {name: _state(self.sweep.folder / name) for name in self.sweep.trials}
        self._open = {name for name, state in states.items() if state != "finished"}
        counts = Counter(states.values())
        told = [f"{n} {state}" for state, n in counts.most_common() if state != "missing"]
        known = f", {', '.join(told)}" if told else ""
        self.say(f"{len(states)} trials in {self.sweep.folder}{known}")

    @contextlib.contextmanager
    def alive(self, at_once: int) -> Iterator[None]:
        """While trials run, so many at once, a terminal shows which."""
        self._at_once = at_once
        if not self._console.is_terminal:
            yield
            return
        spinner = Spinner("dots")
        with Live(spinner, console=self._console, transient=True, refresh_per_second=8) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def began(self, name: str) -> None:
        """Notes that a trial begins; may be called from threads."""
        with self._lock:
            self._at_work[name] = time.monotonic()

    def ended(self, name: str, outcome: Outcome) -> None:
        """Says how a trial ended: its number, its score, what it took, and what is left."""
        with self._lock:
            self._at_work.pop(name, None)
        if outcome.status == "busy" or (name not in self._open and outcome.status == "finished"):
            return
        self._open.discard(name)
        if outcome.status == "finished" and outcome.seconds:
            self._seconds.append(outcome.seconds)
        total = len(self.sweep.trials)
        number = f"[{total - len(self._open):{len(str(total))}}/{total}]"
        score = "" if outcome.value is None else f"{outcome.value:.3f}"
        word = score if outcome.status == "finished" else outcome.status
        before = "elsewhere" if outcome.status == "finished" else ""
        took = duration(outcome.seconds) if outcome.seconds else before
        parts = [f"{number} {name:{self._width}}", f"{word:>8}", f"{took:>12}", self._left()]
        self.say("  ".join(parts).rstrip())
        if outcome.error:
            self.say(f"{'':{len(number)}} {outcome.error}")

    def look(self) -> None:
        """Shows on a terminal how far the trials at work are."""
        if self._live is None:
            return
        with self._lock:
            at_work = list(self._at_work)
        told = [f"{name}: {_epoch(self.sweep.folder / name)}" for name in at_work]
        self._live.update(Spinner("dots", Text("\n  ".join(told))))

    def say(self, text: str) -> None:
        """Writes a line, at once."""
        self._console.print(text)
        self._console.file.flush()

    def _left(self) -> str:
        if not self._seconds or not self._open:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        turns = max(1, len(self._open) / self._at_once)
        return f"about {duration(mean * turns)} left"


def summary(sweep: Sweep, outcomes: dict[str, Outcome]) -> str:
    """A table of all trials, and below it what went wrong."""
    keys = list(dict.fromkeys(key for trial in sweep.trials.values() for key in trial.swept))
    rows = []
    for name, trial in sweep.trials.items():
        outcome = outcomes[name]
        record = trials.read(sweep.folder / name)
        value = "" if outcome.value is None else f"{outcome.value:.4f}"
        seconds = f"{record.seconds:.0f}" if record and record.seconds else ""
        status = "running elsewhere" if outcome.status == "busy" else outcome.status
        rows.append([*(trial.swept.get(key, "") for key in keys), status, value, seconds])
    lines = [tables.text("", [*keys, "status", "mean IoU", "seconds"], rows[:_ROWS])]
    if len(rows) > _ROWS:
        lines += [f"and {len(rows) - _ROWS} more"]
    lines += [f"{n}: {o.error}" for n, o in outcomes.items() if o.status == "failed" and o.error]
    busy = [name for name, outcome in outcomes.items() if outcome.status == "busy"]
    if busy:
        lines += [f"still running elsewhere: {'  '.join(busy)}"]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds as people say them: 12 s, 1 min 12 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _state(folder: Path) -> str:
    if run_folders.is_finished(folder):
        return "finished"
    if trials.is_busy(folder):
        return "running elsewhere"
    record = trials.read(folder)
    if record is None:
        return "missing"
    return "stopped" if record.status in ("running", "finished") else record.status


def _epoch(folder: Path) -> str:
    try:
        done = (folder / "history.csv").read_text(encoding="utf-8").count("\n") - 1
        text = (folder / "config.yaml").read_text(encoding="utf-8")
    except OSError:
        return "starting"
    # Looked at twice a second: reading YAML would take longer than all the rest.
    epochs = re.search(r"^trainer:\n(?:  .*\n)*?  epochs: (\d+)", text, re.MULTILINE)
    return f"epoch {done} of {epochs[1]}" if epochs else f"epoch {done}"

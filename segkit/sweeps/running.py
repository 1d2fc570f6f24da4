"""Sweeps: every trial runs once, whatever happens to the others, and what is missing runs again."""

from __future__ import annotations

import functools
import importlib
import os
import signal
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Sequence

from omegaconf import DictConfig

from segkit import run_folders, surroundings, trials
from segkit.explaining import NotAll, explain
from segkit.sweeps import planning
from segkit.sweeps.planning import Sweep
from segkit.sweeps.progress import Progress, summary
from segkit.trials import Outcome

_OURS = ("BasicLauncher", "JoblibLauncher")  # whose trials are processes that we start
_LOOK = 0.5  # seconds between two looks at the trials at work


def run(verb: str, module: str, typed: Sequence[str]) -> None:
    """Does what `segkit VERB -m` does: runs the trials of a sweep that are not finished.

    With Hydra's launchers `basic` and `joblib` each is a process of its own, on this machine, one
    or `hydra.launcher.n_jobs` at once. Any other launcher starts jobs that do one each.

    Args:
        verb: of the command line.
        module: whose `run(config)` it is.
        typed: the overrides, with lists of values.

    Raises:
        NotAll: if a trial failed, or was stopped by somebody else.
        ValueError, OSError: if the sweep cannot begin.
        KeyboardInterrupt, SystemExit: when the trials at work have written their checkpoints.
    """
    sweep = planning.plan(verb, typed)
    launcher = sweep.config.hydra.launcher
    ours = str(launcher._target_).rpartition(".")[2] in _OURS
    at_once = _at_once(launcher) if ours else 1
    planning.write(sweep)
    progress = Progress(sweep)
    progress.begin()
    outcomes = _run_children(sweep, progress, at_once) if ours else _launch(sweep, module)
    print(summary(sweep, outcomes))
    states = [outcome.status for outcome in outcomes.values()]
    missed = len(states) - states.count("finished") - states.count("busy")
    if missed:
        raise NotAll(
            f"{missed} of {len(states)} trials did not finish. The same command again runs "
            "those, and only those."
        )


def _run_children(sweep: Sweep, progress: Progress, at_once: int) -> dict[str, Outcome]:
    outcomes = _side_by_side(sweep, list(sweep.trials), progress, at_once)
    busy = [name for name, outcome in outcomes.items() if outcome.status == "busy"]
    if busy:  # whoever had them may have died meanwhile
        outcomes |= _side_by_side(sweep, busy, progress, at_once)
    return outcomes


def _side_by_side(
    sweep: Sweep, names: Sequence[str], progress: Progress, at_once: int
) -> dict[str, Outcome]:
    """Runs trials in processes, so many at once."""
    stop = threading.Event()
    outcomes: dict[str, Outcome] = {}
    with ThreadPoolExecutor(at_once) as pool, progress.alive(at_once):
        waiting: dict[Future, str] = {
            pool.submit(_run_child, sweep, name, progress, stop): name for name in names
        }
        try:
            while waiting:
                done, _ = wait(waiting, _LOOK, FIRST_COMPLETED)
                for future in done:
                    name = waiting.pop(future)
                    outcomes[name] = future.result()
                    progress.ended(name, outcomes[name])
                progress.look()
        except BaseException:
            stop.set()
            _stop(waiting, progress)
            raise
    return outcomes


def _run_child(sweep: Sweep, name: str, progress: Progress, stop: threading.Event) -> Outcome:
    if stop.is_set():
        return Outcome("stopped")
    folder, overrides = sweep.folder / name, sweep.trials[name].overrides
    progress.began(name)
    try:
        return trials.run(folder, sweep.verb, overrides, stop=stop)
    except Exception as error:  # of the folder, most often; the others go on
        return Outcome("failed", error=explain(error) or repr(error))


def _stop(waiting: dict[Future, str], progress: Progress) -> None:
    """Waits for the checkpoints of the trials at work; a second Ctrl-C ends everything."""
    if threading.current_thread() is threading.main_thread():
        # Batch systems, and timeout(1), send it to the command and to its whole group.
        signal.signal(signal.SIGTERM, lambda *_: None)
    for future in waiting:
        future.cancel()
    progress.say("stopping when the trials at work have written their checkpoints")
    try:
        wait(waiting)
    except KeyboardInterrupt:
        os._exit(130)  # which ends the trials, too


def _at_once(launcher: DictConfig) -> int:
    count = launcher.get("n_jobs", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not count:
        raise ValueError(
            "hydra.launcher.n_jobs must be a whole number: of trials at once, or -1 for one a "
            f"core. Received: {count!r}."
        )
    cores = len(os.sched_getaffinity(0))
    return count if count > 0 else max(1, cores + 1 + count)


def _launch(sweep: Sweep, module: str) -> dict[str, Outcome]:
    """Lets a launcher of Hydra run the trials that are not finished, and waits for them."""
    from hydra._internal.callbacks import Callbacks
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    folders = {name: sweep.folder / name for name in sweep.trials}
    todo = [
        [*trial.overrides, f'hydra.sweep.subdir="{name}"']
        for name, trial in sweep.trials.items()
        if not run_folders.is_finished(folders[name]) and not trials.is_busy(folders[name])
    ]
    broken = ""
    with planning.hydra_of(sweep.verb) as engine:
        typed = [*sweep.typed, trials.setting("hydra.sweep.dir", sweep.folder)]
        config = engine.compose_config(sweep.verb, typed, RunMode.MULTIRUN, True)
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=HydraContext(engine.config_loader, Callbacks()),
            task_function=functools.partial(_job, module),
            config=config,
        )
        if todo:
            try:
                launcher.launch(todo, 0)
            except Exception as error:  # a job was killed, say; what it was is in its record
                broken = f"{type(error).__name__}: {error}".partition("\n")[0]
    while any(map(trials.is_busy, folders.values())):
        time.sleep(5)
    return {name: _recorded(folder, broken) for name, folder in folders.items()}


def _job(module: str, config: DictConfig) -> None:
    """One trial in the process that a launcher started for it."""
    from hydra.core.hydra_config import HydraConfig

    hydra_config = HydraConfig.get()
    config.output = hydra_config.runtime.output_dir

    def do() -> None:
        with surroundings.without_start_up_notes():
            verb = importlib.import_module(module)
        verb.run(config)

    # Of several tasks that train together the first writes.
    ranks = [os.environ.get(key) for key in ("SLURM_PROCID", "SUBMITIT_LOCAL_GLOBALID")]
    if any(rank not in (None, "0") for rank in ranks):
        return do()
    overrides = list(hydra_config.overrides.task)
    trials.run_here(Path(config.output), config, overrides, do)


def _recorded(folder: Path, broken: str) -> Outcome:
    record = trials.read(folder)
    if run_folders.is_finished(folder):
        return Outcome("finished", trials.mean_iou(folder))
    if record is None or record.status == "finished":
        return Outcome("failed", error=broken or "it did not begin; the launcher's log says why")
    if record.status == "running":
        return Outcome("failed", error=f"its process died ({broken})" if broken else "it died")
    return Outcome(record.status, record.value, record.error, record.seconds)

"""What `segkit search` does: trains with drawn hyperparameters, and finds those that score best."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from segkit import tables
from segkit.explaining import NotAll

if TYPE_CHECKING:
    from segkit.searching.study import Drawn, Study

log = logging.getLogger(__name__)

_ROWS = 5  # of the table in the end
_OURS = ("search", "output", "hydra")


def run(config: DictConfig) -> float | None:
    """Does what `segkit search` does, and returns the best score; None if no trial finished.

    Every trial is a `segkit train` of its own in `output`/trials/NNNN. The same command goes on
    with a search that was interrupted, and may be started several times at once, on machines that
    share the disk: together they run `search.trials` trials.

    Args:
        config: composed from `conf/search.yaml`.

    Raises:
        ValueError, OSError: naming what is wrong with the space, the folder or, if trials keep
            failing alike, with those.
        NotAll: in the end, if some trials failed.
        KeyboardInterrupt, SystemExit: after Ctrl-C or SIGTERM, when the trials at work are safe.
    """
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    return search(config, typed)


def search(config: DictConfig, typed: Sequence[str]) -> float | None:
    """The same, with the overrides that the config was composed with."""
    try:
        from segkit.searching import asked, journal, space, study, working
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise ValueError(
            "segkit search needs Optuna, which is not installed: pip install 'segkit[search]'."
        ) from error
    from segkit.searching.names import key_of

    of_training = [o for o in typed if key_of(o).partition(".")[0] not in _OURS]
    wanted = asked.read(config, of_training)
    drawn_from = space.make(wanted.space, of_training)
    with journal.quiet():
        opened = study.Study(_folder(config.output), wanted, drawn_from)
        teller = _Teller(opened, wanted.workers)
        workers = working.Workers(opened, wanted.workers, teller.told)
        try:
            workers.run()
        except (KeyboardInterrupt, SystemExit):
            log.info("The same command goes on with it.")
            raise
        finally:
            teller.sum_up()
        best = opened.best()
    if workers.failed:
        some = "1 trial" if workers.failed == 1 else f"{workers.failed} trials"
        raise NotAll(
            f"{some} failed; {opened.folder / 'trials.csv'} says why. The same command draws "
            "others in their place."
        )
    return None if best is None else best.value


class _Teller:
    """Says how a search goes: a line for each trial, and in the end a table and files."""

    def __init__(self, study: Study, workers: int):
        self.study, self.workers = study, workers
        self._seconds: list[float] = []
        log.info(self._first())

    def told(self, drawn: Drawn, seconds: float) -> None:
        """Says how a trial ended."""
        from segkit.searching import record

        record.write(self.study)
        trial = self.study.trials()[drawn.number]
        state = record.STATES[trial.state]
        self._seconds.append(seconds)
        done = [t for t in self.study.counted() if t.state.is_finished()]
        best = self.study.best()
        score = "no score" if trial.value is None else f"{self.study.asked.score} {trial.value:.4f}"
        said = {"finished": score, "pruned": f"pruned at {score}"}
        parts = [
            f"[{len(done)}/{self.study.total}] trial {drawn.number:04d}: {said.get(state, state)}"
        ]
        if best is not None:
            parts.append(f"best {best.value:.4f} ({best.number:04d})")
        parts.append(_shown(self.study, trial))
        parts.append(_duration(seconds) + self._left(len(done)))
        log.info("%s", "  ".join(parts))
        if state == "failed":
            log.info("  %s", trial.user_attrs["error"])

    def sum_up(self) -> None:
        """Writes the files, and shows the best trials and how to train with the best one."""
        from segkit.report import search_page
        from segkit.searching import record

        record.write(self.study)
        record.write_importance(self.study)
        best = self.study.best()
        command = None if best is None else record.command(self.study, best)
        page = search_page.write(self.study.folder, command)
        if best is not None:
            log.info(_table(self.study))
            log.info("best: %s", command)
        log.info("report: %s", page)
        others = sum(row.state not in record.FINAL for row in self.study.counted())
        if others:
            log.info("not ended yet, or at work in another process: %d", others)

    def _first(self) -> str:
        study = self.study
        there = [trial for trial in study.counted() if trial.state.is_finished()]
        keys = ", ".join(
            f"{key} (where it is there)" if key in study.space.depending else key
            for key in study.space.entries
        )
        begun = f", {len(there)} of them done" if there else ""
        return f"{study.total} trials in {study.folder}{begun}, drawing {keys}"

    def _left(self, done: int) -> str:
        rest = self.study.total - done
        if rest <= 0:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        return f", about {_duration(mean * rest / min(self.workers, rest))} left"


def _table(study: Study) -> str:
    from optuna.trial import TrialState

    sign = -1 if study.asked.maximizes else 1
    done = sorted(study.trials(TrialState.COMPLETE), key=lambda trial: sign * trial.value)
    keys = list(study.space.entries)
    rows = []
    for trial in done[:_ROWS]:
        values = study.space.values(trial.params)
        shown = [_text(values[key]) if key in values else "" for key in keys]
        rows.append([f"{trial.number:04d}", f"{trial.value:.4f}", *shown])
    return tables.text("best trials", ["trial", study.asked.score, *keys], rows)


def _shown(study: Study, trial: Any) -> str:
    values = study.space.values(trial.params)
    return " ".join(f"{key.split('.')[-1]}={_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _folder(path: str) -> Path:
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write to {folder}: {error}. Choose another folder.") from error
    return folder

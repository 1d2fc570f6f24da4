"""What MLflow records of a run."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple

import yaml

from segkit.callbacks.writing import Writer, replacing

log = logging.getLogger(__name__)

DATABASE = "sqlite:///runs/mlflow.db"
STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
FILES = ("report.html", "metrics.json", "history.csv", "train.log")  # besides config.yaml
LONGEST_KEY, LONGEST_VALUE = 250, 6000
PARAMS, METRICS = 100, 1000  # in one request, at most

ENVIRONMENT = {
    # MLflow reports its use to its makers, unless told not to.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # With its own numbers, a server that is gone would hold training up for minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class MLflow(Writer):
    """Records a run in MLflow: its config, the scores of each epoch, at the end its report.

    Metrics are named as in history.csv; their steps are epochs, from 1. A run that goes on goes
    on in MLflow, too: mlflow.json in its folder says as which. Whether MLflow can be written to
    is found out before the first epoch. If it fails later, that is said once, training goes on,
    and what is missing is sent once it answers again.

    Args:
        folder: the run folder. The parameters are read from its config.yaml.
        tracking_uri: of a server or database; None: the environment variable MLFLOW_TRACKING_URI,
            or else a database in the folder `runs`.
        experiment: made if it is not there.
        run_name: None: the name of the folder.
        model: whether model.keras is uploaded as well.

    Raises:
        ValueError: if mlflow is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        tracking_uri: str | None = None,
        experiment: str = "segkit",
        run_name: str | None = None,
        model: bool = False,
    ):
        super().__init__()
        if importlib.util.find_spec("mlflow") is None:
            raise ValueError(
                "callbacks=mlflow needs MLflow, which is not installed. "
                "Type: pip install 'segkit[mlflow]'."
            )
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DATABASE
        self.folder = Path(folder)
        self._place = _Place(uri, experiment, run_name or self.folder.resolve().name)
        self._files = ("model.keras", *FILES) if model else FILES
        self._client: Any = None
        self.run_id: str | None = None
        self.pending: list[dict[str, Any]] = []  # epochs that are not in MLflow yet
        self.silent = False

    def restored(self) -> None:
        """Says it again in a run that goes on, should MLflow fail there."""
        self.silent = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self.writes:
            try:
                self._client = _Client(self._place)
            except Exception as error:  # of any of the libraries below MLflow
                raise OSError(
                    f"MLflow at {self._place.shown} cannot be written to ({_short(error)}). Start "
                    "it, name another with callbacks.mlflow.tracking_uri=URI, or leave "
                    "callbacks=mlflow out."
                ) from error

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.writes and self.run_id is None:
            self._attempt(self._begin)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        known = {k: float(v) for k, v in (logs or {}).items() if math.isfinite(v)}
        if self.writes:
            row = {"step": epoch + 1, "time": _now(), "values": known}
            self.pending = [*self.pending, row]
            self._attempt(self._send)

    def on_run_end(self, outcome: str) -> None:
        """Sends the report and ends the run in MLflow: `finished`, `stopped` or `failed`."""
        if self.writes:
            self._attempt(lambda: self._end(STATUS[outcome]))

    def _begin(self) -> None:
        note = self.folder / "mlflow.json"
        if note.exists():  # of a process that was killed before its first checkpoint
            self.run_id = json.loads(note.read_text(encoding="utf-8"))["run_id"]
            return
        config = self.folder / "config.yaml"
        self.run_id = self._client.begin(config)
        with replacing(note) as unfinished:
            content = {"run_id": self.run_id, "tracking_uri": self._place.shown}
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _send(self) -> None:
        if self.run_id is None:
            self._begin()
        while self.pending:
            self._client.log(self.run_id, self.pending[0])
            self.pending = self.pending[1:]

    def _end(self, status: str) -> None:
        if self._client is None:
            self._client = _Client(self._place)
        self._send()
        found = [self.folder / name for name in self._files]
        self._client.end(self.run_id, [path for path in found if path.exists()], status)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # of any of the libraries below MLflow
            if not self.silent:
                log.warning(
                    "MLflow at %s does not take what is sent to it (%s). Training goes on, and "
                    "tries again after each epoch.",
                    self._place.shown,
                    _short(error),
                )
            self.silent = True
        else:
            if self.silent:
                log.info("MLflow at %s answers again; nothing is missing.", self._place.shown)
            self.silent = False


class _Place(NamedTuple):
    """Where runs are recorded. Not plain: a run that goes on may find it elsewhere."""

    uri: str
    experiment: str
    name: str

    @property
    def shown(self) -> str:
        """The address without a password."""
        return re.sub(r"//[^/@]+@", "//", self.uri)


class _Client:
    """The few things that are asked of MLflow, for runs in one experiment."""

    def __init__(self, place: _Place):
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its libraries' own
            import mlflow
            from mlflow.entities import Metric, Param

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._metric, self._param, self._name = Metric, Param, place.name
        folder = None
        if place.uri.startswith("sqlite:///"):
            folder = Path(place.uri.removeprefix("sqlite:///")).resolve().parent
            folder.mkdir(parents=True, exist_ok=True)
        self._client = mlflow.MlflowClient(place.uri)
        self._experiment = self._find(place.experiment, folder)

    def begin(self, config: Path) -> str:
        """Makes a run with the parameters of a config file, and returns its id."""
        tags = {"mlflow.source.name": "segkit train"}
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._name)
        number: str = run.info.run_id
        if config.exists():
            params = flat(yaml.safe_load(config.read_text(encoding="utf-8")))
            rows = [self._param(key, value) for key, value in params.items()]
            for start in range(0, len(rows), PARAMS):
                self._client.log_batch(number, params=rows[start : start + PARAMS])
            self._client.log_artifact(number, str(config))
        return number

    def log(self, run: str, row: Mapping[str, Any]) -> None:
        """Records the scores of one epoch."""
        step, when = int(row["step"]), int(row["time"])
        values = [self._metric(_key(k), v, when, step) for k, v in row["values"].items()]
        for start in range(0, len(values), METRICS):
            self._client.log_batch(run, metrics=values[start : start + METRICS])
        if self._client.get_run(run).info.status != "RUNNING":  # stopped before, and goes on
            self._client.update_run(run, status="RUNNING")

    def end(self, run: str, files: list[Path], status: str) -> None:
        """Sends files and ends the run."""
        for path in files:
            self._client.log_artifact(run, str(path))
        self._client.set_terminated(run, status)

    def _find(self, name: str, folder: Path | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            files = None if folder is None else (folder / "mlflow").as_uri()
            return self._client.create_experiment(name, artifact_location=files)
        if found.lifecycle_stage != "active":
            raise ValueError(
                f"the experiment {name!r} was deleted; restore it, or choose another with "
                "callbacks.mlflow.experiment=NAME"
            )
        return found.experiment_id


def flat(node: Any, prefix: str = "") -> dict[str, str]:
    """A nested config as parameters: `trainer.epochs` with the value as text."""
    if not isinstance(node, Mapping) or not node:
        return {_key(prefix)[:LONGEST_KEY]: str(node)[:LONGEST_VALUE]}
    params: dict[str, str] = {}
    for key, value in node.items():
        params |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return params


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits and a few signs."""
    return re.sub(r"[^\w.\- :]", "_", name)


def _now() -> int:
    return round(1000 * time.time())


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__

"""What MLflow records of a run, and what happens when it is not there."""

import importlib.util
import json
import logging

import pytest

from segkit.callbacks import AtEnd, MLflow, tracking

LOGS = {"loss": 0.5, "val_mean_iou": 0.25, "val_iou_liver (left)": 0.125, "val_iou_b": float("nan")}
CONFIG = "trainer:\n  epochs: 2\n  ema: null\ndata:\n  sizes: {train: 3}\n  name(s): [ä, b]\n"

# MLflow and what it stands on call each other in old ways.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

needs_mlflow = pytest.mark.skipif(
    importlib.util.find_spec("mlflow") is None, reason="needs mlflow: pip install 'segkit[mlflow]'"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in tracking.ENVIRONMENT:
        monkeypatch.setenv(name, tracking.ENVIRONMENT[name])
    made = tmp_path / "run"
    made.mkdir()
    (made / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (made / "report.html").write_text("<p>report</p>")
    return made


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """One for all: to make it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/deep/mlflow.db"


@pytest.fixture
def place(database, request):
    return {"tracking_uri": database, "experiment": request.node.name}


def begun(folder, place):
    callback = MLflow(folder, **place)
    callback.on_train_begin()
    return callback


def epochs(callback, *numbers):
    for epoch in numbers:
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {**LOGS, "loss": 1 / (epoch + 1)})


def recorded(place):
    import mlflow

    client = mlflow.MlflowClient(place["tracking_uri"])
    experiment = client.get_experiment_by_name(place["experiment"])
    return client, client.search_runs([experiment.experiment_id])


@needs_mlflow
def test_a_run_goes_on_as_the_same_run(folder, place):
    first = begun(folder, place)
    epochs(first, 0, 1)
    first.on_run_end("stopped")
    assert recorded(place)[1][0].info.status == "KILLED"
    second = begun(folder, place)
    second.run_id, second.pending = first.run_id, first.pending
    second.restored()
    epochs(second, 2)
    client, (run,) = recorded(place)
    assert run.info.status == "RUNNING"
    second.on_run_end("finished")
    client, (run,) = recorded(place)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert isinstance(second, AtEnd)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert set(run.data.metrics) == {"loss", "val_mean_iou", "val_iou_liver _left_"}
    expected = {"trainer.epochs": "2", "trainer.ema": "None", "data.sizes.train": "3"}
    assert run.data.params == {**expected, "data.name_s_": "['ä', 'b']"}
    files = {f.path for f in client.list_artifacts(run.info.run_id)}
    assert files == {"config.yaml", "report.html"}
    assert json.loads((folder / "mlflow.json").read_text())["run_id"] == run.info.run_id


@needs_mlflow
def test_killed_before_the_first_checkpoint(folder, place):
    begun(folder, place).on_epoch_begin(0)
    second = begun(folder, place)
    epochs(second, 0)
    assert len(recorded(place)[1]) == 1


@needs_mlflow
def test_a_server_that_goes_away_does_not_end_training(folder, place, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    callback = begun(folder, place)
    epochs(callback, 0)
    whole = tracking._Client.log

    def gone(*_):
        raise ConnectionError("connection refused\nand much more")

    monkeypatch.setattr(tracking._Client, "log", gone)
    epochs(callback, 1, 2)
    assert [row["step"] for row in callback.pending] == [2, 3]
    monkeypatch.setattr(tracking._Client, "log", whole)
    epochs(callback, 3)
    client, (run,) = recorded(place)
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [m.step for m in history] == [1, 2, 3, 4] and callback.pending == []
    said = [record.getMessage() for record in caplog.records if "MLflow at" in record.getMessage()]
    assert len(said) == 2 and "(connection refused). Training goes on" in said[0]
    assert said[1].endswith("answers again; nothing is missing.")


@needs_mlflow
def test_what_cannot_be_reached_is_said_before_training(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    callback = MLflow(folder, tracking_uri="http://name:secret@127.0.0.1:9/")
    words = "MLflow at http://127.0.0.1:9/ cannot be written to .*Start it, name another with"
    with pytest.raises(OSError, match=words):
        callback.on_train_begin()


@needs_mlflow
def test_a_deleted_experiment_is_named(folder, place):
    begun(folder, place)
    import mlflow

    client, name = mlflow.MlflowClient(place["tracking_uri"]), place["experiment"]
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    with pytest.raises(OSError, match=f"the experiment '{name}' was deleted; restore it, or"):
        begun(folder, place)


@needs_mlflow
def test_of_several_workers_one_records(folder, tmp_path):
    callback = MLflow(folder, tracking_uri=f"sqlite:///{tmp_path}/deep/mlflow.db")
    callback.writes = False
    callback.on_train_begin()
    epochs(callback, 0)
    callback.on_run_end("finished")
    assert not (tmp_path / "deep").exists() and not (folder / "mlflow.json").exists()


def test_not_installed_is_said_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"not installed. Type: pip install 'segkit\[mlflow\]'"):
        MLflow(tmp_path)


def test_the_password_of_a_server_is_not_shown():
    place = tracking._Place("postgresql://me:secret@host/db", "segkit", "run")
    assert place.shown == "postgresql://host/db"


def test_a_config_becomes_names_and_texts():
    long = tracking.flat({"a": {"b": 1, "c": {}}, "d": ["x" * 9000]})
    assert long == {"a.b": "1", "a.c": "{}", "d": "['" + "x" * 5998}

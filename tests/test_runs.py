"""What a run folder says, and what it cannot be made to do."""

import json
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from small_runs import NAMES, write_run

from segkit import models, runs
from segkit.runs import Decisions


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data = {"root": "x", "size": [64, 48], "fit": "resize", "channels": 3, "value_range": [0, 9]}
    return write_run(tmp_path_factory.mktemp("runs") / "run", data)


def test_reads_what_predictions_need(folder):
    run = runs.read(folder)
    assert (run.size, run.fit, run.channels, run.value_range) == ((64, 48), "resize", 3, [0, 9])
    assert list(run.labels.names) == NAMES and run.decisions is None
    assert runs.read(folder / "model.keras") == run


def test_drawn_scenes_have_no_size_of_files(tmp_path):
    # Their data.size is that of the objects.
    run = runs.read(write_run(tmp_path / "run", {"size": [0.12, 0.3]}))
    assert run.size is None and run.fit is None


def test_missing_files_are_named_and_runs_below_shown(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="without model.keras, config.yaml.*Below.*run"):
        runs.read(folder.parent)
    with pytest.raises(FileNotFoundError, match="none, which is not there"):
        runs.read(tmp_path / "none")


def test_damaged_files_are_named(folder, tmp_path):
    for name in ("config.yaml", "normalization.json", "decisions.json"):
        run = write_run(tmp_path / name)
        (run / name).write_text("{")
        with pytest.raises(ValueError, match=f"{name} cannot be read"):
            runs.read(run)
        (run / name).write_text("[]")
        with pytest.raises(ValueError, match=f"{name} must hold names with values. Received: list"):
            runs.read(run)


def test_decisions_come_back_as_they_were_written(tmp_path):
    path, decisions = tmp_path / "decisions.json", Decisions(1.7, (0.5, 0.25, 0.8), "iou")
    decisions.to_json(path, NAMES)
    assert Decisions.from_json(path, NAMES) == decisions
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="a threshold for each class, a, b. Received: .*nucleus"):
        Decisions.from_json(path, ["a", "b"])


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a number above 0"):
        Decisions(temperature, (0.5,))


@pytest.mark.parametrize("threshold", [0, 1, -0.1, float("nan"), None])
def test_thresholds_that_decide_nothing_are_refused(threshold, tmp_path):
    with pytest.raises(ValueError, match="thresholds must lie between 0 and 1"):
        Decisions(1.0, (0.5, threshold))
    path = tmp_path / "decisions.json"
    path.write_text(json.dumps({"temperature": 1, "thresholds": {"a": threshold}}))
    with pytest.raises(ValueError, match="decisions.json: thresholds must.*segkit calibrate"):
        Decisions.from_json(path, ["a"])


# A model file from elsewhere cannot run code.


def test_code_in_a_lambda_layer_is_refused(tmp_path):
    image = keras.Input((None, None, 3))
    path, done = tmp_path / "model.keras", str(tmp_path / "done")
    code = keras.layers.Lambda(lambda x: open(done, "w").close() or x)
    keras.Model(image, code(image)).save(path)
    Path(done).unlink()  # building the model called it
    with pytest.raises(ValueError, match="cannot read .*model.keras as a model.*Take another"):
        runs.load_model(path)
    assert not Path(done).exists()


@pytest.mark.parametrize(
    "module, name",
    [("os", "system"), ("subprocess", "Popen"), ("builtins", "exec"), ("antigravity", "Layer")],
)
def test_other_modules_are_not_imported(folder, tmp_path, module, name):
    path = altered(folder, tmp_path, lambda layer: {**layer, "module": module, "class_name": name})
    with pytest.raises(ValueError, match="cannot read .*model.keras as a model"):
        runs.load_model(path)
    assert "antigravity" not in sys.modules


def altered(folder, tmp_path, change):
    """The model of a run with its second layer described otherwise."""
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(folder / "model.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                layers = config["config"]["layers"]
                layers[1] = change({**layers[1], "registered_name": None})
                content = json.dumps(config).encode()
            new.writestr(name, content)
    return path


@pytest.mark.parametrize("kept", [0, 10, 1000, -10])
def test_truncated_models_are_named(folder, tmp_path, kept):
    path = tmp_path / "model.keras"
    path.write_bytes((folder / "model.keras").read_bytes()[:kept])
    with pytest.raises(ValueError, match="cannot read .*model.keras as a model"):
        runs.load_model(path)


def test_weights_that_are_no_numbers_are_named(tmp_path):
    model = models.unet((None, None, 3), 2, 2, 1)
    model.get_layer("logits").bias.assign([np.nan, 0])
    model.save(tmp_path / "model.keras")
    with pytest.raises(
        ValueError, match="the weights of logits in model.keras are not all numbers"
    ):
        runs.load_model(tmp_path / "model.keras")


def test_config_of_a_run_is_data(folder, tmp_path):
    # Neither YAML tags nor interpolations are followed.
    run, done = write_run(tmp_path / "run"), tmp_path / "done"
    tag = f"!!python/object/apply:os.system ['touch {done}']"
    (run / "config.yaml").write_text(f"data: {tag}\n")
    with pytest.raises(ValueError, match="config.yaml cannot be read"):
        runs.read(run)
    (run / "config.yaml").write_text(yaml.safe_dump({"data": {"value_range": "${oc.env:HOME}"}}))
    assert runs.read(run).value_range == "${oc.env:HOME}"
    assert not done.exists()


def test_what_all_joined_data_sets_say_counts_for_the_run(tmp_path):
    sources = {"a": {"root": "a", "value_range": [0, 9]}, "b": {"root": "b"}}
    data = {"sources": sources, "size": 128, "fit": "resize", "value_range": None}
    assert runs.read(write_run(tmp_path / "some", data)).value_range is None
    sources["b"] |= {"value_range": [0, 9], "size": 64}
    sources["a"] |= {"size": 64, "fit": "crop"}
    run = runs.read(write_run(tmp_path / "all", data))
    assert (run.value_range, run.size, run.fit) == ([0, 9], (64, 64), "resize")

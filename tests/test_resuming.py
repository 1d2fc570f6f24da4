"""A run that dies goes on where it was, and ends as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from killed_run import TINY

from segkit import callbacks, resuming, training, watching
from segkit.config import compose

HERE = Path(__file__).parent


def same_runs(one, other):
    for name in ("history.csv", "metrics.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    weights = [
        zipfile.ZipFile(run / "model.keras").read("model.weights.h5") for run in (one, other)
    ]
    assert weights[0] == weights[1]


def test_killed_ten_times_at_random_moments(tmp_path):
    """Weights, history and scores are those of the undisturbed run, bit for bit."""
    done = subprocess.run(
        [sys.executable, HERE / "killed_run.py", tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 10 times" in done.stdout
    same_runs(tmp_path / "whole", tmp_path / "killed")
    assert not (tmp_path / "killed/checkpoints").exists()


class Stop(keras.callbacks.Callback):
    """Sends a signal to this process after a step, or in the validation."""

    def __init__(self, number, epoch, step):
        super().__init__()
        self.number, self.at, self.epoch = number, (epoch, step), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            os.kill(os.getpid(), self.number)


def run(monkeypatch, folder, *overrides, stop=None):
    usual = watching.callbacks

    def with_stop(*arguments):
        built, kept = usual(*arguments)
        return [*built, stop], kept

    config = compose("train", [f"output={folder}", *TINY, "trainer.epochs=3", *overrides])
    with monkeypatch.context() as patch:
        if stop is not None:
            patch.setattr(watching, "callbacks", with_stop)
        return training.run(config)


# What has a state of its own: the rate, the wait for a better score, the average, the dropout.
STATEFUL = [
    "schedule=plateau",
    "callbacks.plateau.warmup=0.2",
    "callbacks.plateau.patience=1",
    "callbacks.early_stopping.patience=30",
    "optimizer=adamw",
    "trainer.ema=0.9",
    "trainer.accumulate=2",
    "model.dropout=0.3",
]


@pytest.mark.parametrize(
    "number, epoch, step, said",
    [
        (signal.SIGTERM, 1, 1, "epoch 2, after step 2"),
        (signal.SIGINT, 0, 4, "epoch 1, after step 5"),  # the last step: in the validation
    ],
)
def test_a_signal_saves_in_the_middle_of_an_epoch(
    tmp_path, monkeypatch, caplog, number, epoch, step, said
):
    caplog.set_level("INFO")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(monkeypatch, whole, *STATEFUL)
    with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt) as ended:
        run(monkeypatch, stopped, *STATEFUL, stop=Stop(number, epoch, step))
    assert number != signal.SIGTERM or ended.value.code == 143
    assert f"Stopped in {said}. The same command goes on from there." in caplog.text
    assert signal.getsignal(number) is not None
    run(monkeypatch, stopped, *STATEFUL)
    assert f"goes on from {said}" in caplog.text
    same_runs(whole, stopped)


def test_other_data_are_refused(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, stop=Stop(signal.SIGINT, 1, 1))
    monkeypatch.setattr(resuming, "digest", lambda *_: "0" * 64)
    with pytest.raises(ValueError, match="not those that the run in .* was begun with"):
        run(monkeypatch, tmp_path)


def test_other_versions_are_said(tmp_path, monkeypatch, caplog):
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, tmp_path, stop=Stop(signal.SIGINT, 1, 1))
    monkeypatch.setattr(resuming.keras, "__version__", "9.9")
    run(monkeypatch, tmp_path)
    assert "goes on elsewhere than before" in caplog.text and "-> 9.9" in caplog.text


def test_showing_or_hiding_the_progress_changes_nothing(tmp_path, monkeypatch):
    """Callbacks come and go, and each gets its own state back."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(monkeypatch, whole)
    for hidden, at in (([], (0, 1)), (["callbacks.progress=null"], (1, 2))):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, stopped, *hidden, stop=Stop(signal.SIGINT, *at))
    run(monkeypatch, stopped)
    same_runs(whole, stopped)


def test_the_bar_of_a_terminal_is_no_state():
    callback = callbacks.Progress()
    callback.task, callback.best = 0, 0.5
    assert "task" not in resuming._own(callback) and resuming._own(callback)["best"] == 0.5


def test_a_signal_while_the_last_checkpoint_is_written_is_heard(tmp_path, monkeypatch):
    usual = resuming.Saver.save

    def save(self, position):
        usual(self, position)
        if position == (3, 0):
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(resuming.Saver, "save", save)
    with pytest.raises(SystemExit):
        run(monkeypatch, tmp_path)
    assert not (tmp_path / "report.html").exists()
    assert run(monkeypatch, tmp_path) is not None


def test_a_damaged_checkpoint_is_passed_over(tmp_path, monkeypatch, caplog):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(monkeypatch, whole)
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, stopped, stop=Stop(signal.SIGINT, 2, 1))
    newest = sorted((stopped / "checkpoints").iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    run(monkeypatch, stopped)
    assert f"{newest.name} is damaged" in caplog.text
    same_runs(whole, stopped)


def test_no_number_ends_with_the_last_good_model(tmp_path, monkeypatch):
    """And goes on from before that; what the error proposes is refused in this folder."""

    class Spoil(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.set_weights([w * np.nan for w in self.model.get_weights()])

    with pytest.raises(ValueError, match="loss is nan at epoch 2.*lower optimizer.learning_rate"):
        run(monkeypatch, tmp_path, stop=Spoil())
    model = keras.models.load_model(tmp_path / "model.keras")
    assert np.isfinite(np.asarray(model(np.zeros((1, 8, 8, 3), "float32")))).all()
    with pytest.raises(FileExistsError, match="optimizer.learning_rate was 0.002, now 0.001"):
        run(monkeypatch, tmp_path, "optimizer.learning_rate=0.001")
    assert run(monkeypatch, tmp_path) is not None


def test_an_interrupted_command_without_a_folder_goes_on(tmp_path):
    """The same words, typed again: the run beside the new folder is found, and gone on with."""
    command = [sys.executable, "-m", "segkit.cli", "train", *TINY, "trainer.epochs=200"]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 240
    while not list(tmp_path.glob("runs/*/checkpoints/*.npz")):
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    first.terminate()
    assert first.wait(timeout=60) == 143
    time.sleep(1.1)  # folders are named by the second
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as second:
        lines = iter(second.stdout.readline, "")
        assert any("The same command was interrupted in" in line for line in lines)
        assert any("goes on from epoch" in line for line in lines)
        second.kill()
    assert len(list(tmp_path.glob("runs/*"))) == 1
    (log,) = tmp_path.glob("runs/*/train.log")
    assert "Stopped in epoch" in log.read_text() and "goes on from" in log.read_text()

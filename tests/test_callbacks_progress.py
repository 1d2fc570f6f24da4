"""What the terminal shows while a model trains."""

import io
import logging

import pytest
from rich.console import Console

from segkit.callbacks import Progress, progress

LOGS = {"loss": 0.51234, "val_loss": 0.6, "val_mean_iou": 0.7, "val_iou_a": 0.9, "val_iou_b": 0.5}


class Time:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Time()
    monkeypatch.setattr(progress, "monotonic", made)
    return made


def shown(epochs=3, steps=4, terminal=False):
    callback = Progress()
    callback.set_params({"epochs": epochs, "steps": steps})
    callback.bar.live.console = Console(
        file=io.StringIO(), force_terminal=terminal, width=100, color_system=None
    )
    callback.on_train_begin()
    return callback


def run_epoch(callback, clock, epoch, first=0.0, step=2.0, end=6.0):
    callback.on_epoch_begin(epoch)
    for batch in range(callback.params["steps"]):
        clock.now += first if batch == 0 else step
        callback.on_train_batch_end(batch, {"loss": 1.0} if batch % 2 else {})
    clock.now += end
    callback.on_epoch_end(epoch, LOGS)


def test_one_line_an_epoch_says_what_matters(clock, caplog):
    caplog.set_level(logging.INFO)
    callback = shown()
    run_epoch(callback, clock, 0, first=100.0)  # compiles
    assert caplog.messages == [
        "epoch 1/3  loss 0.5123  val 0.6000  mean IoU 0.7000 *  worst b 0.5000  28 s left"
    ]
    clock.now += 4.0  # a checkpoint: an end takes 10 s
    run_epoch(callback, clock, 1, first=2.0)
    run_epoch(callback, clock, 2, first=2.0)
    assert caplog.messages[1].endswith("mean IoU 0.7000    worst b 0.5000  18 s left")
    assert caplog.messages[2].endswith("worst b 0.5000")


def test_nothing_measured_has_a_line_too(clock, caplog):
    caplog.set_level(logging.INFO)
    callback = shown(epochs=1)
    callback.on_epoch_begin(0)
    callback.on_epoch_end(0, {"loss": 1.0, "val_mean_iou": float("nan")})
    assert caplog.messages == ["epoch 1/1  loss 1.0000"]


def test_the_bar_says_what_is_waited_for(clock):
    callback = shown(terminal=True)
    callback.on_epoch_begin(0)
    seen = [now(callback)]
    for batch in range(4):
        clock.now += 2.0
        callback.on_train_batch_end(batch, {"loss": 0.5} if batch == 1 else {})
        seen.append(now(callback))
    assert seen == [
        "compiling the first step",
        "",
        "loss 0.5000  20 s left",
        "loss 0.5000  18 s left",
        "scoring val",
    ]
    callback.on_epoch_end(0, LOGS)
    callback.on_epoch_begin(1)
    assert now(callback) == ""  # compiled once is compiled
    callback.on_train_end()
    assert callback.task is None and not callback.bar.live.is_started


def now(callback):
    (task,) = callback.bar.tasks
    return task.fields["now"]


def test_nothing_is_drawn_on_a_pipe(clock):
    callback = shown()
    run_epoch(callback, clock, 0)
    assert callback.bar.console.file.getvalue() == ""


def test_the_log_writes_above_the_bar(clock, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    callback, stream = shown(terminal=True), Terminal()
    pipe = io.StringIO()
    made = [logging.StreamHandler(stream), logging.StreamHandler(pipe)]
    monkeypatch.setattr(logging.root, "handlers", made)
    callback.on_epoch_begin(0)
    logging.warning("one image is %s", "empty")
    callback.close()
    drawn = callback.bar.console.file.getvalue()
    assert "one image is empty\n" in drawn and drawn.index("one image") < drawn.rindex("epoch 1/3")
    assert stream.getvalue() == "" and pipe.getvalue() == "one image is empty\n"
    logging.warning("after")
    assert stream.getvalue() == "after\n"


@pytest.mark.parametrize(
    "seconds, words",
    [(0.2, "0 s"), (99, "99 s"), (101, "2 min"), (3570, "1 h 0 min"), (7500, "2 h 5 min")]
    + [(86400 * 3, "3 days")],
)
def test_times_are_as_fine_as_anybody_wants(seconds, words):
    assert progress.duration(seconds) == words


def test_a_spinner_only_on_terminals(monkeypatch, capsys):
    with progress.waiting("scoring val"):
        pass
    assert capsys.readouterr() == ("", "")

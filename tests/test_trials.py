"""One trial: run once in a process of its own, recorded, and out of the way of the others."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from segkit.trials import Outcome, children
from segkit.trials import records as trial_records
from segkit.trials import running as trials

STUB = Path(__file__).with_name("stub_trial.py")


@pytest.fixture(autouse=True)
def stub(monkeypatch):
    """A quick program in the place of segkit, and the config that it leaves in the one of Hydra."""

    def composed(verb, overrides, folder):
        return OmegaConf.create({"output": str(folder), "given": sorted(overrides)})

    monkeypatch.setattr(children, "command", lambda: [sys.executable, "-S", str(STUB)])
    monkeypatch.setattr(trials, "composed", composed)


def go(folder, *overrides, **more):
    return trials.run(folder, "train", list(overrides), **more)


def record(folder):
    return json.loads((folder / "trial.json").read_text())


def soon(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_trial_runs_once(tmp_path):
    folder = tmp_path / "a,b=1" / 'odd "name"'
    first = go(folder, "seed=1")
    assert (first.status, first.value, first.error) == ("finished", 0.25, None)
    found = record(folder)
    assert found["overrides"] == ["seed=1"] and found["exit"] == 0 and found["value"] == 0.25
    assert found["status"] == "finished" and found["seconds"] > 0 and found["started"][:2] == "20"
    again = go(folder, "seed=1")
    assert (again.status, again.value) == ("finished", 0.25)
    assert (folder / "console.txt").read_text() == "begins\n" and record(folder) == found


def test_a_trial_of_another_config_is_refused_and_left_as_it_is(tmp_path):
    go(tmp_path, "seed=1")
    before = record(tmp_path)
    other = go(tmp_path, "seed=2")
    assert other.status == "failed"
    assert "was begun with another config: given was ['seed=1'], now ['seed=2']" in other.error
    assert record(tmp_path) == before and (tmp_path / "console.txt").read_text() == "begins\n"


@pytest.mark.parametrize(
    "do, words, code",
    [
        ("fail", "There is no folder there. Received: 'there'.", 1),
        ("crash", "RuntimeError: out of paper", 1),
        ("kill", "killed by SIGKILL: by hand, or because the machine was out of memory", -9),
    ],
)
def test_a_failure_is_recorded_and_the_trial_runs_again(do, words, code, tmp_path):
    outcome = go(tmp_path, f"+do={do}")
    assert (outcome.status, outcome.error, outcome.value) == ("failed", words, None)
    found = record(tmp_path)
    assert (found["status"], found["error"], found["exit"]) == ("failed", words, code)
    (tmp_path / "mended").touch()
    assert go(tmp_path, f"+do={do}").status == "finished"
    assert record(tmp_path)["error"] is None and record(tmp_path)["started"] == found["started"]


@pytest.mark.parametrize(
    "code, said, words",
    [
        (-11, "whatever", "killed by SIGSEGV"),
        (1, "", "exit code 1, and nothing said"),
        (1, "epoch 1\n\nlast words  here\n", "last words here"),
        (1, "segkit train: first\nsegkit train: second.\nmore of it\n", "second. more of it"),
        (1, "Traceback\n  x\nkeras.src.OddError: no\nbye\n", "keras.src.OddError: no"),
        (3, "x" * 2000, "x" * 497 + "..."),
    ],
)
def test_the_last_useful_words(code, said, words):
    assert children.reason(code, said) == words


def test_an_error_of_before_is_not_that_of_now(tmp_path):
    go(tmp_path, "+do=fail")
    (tmp_path / "console.txt").write_text("segkit train: old\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "command", lambda: [sys.executable, "-c", "exit(5)"])
        (tmp_path / "config.yaml").unlink()
        assert go(tmp_path).error == "exit code 5, and nothing said"


def test_a_trial_that_is_stopped_saves_and_goes_on(tmp_path):
    stop = threading.Event()
    with ThreadPoolExecutor() as pool:
        future = pool.submit(go, tmp_path, "+do=wait", stop=stop)
        soon((tmp_path / "waiting").exists)
        assert record(tmp_path)["status"] == "running" and trials.is_busy(tmp_path)
        stop.set()
        assert future.result().status == "stopped"
    found = record(tmp_path)
    assert found["status"] == "stopped" and found["exit"] == 143 and not trials.is_busy(tmp_path)
    assert list((tmp_path / "checkpoints").iterdir())
    (tmp_path / "mended").touch()
    assert go(tmp_path, "+do=wait").status == "finished"
    assert record(tmp_path)["seconds"] > found["seconds"]


def test_who_watches_may_prune(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_WATCH", 0.02)
    seen = []

    def watch(folder):
        seen.append(folder)
        return (folder / "waiting").exists()

    outcome = go(tmp_path, "+do=wait", watch=watch)
    assert outcome == Outcome("pruned", None, None, outcome.seconds)
    assert record(tmp_path)["status"] == "pruned" and set(seen) == {tmp_path}
    assert list((tmp_path / "checkpoints").iterdir())


def test_an_interruption_waits_for_the_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "_WATCH", 0.02)

    def watch(folder):
        if (folder / "waiting").exists():
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, "+do=wait", watch=watch)
    assert record(tmp_path)["status"] == "stopped" and list((tmp_path / "checkpoints").iterdir())


class Child:
    """A process that takes its time to end; what arrives meanwhile is raised."""

    def __init__(self, *raised):
        self.raised, self.got = list(raised), []

    def poll(self):
        return None

    def terminate(self):
        self.got.append("TERM")

    def kill(self):
        self.got.append("KILL")
        self.raised.clear()

    def wait(self):
        if self.raised:
            raise self.raised.pop()
        return 143


def test_a_second_sigterm_waits_and_a_second_ctrl_c_does_not():
    child = Child(SystemExit(143), SystemExit(143))
    with pytest.raises(SystemExit):
        trials._ended(child)
    assert child.got == ["TERM"] and not child.raised
    child = Child(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        trials._ended(child)
    assert child.got == ["TERM", "KILL"]
    assert trials._ended(Child()) == 143


def test_a_trial_that_another_process_has_is_busy(tmp_path):
    with trial_records.claimed(tmp_path):
        assert go(tmp_path) == Outcome("busy") and trials.is_busy(tmp_path)
        assert trials.run_here(tmp_path, None, [], lambda: 1 / 0) == Outcome("busy")
    assert not (tmp_path / "trial.json").exists() and not trials.is_busy(tmp_path)
    assert go(tmp_path).status == "finished"


def test_a_record_of_one_that_died_with_its_parent_is_no_obstacle(tmp_path):
    trial_records.write(tmp_path, trial_records.Record(["seed=1"], seconds=7, started="then"))
    assert go(tmp_path, "seed=1").status == "finished"
    assert record(tmp_path)["seconds"] > 7 and record(tmp_path)["started"] == "then"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"status": "finished"}'])
def test_a_damaged_record_counts_as_none(text, tmp_path):
    (tmp_path / "trial.json").write_text(text)
    assert trial_records.read(tmp_path) is None
    assert go(tmp_path).status == "finished" and trial_records.read(tmp_path).value == 0.25


def test_a_run_by_hand_in_the_folder_counts(tmp_path):
    go(tmp_path, "seed=1")
    (tmp_path / "trial.json").unlink()
    assert go(tmp_path, "seed=1").status == "finished"
    assert record(tmp_path)["value"] == 0.25 and record(tmp_path)["overrides"] == ["seed=1"]
    assert (tmp_path / "console.txt").read_text() == "begins\n"


ORPHAN = """
import os, sys
from pathlib import Path
from segkit.trials import children, records as trial_records
code = ("import sys; from segkit.trials import children; children._end_with(int(sys.argv[1]));"
        "sys.argv[1:] = sys.argv[2:]; exec(open(sys.argv.pop(1)).read())")
children.command = lambda: [sys.executable, "-c", code, str(os.getpid()), sys.argv[2]]
folder = Path(sys.argv[1])
with trial_records.claimed(folder) as lock:
    arguments = ["+do=wait", f'output="{folder}"']
    children.start("train", arguments, folder / "console.txt", lock).wait()
"""


def test_a_child_saves_and_ends_when_its_parent_is_killed(tmp_path):
    """And it has the trial until then."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path), str(STUB)])
    soon((tmp_path / "waiting").exists)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    soon(lambda: not trials.is_busy(tmp_path))
    assert list((tmp_path / "checkpoints").iterdir())


def test_in_this_process(tmp_path):
    config = OmegaConf.create({"output": str(tmp_path), "given": ["seed=1"]})

    def fails():
        raise FileNotFoundError(2, "No such file or directory", "there")

    outcome = trials.run_here(tmp_path, config, ["seed=1"], fails)
    assert (
        outcome.error == "there: No such file or directory. Name another place, or mend this one."
    )
    assert record(tmp_path)["status"] == "failed" and record(tmp_path)["exit"] == 1
    assert trials.run_here(tmp_path, config, [], lambda: 1 / 0).error[:18] == "ZeroDivisionError:"

    def interrupted():
        raise SystemExit(143)

    with pytest.raises(SystemExit):
        trials.run_here(tmp_path, config, ["seed=1"], interrupted)
    assert record(tmp_path)["status"] == "stopped" and record(tmp_path)["error"] is None
    outcome = trials.run_here(tmp_path, config, ["seed=1"], lambda: go_by_hand(tmp_path))
    assert outcome.status == "finished" and outcome.value == record(tmp_path)["value"] == 0.25
    assert trials.run_here(tmp_path, config, ["seed=1"], fails).status == "finished"
    other = OmegaConf.merge(config, {"given": ["seed=2"]})
    assert "given was" in trials.run_here(tmp_path, other, ["seed=2"], fails).error


def go_by_hand(folder):
    subprocess.run(
        [sys.executable, "-S", STUB, "train", "seed=1", f'output="{folder}"'],
        check=True,
        capture_output=True,
    )


def test_a_config_is_composed_while_hydra_is_busy_and_in_threads(monkeypatch):
    monkeypatch.undo()  # the one that composes

    def epochs(number):
        overrides = [f"trainer.epochs={number}"]
        return trials.composed("train", overrides, Path("a,b=1")).trainer.epochs

    with hydra.initialize_config_module("segkit.conf", version_base="1.3"):
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(epochs, range(1, 7))) == [1, 2, 3, 4, 5, 6]
        assert hydra.compose("train").trainer.epochs == 14
    for name in ("a,b=1", 'a "b" c', "a\\b", "a\\", 'a\\"b', "it's", "[x]"):
        assert trials.composed("train", [], Path(name)).output == name

"""Whose a run folder is, and whether a run may begin or go on in it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segkit.run_folders import claimed, differences, is_finished, require_free, unfinished_twin

CONFIG = {
    "output": "???",
    "seed": 0,
    "trainer": {"resume": True, "epochs": 3},
    "callbacks": {"history": {"filename": "${output}/history.csv"}, "progress": {"width": 30}},
    "mix": {"kind": "none"},
}


def config(folder, **changes):
    made = OmegaConf.create({**CONFIG, "output": str(folder)})
    return OmegaConf.merge(made, changes)


@pytest.fixture
def unfinished(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/000001-000000.npz").touch()
    OmegaConf.save(config(folder), folder / "config.yaml", resolve=True)
    return folder


def test_the_same_config_goes_on(unfinished):
    require_free(unfinished, config(unfinished))
    require_free(unfinished, config(unfinished, callbacks={"progress": {"width": 9}}))
    require_free(unfinished.parent / "new", config("new"))


def test_a_folder_that_was_moved_goes_on(unfinished):
    moved = unfinished.rename(unfinished.with_name("moved"))
    require_free(moved, config(moved))


def test_another_config_is_refused_with_the_keys(unfinished):
    other = config(unfinished, seed=1, trainer={"epochs": 4}, mix={"kind": "cut", "share": None})
    words = (
        "begun with another config: seed was 0, now 1; trainer.epochs was 3, now 4; mix.kind was "
        "none, now cut; mix.share was not there, now null. Take the keys as they were"
    )
    with pytest.raises(FileExistsError, match=words):
        require_free(unfinished, other)
    OmegaConf.save(other, unfinished / "config.yaml", resolve=True)
    with pytest.raises(FileExistsError, match="mix.share was null, now not there"):
        require_free(unfinished, config(unfinished))


def test_not_going_on_is_a_choice(unfinished):
    with pytest.raises(FileExistsError, match="did not finish. trainer.resume=true goes on"):
        require_free(unfinished, config(unfinished, trainer={"resume": False}))


def test_a_finished_run_is_refused(unfinished):
    assert not is_finished(unfinished)
    (unfinished / "report.html").touch()
    assert not is_finished(unfinished)  # it died before it took the checkpoints away
    (unfinished / "checkpoints/000001-000000.npz").unlink()
    assert is_finished(unfinished)
    with pytest.raises(FileExistsError, match="holds a finished run: choose another folder"):
        require_free(unfinished, config(unfinished))


def test_what_a_start_that_failed_left_behind_is_no_obstacle(unfinished):
    (unfinished / "checkpoints/000001-000000.npz").unlink()
    (unfinished / "checkpoints").rmdir()
    require_free(unfinished, config(unfinished, seed=1))
    (unfinished / "model.keras").touch()
    with pytest.raises(FileExistsError, match="seed was 0, now 1"):
        require_free(unfinished, config(unfinished, seed=1))


@pytest.mark.parametrize("content", ["[", "a: b", "", "output: ${nothing}"])
def test_a_damaged_config_is_named(unfinished, content):
    (unfinished / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match="run/config.yaml cannot be read"):
        differences(unfinished, config(unfinished))


def test_two_processes_cannot_have_one_folder(tmp_path):
    """And the claim of a killed one is gone with it."""
    code = """
import sys, time
from pathlib import Path
from segkit.run_folders import claimed
with claimed(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(300)
"""
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        words = f"Another run writes into {tmp_path} .process {other.pid} on"
        with pytest.raises(FileExistsError, match=words):
            with claimed(tmp_path):
                pass
        os.kill(other.pid, signal.SIGKILL)
    with claimed(tmp_path):
        assert str(os.getpid()) in (tmp_path / ".claim").read_text()


def test_the_newest_unfinished_run_with_this_config_is_found(tmp_path):
    runs = {}
    for name, seed in [("1", 0), ("2", 0), ("3", 1), ("4", 0), ("5", 0)]:
        runs[name] = tmp_path / name
        (runs[name] / "checkpoints").mkdir(parents=True)
        (runs[name] / "checkpoints/000001-000000.npz").touch()
        OmegaConf.save(config(runs[name], seed=seed), runs[name] / "config.yaml", resolve=True)
    (runs["4"] / "checkpoints/000001-000000.npz").unlink()  # it never came as far, or is finished
    (runs["5"] / "config.yaml").write_text("[")
    new = tmp_path / "6"
    assert unfinished_twin(config(new)) == runs["2"]
    with claimed(runs["2"]):  # it is still at work
        assert unfinished_twin(config(new)) == runs["1"]
    assert unfinished_twin(config(new, seed=2)) is None
    assert unfinished_twin(config(Path(tmp_path, "nowhere", "run"))) is None

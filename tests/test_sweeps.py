"""Sweeps: names, going on, what fails and what is told; on a stub, and once on real trials."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from segkit.cli import main
from segkit.sweeps import planning as sweeps
from segkit.sweeps import progress as sweep_progress
from segkit.sweeps import running as sweeping
from segkit.trials import Outcome, children
from segkit.trials import records as trial_records
from segkit.trials import running as trials

STUB = Path(__file__).with_name("stub_trial.py")


@pytest.fixture(autouse=True)
def logs_again(hydra_off):
    """What commands inside the tests leave behind is undone."""


@pytest.fixture
def stub(monkeypatch, tmp_path):
    """Quick trials that do what `+do` says, in a folder of their own to work in."""

    def composed(verb, overrides, folder):
        return OmegaConf.create({"output": str(folder), "given": sorted(overrides)})

    monkeypatch.setattr(children, "command", lambda: [sys.executable, "-S", str(STUB)])
    monkeypatch.setattr(trials, "composed", composed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")


def sweep(*overrides):
    return main(["train", "-m", *overrides])


def consoles(folder):
    """How often each trial in a folder began."""
    return {p.parent.name: p.read_text().count("begins") for p in folder.glob("*/console.txt")}


@pytest.mark.parametrize(
    "swept, name",
    [
        ({"seed": "0", "loss": "cross_entropy"}, "loss=cross_entropy,seed=0"),
        ({"data.missing.rate": "0.3"}, "data.missing.rate=0.3"),
        ({"a": "-1e-3"}, "a=-1e-3"),
        ({}, "trial"),
        ({"w": "[1,2]"}, r"w=_1,2-[0-9a-f]{8}"),
        ({"p": "/a/b"}, r"p=_a_b-[0-9a-f]{8}"),
        ({"p": "/a_b"}, r"p=_a_b-[0-9a-f]{8}"),
        ({"p": "größe"}, r"p=gr_e-[0-9a-f]{8}"),
        ({".p": ".."}, r"p=-[0-9a-f]{8}"),
        ({"p": "x" * 300}, r"p=x{109}-[0-9a-f]{8}"),
    ],
)
def test_names_of_trials_are_names_of_files(swept, name):
    assert re.fullmatch(name.replace("+", "\\+"), sweeps.name_of(swept))


def test_names_that_would_be_alike_are_not():
    given = [{"p": text} for text in ("/a/b", "/a_b", "/a/b/", "x" * 300, "x" * 301)]
    assert len({sweeps.name_of(swept) for swept in given}) == len(given)


@pytest.mark.parametrize(
    "typed, names",
    [
        (["seed=0,1", "loss=tversky"], ["seed=0", "seed=1"]),
        (["seed=range(2)", "loss=tversky"], ["seed=0", "seed=1"]),
        (["seed=1,0,1"], ["seed=1", "seed=0"]),
        (["seed=3"], ["trial"]),
        (["+trainer.x=1,2"], ["trainer.x=1", "trainer.x=2"]),
        (
            ["loss=choice(tversky,leaf_dice)", "seed=0,1"],
            [f"loss={loss},seed={seed}" for loss in ("tversky", "leaf_dice") for seed in (0, 1)],
        ),
        (["experiment=sweep_losses", "loss=tversky", "seed=4"], ["loss=tversky,seed=4"]),
    ],
)
def test_trials_are_every_combination(typed, names):
    assert list(sweeps.plan("train", typed).trials) == names


@pytest.mark.parametrize(
    "name, count", [("sweep_losses", 18), ("sweep_class_weights", 12), ("sweep_missing", 24)]
)
def test_presets_have_the_trials_that_their_first_line_says(name, count):
    found = sweeps.plan("train", [f"experiment={name}"])
    assert len(found.trials) == count
    text = (Path(__file__).parents[1] / f"conf/experiment/{name}.yaml").read_text()
    assert f"; {count} runs." in text and f"segkit train -m experiment={name} " in text
    assert {"seed"} < set(next(iter(found.trials.values())).swept)


def test_overrides_of_the_whole_are_none_of_a_trial():
    typed = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "output=x", "hydra.verbose=true"]
    found = sweeps.plan("train", [*typed, "seed=0,1", "trainer.epochs=2"])
    assert found.folder == Path("x") and found.config.hydra.launcher.n_jobs == 2
    assert found.trials["seed=1"].overrides == ["hydra.verbose=true", "seed=1", "trainer.epochs=2"]


@pytest.mark.parametrize(
    "typed, words",
    [
        (["seed=interval(0,1)"], "A sweep runs every value of a list. Received: 'seed=interval"),
        (["output=a,b"], "A sweep has one folder, output=DIR. Received: 'output=a,b'."),
        (["hydra.sweep.subdir=x"], "Trials are named by what is swept."),
        (["loss=tversky,tverski"], "no choice 'tverski' for loss. Did you mean 'tversky'?"),
        (["seed=0,1", "trainer.epoch=3"], "there is no key 'trainer.epoch'."),
        (["data=folder", "seed=0,1"], "data.root has no value yet. Give it one: data.root=VALUE."),
        (["data=folder,scenes"], "data.root has no value yet."),
        (["some/where"], "cannot read 'some/where'."),
        (["--config-dir", "seed=0,1"], "a sweep takes no option but -m. Received: --config-dir."),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "seed=0,1"],
            "hydra.launcher.n_jobs must be a whole number: of trials at once, or -1",
        ),
    ],
)
def test_mistakes_are_found_before_anything_runs(typed, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert sweep(*typed) == 1
    assert words in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_sweep_without_m_and_other_verbs_with_it_are_refused(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "experiment=sweep_losses", "seed=0"]) == 1
    words = "experiment=sweep_losses is a sweep: add -m to run all of it, or for one run of it give"
    assert f"{words} values to loss." in capfd.readouterr().err
    assert main(["train", "hydra.mode=MULTIRUN"]) == 1
    assert "segkit train -m runs a sweep; leave hydra.mode out." in capfd.readouterr().err
    assert main(["check", "-m", "seed=0,1"]) == 1
    assert "this verb does one thing at a time; leave -m out." in capfd.readouterr().err


def test_what_failed_runs_again_and_nothing_else(stub, tmp_path, capfd):
    command = ["+do=finish,fail,kill", "seed=0,1", "output=s"]
    assert sweep(*command) == 3
    shown = capfd.readouterr()
    assert shown.out.startswith("6 trials in s\n[1/6] do=finish,seed=0     0.250")
    assert "\n[3/6] do=fail,seed=0      failed" in shown.out
    assert "\ndo=fail,seed=1: There is no folder there. Received: 'there'." in shown.out
    assert "\ndo=kill,seed=0: killed by SIGKILL" in shown.out
    assert "4 of 6 trials did not finish. The same command again runs those" in shown.err
    assert set(consoles(tmp_path / "s").values()) == {1}
    for name in ("do=fail,seed=1", "do=kill,seed=0", "do=kill,seed=1"):
        (tmp_path / "s" / name / "mended").touch()
    assert sweep(*reversed(command)) == 3
    shown = capfd.readouterr()
    assert shown.out.startswith("6 trials in s, 4 failed, 2 finished\n[3/6] ")
    assert "1 of 6 trials did not finish" in shown.err
    begun = consoles(tmp_path / "s")
    assert begun["do=finish,seed=0"] == begun["do=finish,seed=1"] == 1
    assert begun["do=fail,seed=0"] == begun["do=kill,seed=1"] == 2
    (tmp_path / "s" / "do=fail,seed=0" / "mended").touch()
    assert sweep(*command) == 0
    begun = consoles(tmp_path / "s")
    assert sweep(*command) == 0 and consoles(tmp_path / "s") == begun
    shown = capfd.readouterr()
    assert shown.out.count("6 trials in s, 6 finished\n┏") == 1 and not shown.err
    table = shown.out.rpartition("6 finished")[2]
    assert len(re.findall(r"│ (?:finish|fail|kill) +│ +\d │ finished │ +0.2500 │", table)) == 6


def test_more_seeds_recognise_what_is_there(stub, tmp_path):
    assert sweep("seed=0,1", "output=s") == 0
    assert sweep("seed=0,1,2", "output=s") == 0
    assert consoles(tmp_path / "s") == {"seed=0": 1, "seed=1": 1, "seed=2": 1}
    content = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert content["verb"] == "train" and content["overrides"] == ["seed=0,1,2", "output=s"]
    assert sweep("seed=3", "loss=tversky,leaf_dice", "output=s") == 0
    content = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert list(content["trials"]) == [
        "seed=0",
        "seed=1",
        "seed=2",
        "loss=tversky",
        "loss=leaf_dice",
    ]
    assert content["trials"]["loss=tversky"] == ["seed=3", "loss=tversky"]


def test_trials_of_another_config_are_refused(stub, tmp_path, capfd):
    assert sweep("seed=0,1", "output=s") == 0
    before = (tmp_path / "s" / "seed=0" / "trial.json").read_text()
    assert sweep("seed=0,1", "trainer.epochs=3", "output=s") == 3
    shown = capfd.readouterr().out
    assert "\nseed=0: seed=0 was begun with another config: given was " in shown
    assert set(consoles(tmp_path / "s").values()) == {1}
    assert (tmp_path / "s" / "seed=0" / "trial.json").read_text() == before


def test_a_command_without_a_folder_finds_its_unfinished_sweep(stub, tmp_path, capfd):
    def folders():
        """All there are; the newest is renamed, since a name has no more than the second in it."""
        found = sorted((tmp_path / "runs").iterdir(), key=lambda p: (p.name > "2", p.name))
        return [path.rename(path.with_name(f"1{n}")) for n, path in enumerate(found)]

    command = ["seed=0,1", "+do=fail"]
    assert sweep(*command) == 3
    (folder,) = folders()
    (folder / "seed=0" / "mended").touch()
    assert sweep(*reversed(command)) == 3 and len(folders()) == 1
    assert sweep("seed=0,1,2", "+do=fail") == 3 and len(folders()) == 2
    (folder / "seed=1" / "mended").touch()
    assert sweep(*command, "hydra/launcher=joblib") == 0 and len(folders()) == 2
    assert capfd.readouterr().out.count(f"2 trials in {folder.relative_to(tmp_path)}, ") == 2
    assert sweep(*command) == 3 and len(folders()) == 3
    assert sweep(*command, "trainer.resume=false") == 3 and len(folders()) == 4


def test_a_run_is_no_folder_for_a_sweep(stub, tmp_path, capfd):
    (tmp_path / "config.yaml").touch()
    assert sweep("seed=0,1", "output=.") == 1
    assert ". holds a run. A sweep needs a folder of its own" in capfd.readouterr().err


def test_trials_that_others_have_are_looked_at_twice(stub, tmp_path, capfd, monkeypatch):
    """The first time both are taken; the second time one is free."""
    folder = tmp_path / "s"
    for name in ("seed=0", "seed=1"):
        (folder / name).mkdir(parents=True)
    asked = []
    with trial_records.claimed(folder / "seed=0"):
        with trial_records.claimed(folder / "seed=1"):
            first = sweeping._side_by_side

            def once(sweep, names, progress, at_once):
                found = first(sweep, names, progress, at_once)
                asked.append(names)
                return found

            monkeypatch.setattr(sweeping, "_side_by_side", once)
            assert sweep("seed=0,1,2", "output=s") == 0
    assert asked == [["seed=0", "seed=1", "seed=2"], ["seed=0", "seed=1"]]
    shown = capfd.readouterr().out
    assert "still running elsewhere: seed=0  seed=1" in shown and "running elsewhere" in shown
    assert consoles(folder) == {"seed=2": 1}
    assert sweep("seed=0,1,2", "output=s") == 0
    assert consoles(folder) == {"seed=0": 1, "seed=1": 1, "seed=2": 1}


def test_what_becomes_free_is_run_by_who_is_left(stub, tmp_path):
    folder = tmp_path / "s"
    (folder / "seed=0").mkdir(parents=True)
    claim = trial_records.claimed(folder / "seed=0")
    claim.__enter__()

    def free():
        while not (folder / "seed=1" / "report.html").exists():
            time.sleep(0.01)
        claim.__exit__(None, None, None)

    threading.Thread(target=free).start()
    assert sweep("seed=0,1,2,3", "output=s") == 0
    assert set(consoles(folder).values()) == {1} and len(consoles(folder)) == 4


def test_joblib_runs_several_at_once(stub, tmp_path):
    """Each ends well only while another waits beside it."""
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert sweep("+do=meet", "seed=0,1", "output=s", *joblib) == 0


def test_a_folder_that_cannot_be_written_is_one_failure(stub, tmp_path, capfd):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "seed=0").touch()
    assert sweep("seed=0,1", "output=s") == 3
    assert "\nseed=0: s/seed=0: File exists." in capfd.readouterr().out


def interrupting(monkeypatch, folder, raised):
    """Interrupts the command once the trials at work have begun."""

    def look(self):
        if list(folder.glob("*/waiting")):
            raise raised

    monkeypatch.setattr(sweep_progress.Progress, "look", look)
    monkeypatch.setattr(sweeping, "_LOOK", 0.05)


@pytest.mark.parametrize(
    "raised, code, words",
    [(KeyboardInterrupt(), 130, "Ctrl-C"), (SystemExit(143), 143, "SIGTERM")],
)
def test_an_interruption_saves_what_is_at_work(
    raised, code, words, stub, tmp_path, capfd, monkeypatch
):
    folder = tmp_path / "s"
    interrupting(monkeypatch, folder, raised)
    assert sweep("+do=wait", "seed=0,1", "output=s") == code
    shown = capfd.readouterr()
    assert shown.err == f"segkit train: stopped by {words}\n"
    assert "stopping when the trials at work have written their checkpoints" in shown.out
    assert list(consoles(folder)) == ["seed=0"]  # the other did not begin
    assert trial_records.read(folder / "seed=0").status == "stopped"
    assert list((folder / "seed=0" / "checkpoints").iterdir())
    monkeypatch.undo()


COMMAND = """
import sys
from omegaconf import OmegaConf
from segkit.trials import children, running as trials
from segkit.cli import main
stub = sys.argv[1]
children.command = lambda: [sys.executable, "-S", stub]
trials.composed = lambda verb, given, folder: OmegaConf.create(
    {"output": str(folder), "given": sorted(given)}
)
sys.exit(main(["train", "-m", "+do=wait", "seed=0,1", "output=s"]))
"""


def test_sigterm_that_comes_twice_is_one(tmp_path):
    """As timeout(1) sends it: to the command, and to its group."""
    command = [sys.executable, "-c", COMMAND, str(STUB)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "s/seed=0/waiting").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        process.terminate()
        assert process.stderr.read() == "segkit train: stopped by SIGTERM\n"
    assert process.returncode == 143
    assert trial_records.read(tmp_path / "s/seed=0").status == "stopped"
    assert list((tmp_path / "s/seed=0/checkpoints").iterdir())


def test_other_launchers_run_trials_in_their_jobs(tmp_path, monkeypatch, capfd, hydra_off):
    """Hydra's basic launcher stands for one that starts jobs."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(sweeping, "_OURS", ())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules["segkit.cli"].VERBS, "train", ("sweep_job", ""))
    assert sweep("seed=0,1,2,3", "output=s") == 3
    records = [trial_records.read(tmp_path / "s" / f"seed={seed}") for seed in range(4)]
    assert [record.status for record in records] == ["finished", "failed", "finished", "finished"]
    assert records[0].overrides == ["seed=0"] and records[0].value == 0.5
    assert records[1].error == "seed 1 is broken"
    shown = capfd.readouterr()
    assert "seed=1: seed 1 is broken" in shown.out and "1 of 4 trials did not" in shown.err
    (tmp_path / "s" / "seed=1" / "mended").touch()
    times = [(tmp_path / "s" / f"seed={seed}" / "report.html").stat() for seed in (0, 2, 3)]
    assert sweep("seed=0,1,2,3", "output=s") == 0
    assert times == [(tmp_path / "s" / f"seed={seed}" / "report.html").stat() for seed in (0, 2, 3)]


def test_a_job_that_was_killed_has_failed(tmp_path):
    trial_records.write(tmp_path, trial_records.Record(["seed=0"]))
    lost = sweeping._recorded(tmp_path, "UncompletedJobError: gone")
    assert (lost.status, lost.error) == ("failed", "its process died (UncompletedJobError: gone)")
    (tmp_path / "trial.json").unlink()
    assert sweeping._recorded(tmp_path, "").error == (
        "it did not begin; the launcher's log says why"
    )


def test_a_terminal_shows_how_far_the_trials_at_work_are(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as rich knows
    found = dict.fromkeys(("seed=0", "seed=1"), sweeps.Trial([], {}))
    progress = sweep_progress.Progress(sweeps.Sweep("train", [], tmp_path, found, None))
    with progress.alive(2):
        progress.look()
        assert "seed" not in str(progress._live.get_renderable().text)
        for name in found:
            progress.began(name)
        progress.look()
        text = "seed=0: starting\n  seed=1: starting"
        assert str(progress._live.get_renderable().text) == text
        progress.ended("seed=0", Outcome("failed", None, "too late", 72))
        progress.look()
        assert str(progress._live.get_renderable().text) == "seed=1: starting"
    assert "seed=0    failed    1 min 12 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    "history, config, words",
    [
        (None, "trainer:\n  epochs: 9\n", "starting"),
        ("epoch\n0\n1\n", "a:\n  epochs: 1\ntrainer:\n  b: 1\n  epochs: 9\n", "epoch 2 of 9"),
        ("epoch\n0\n", "trainer:\n  b: 1\na:\n  epochs: 9\n", "epoch 1"),
    ],
)
def test_how_far_a_trial_is(history, config, words, tmp_path):
    (tmp_path / "config.yaml").write_text(config)
    if history:
        (tmp_path / "history.csv").write_text(history)
    assert sweep_progress._epoch(tmp_path) == words


@pytest.mark.parametrize(
    "seconds, words",
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (72, "1 min 12 s"), (601, "10 min"), (11100, "3 h 5 min")],
)
def test_durations(seconds, words):
    assert sweep_progress.duration(seconds) == words


TINY = ["data=article", "data.sizes={train: 20, val: 6}", "data.height=24", "data.width=24"]
TINY += ["model.filters=4", "model.depth=1", "trainer.batch_size=4", "trainer.gallery=0"]
TINY += ["trainer.precision=float32", "callbacks.tensorboard=null", "trainer.epochs=6"]


def kill_once_saved(folder):
    """Kills the process of a trial with -9 when it has written its first checkpoint."""
    while not list(folder.glob("checkpoints/*.npz")):
        time.sleep(0.005)
    os.kill(int((folder / ".claim").read_text().split()[1]), signal.SIGKILL)


def test_real_trials_one_made_to_fail_and_one_killed(tmp_path, monkeypatch, capfd):
    """Two at once; the second command runs those two and no other, one of them from its epoch."""
    folder = tmp_path / "s"
    broken, killed = folder / "seed=1", folder / "seed=2"
    (broken / "model.keras").mkdir(parents=True)
    killer = threading.Thread(target=kill_once_saved, args=[killed], daemon=True)
    killer.start()
    command = [*TINY, f"output={folder}", "seed=0,1,2"]
    command += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert sweep(*command) == 3
    shown = capfd.readouterr()
    assert "seed=2: killed by SIGKILL" in shown.out and "2 of 3 trials" in shown.err
    assert "seed=1: The model could not be written to" in shown.out
    records = [trial_records.read(folder / f"seed={seed}") for seed in range(3)]
    assert [record.exit for record in records] == [0, 1, -9]
    done = {path: path.stat().st_mtime_ns for path in (folder / "seed=0").rglob("*")}
    (broken / "model.keras").rmdir()
    assert sweep(*command) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done
    for seed in range(3):
        metrics = json.loads((folder / f"seed={seed}" / "metrics.json").read_text())
        record = trial_records.read(folder / f"seed={seed}")
        assert record.status == "finished" and record.value == metrics["val"]["mean_iou"]
        assert (folder / f"seed={seed}" / "history.csv").read_text().count("\n") == 7
    assert "goes on" in (killed / "console.txt").read_text()

"""`segkit search`: what a search keeps to, whatever interrupts it; what it writes and refuses."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from search_runs import SPACE, read, run, score, stand_in

from segkit import cli, search, trials
from segkit.config import compose
from segkit.explaining import NotAll
from segkit.report import search_page
from segkit.searching import asked, journal, scores, space, working
from segkit.searching.study import Study

PROGRAM = Path(__file__).with_name("search_runs.py")


@pytest.fixture
def begun(monkeypatch):
    """Stands in for training, and lists the trials that begin as (name, values)."""
    listed = []

    def note(folder, values):
        listed.append((folder.name, values))

    monkeypatch.setattr(trials, "run", stand_in(begun=note))
    return listed


@pytest.fixture(autouse=True)
def page(request, monkeypatch):
    """Draws no pictures, which take longest, but for tests that ask for `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(search_page, "write", lambda folder, command: folder / "search.html")


@pytest.fixture
def drawn():
    """Marks a test that looks at the page."""


def table(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def opened(folder, *overrides):
    """The study of a search, as another process would open it."""
    given = [SPACE, f"output={folder}", *overrides]
    config = compose("search", given)
    folder.mkdir(parents=True, exist_ok=True)
    return Study(folder, asked.read(config, []), space.make(config.search.space, []))


# What it does


def test_it_finds_the_best_of_what_it_drew_and_writes_it_down(begun, tmp_path, drawn):
    best = run(tmp_path, "search.trials=8", typed=["trainer.epochs=4"])
    rows = table(tmp_path)
    assert [row["trial"] for row in rows] == [f"{n:04d}" for n in range(8)]
    finished = [row for row in rows if row["state"] == "finished"]
    assert best == max(float(row["score"]) for row in finished)
    for (name, values), row in zip(begun, rows):
        assert (name, values["trainer.epochs"]) == (row["trial"], 4)
        assert values["optimizer.learning_rate"] == float(row["optimizer.learning_rate"])
        assert 1e-4 <= values["optimizer.learning_rate"] <= 1e-2
    kept = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert score(read(kept)) == pytest.approx(best)
    assert compose("train", kept).optimizer.learning_rate == read(kept)["optimizer.learning_rate"]
    assert "segkit train trainer.epochs=4 optimizer.lea" in (tmp_path / "best.yaml").read_text()
    for name in ("search.html", "history.png", "search.json"):
        assert (tmp_path / name).stat().st_size > 100


def test_later_trials_learn_from_earlier_ones(begun, tmp_path):
    away = {}
    for sampler in ("tpe", "random"):
        begun.clear()
        wanted = [f"search.sampler={sampler}", "search.trials=40", "search.pruner=none"]
        run(tmp_path / sampler, *wanted, "search.startup=10")
        away[sampler] = [abs(score(values) - 0.9) for _, values in begun]
    assert away["tpe"][:10] == away["random"][:10]  # at random, and by the number of the trial
    assert sum(away["tpe"][10:]) < 0.7 * sum(away["random"][10:])


def test_a_trial_below_the_median_ends_early(begun, tmp_path):
    run(tmp_path, "search.trials=16", "search.startup=4", typed=["trainer.epochs=4"])
    rows = table(tmp_path)
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and not any(row["state"] == "pruned" for row in rows[:4])
    for row in pruned:
        epochs = int(row["epochs"])
        top = score({"optimizer.learning_rate": float(row["optimizer.learning_rate"])})
        assert epochs < 4
        assert float(row["score"]) == pytest.approx(top * epochs / 4)  # its last value
        assert not (tmp_path / "trials" / row["trial"] / "checkpoints").exists()


def test_several_workers_run_as_many_trials(begun, tmp_path):
    run(tmp_path, "search.trials=9", "search.workers=3")
    assert sorted(name for name, _ in begun) == [f"{n:04d}" for n in range(9)]
    assert len({values["optimizer.learning_rate"] for _, values in begun}) == 9


def test_what_is_drawn_again_is_trained_with_another_seed(begun, tmp_path):
    run(tmp_path, "search.space={model.depth: [2, 3]}", "search.trials=6", typed=["seed=5"])
    seen = {(values["model.depth"], values.get("seed", 5)) for _, values in begun}
    assert len(seen) == 6
    assert {int(row["seed"]) for row in table(tmp_path)} == {s for _, s in seen}


def test_a_grid_runs_each_combination_once(begun, tmp_path):
    wanted = (
        "search.space={loss: [focal_cross_entropy, cross_entropy], "
        "loss.gamma: {low: 1, high: 2, step: 0.5}, model.depth: [2, 3]}"
    )
    run(tmp_path, wanted, "search.sampler=grid", "search.trials=100", "search.workers=2")
    seen = {(v["loss"], v.get("loss.gamma"), v["model.depth"]) for _, v in begun}
    gammas = [("focal_cross_entropy", gamma) for gamma in (1, 1.5, 2)] + [("cross_entropy", None)]
    assert seen == {(*pair, depth) for pair in gammas for depth in (2, 3)}
    assert len(begun) == 8


@pytest.mark.parametrize("pruner", ["hyperband", "none"])
def test_other_pruners_and_samplers_search_too(begun, tmp_path, pruner):
    run(tmp_path, "search.trials=12", f"search.pruner={pruner}", "search.sampler=random")
    states = [row["state"] for row in table(tmp_path)]
    assert len(states) == 12 and ("pruned" in states) == (pruner == "hyperband")


def test_the_lowest_loss_is_the_best_where_that_is_asked(begun, tmp_path):
    best = run(tmp_path, "search.score=loss", "search.direction=minimize", "search.trials=6")
    assert best == min(1 - score(values) for _, values in begun)


# What interrupts it


def test_a_trial_that_was_left_is_gone_on_with_in_its_folder(begun, tmp_path):
    run(tmp_path / "whole", "search.trials=6", "search.pruner=none")
    whole = begun[:]
    begun.clear()
    run(tmp_path / "cut", "search.trials=3", "search.pruner=none")
    with journal.quiet():
        left = opened(tmp_path / "cut", "search.trials=6", "search.pruner=none").next()
        left.trial.report(0.1, 1)
        left.claim.close()  # as a killed process does
    run(tmp_path / "cut", "search.trials=6", "search.pruner=none")
    assert begun == whole  # as if nothing had happened
    assert [row["state"] for row in table(tmp_path / "cut")] == ["finished"] * 6


def test_one_that_was_killed_before_it_was_drawn_is_drawn(begun, tmp_path):
    with journal.quiet():
        opened(tmp_path, "search.trials=2").optuna.ask()
    run(tmp_path, "search.trials=2")
    assert [name for name, _ in begun] == ["0000", "0001"]
    assert "optimizer.learning_rate" in begun[0][1]


def test_a_trial_at_work_elsewhere_is_left_alone(begun, tmp_path):
    with journal.quiet():
        elsewhere = opened(tmp_path, "search.trials=3").next()
        with elsewhere.claim:
            run(tmp_path, "search.trials=3")
    assert [name for name, _ in begun] == ["0001", "0002"]
    assert table(tmp_path)[0]["state"] == "running"


def test_a_process_that_still_ends_is_waited_for(begun, tmp_path, monkeypatch):
    busy, real = [trials.Outcome("busy")], trials.run
    monkeypatch.setattr(trials, "run", lambda *a, **k: busy.pop() if busy else real(*a, **k))
    monkeypatch.setattr("segkit.searching.study._WAIT", 0.1)
    monkeypatch.setattr(working, "_BETWEEN", 0.05)
    run(tmp_path, "search.trials=1")
    assert [row["state"] for row in table(tmp_path)] == ["finished"]


def test_ctrl_c_leaves_the_trial_for_the_next_call(tmp_path, monkeypatch):
    names, interrupts = [], [KeyboardInterrupt]
    wait = working.Workers._wait

    def interrupted(self, threads):
        if interrupts:
            while not names:
                time.sleep(0.01)
            raise interrupts.pop()
        wait(self, threads)

    monkeypatch.setattr(working.Workers, "_wait", interrupted)
    note = stand_in(pause=0.2, begun=lambda folder, values: names.append(folder.name))
    monkeypatch.setattr(trials, "run", note)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "search.trials=2")
    assert [row["state"] for row in table(tmp_path)] == ["running"]
    run(tmp_path, "search.trials=2")
    assert names == ["0000", "0000", "0001"]


def test_processes_share_a_search_and_one_may_be_killed(tmp_path):
    command = [sys.executable, str(PROGRAM), str(tmp_path), "12", "0.1"]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(3)]
    begun = tmp_path / "begun"
    while (
        not begun.exists() or len({line.split()[1] for line in begun.read_text().splitlines()}) < 3
    ):
        assert any(process.poll() is None for process in running)
        time.sleep(0.05)
    os.kill(running[0].pid, signal.SIGKILL)
    assert [process.wait() for process in running][1:] == [0, 0]
    if any(row["state"] == "running" for row in table(tmp_path)):
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    rows = table(tmp_path)
    assert [row["state"] for row in rows] == ["finished"] * 12
    names = [line.split()[0] for line in begun.read_text().splitlines()]
    assert set(names) == {row["trial"] for row in rows}
    assert len(names) in (12, 13)  # the one that was killed may have begun twice
    assert len({row["optimizer.learning_rate"] for row in rows}) == 12


def test_half_a_line_of_the_journal_is_taken_away(begun, tmp_path):
    run(tmp_path, "search.trials=2")
    with open(tmp_path / "journal.log", "a") as file:
        file.write('{"op_code": 4, "wor')  # a full disk, say
    run(tmp_path, "search.trials=4")
    assert len(table(tmp_path)) == 4
    for line in (tmp_path / "journal.log").read_text().splitlines():
        json.loads(line)


def test_a_damaged_journal_is_said_to_be_one(begun, tmp_path):
    run(tmp_path, "search.trials=2")
    lines = (tmp_path / "journal.log").read_text().splitlines()
    (tmp_path / "journal.log").write_text("\n".join([lines[0], "what?", *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"journal.log cannot be read .* output=DIR"):
        run(tmp_path, "search.trials=4")


# What fails


def test_a_failed_trial_is_recorded_and_the_others_go_on(tmp_path, monkeypatch, drawn):
    faulty = stand_in(fault=lambda folder, _: "no memory" if folder.name == "0001" else None)
    monkeypatch.setattr(trials, "run", faulty)
    with pytest.raises(NotAll, match="1 trial failed"):
        run(tmp_path, "search.trials=4")
    rows = table(tmp_path)
    assert [row["state"] for row in rows].count("finished") == 3
    assert (rows[1]["state"], rows[1]["score"], rows[1]["error"]) == ("failed", "", "no memory")
    assert "no memory" in (tmp_path / "search.html").read_text()
    run(tmp_path, "search.trials=4")  # one anew, in its place
    assert [row["state"] for row in table(tmp_path)].count("finished") == 4
    assert run(tmp_path, "search.trials=4") is not None  # and now nothing more
    assert len(table(tmp_path)) == 5


def test_five_that_fail_alike_end_the_search(tmp_path, monkeypatch):
    faulty = stand_in(fault=lambda folder, _: f"{folder}/model.keras: no space")
    monkeypatch.setattr(trials, "run", faulty)
    with pytest.raises(ValueError, match="5 trials in a row failed alike.*0004.*no space"):
        run(tmp_path, "search.trials=20")
    assert len(table(tmp_path)) == 5


def test_a_score_without_evidence_is_a_failure(begun, tmp_path):
    with pytest.raises(NotAll):
        run(tmp_path, "search.score=iou_b", "search.trials=1")
    assert table(tmp_path)[0]["error"] == "iou_b has no evidence in the validation."


def test_a_score_that_is_not_there_ends_the_search(begun, tmp_path):
    with pytest.raises(ValueError, match="no 'iou_c'. It has: dice_a, dice_b, iou_a.*mean_iou"):
        run(tmp_path, "search.score=iou_c", "search.trials=4")
    assert len(begun) == 1


# What is refused


@pytest.mark.parametrize(
    "override, words",
    [
        (SPACE.replace("1e-2", "1e-3"), r"search.space, optimizer.learning_rate was .*0.01.*0.001"),
        ("search.score=mean_dice", "search.score was mean_iou, now mean_dice"),
        ("trainer.epochs=3", "trainer.epochs was not given, now 3"),
    ],
)
def test_another_search_in_the_same_folder_is_refused(begun, tmp_path, override, words):
    run(tmp_path, "search.trials=1")
    with pytest.raises(FileExistsError, match=f"holds another search: {words}"):
        run(tmp_path, override, "search.trials=2")
    run(tmp_path, "search.trials=2", "search.workers=2", "search.timeout=100")
    assert len(begun) == 2


def test_a_search_without_its_question_is_refused(begun, tmp_path):
    run(tmp_path, "search.trials=1")
    (tmp_path / "search.json").unlink()
    with pytest.raises(FileExistsError, match="search.json, which says of what, is gone"):
        run(tmp_path, "search.trials=1")


@pytest.mark.parametrize(
    "override, words",
    [
        ("search.sampler=tpee", "search.sampler is one of tpe, gp, random, grid. .*'tpee'"),
        ("search.pruner=1", "search.pruner is one of median, hyperband, none"),
        ("search.trials=0", "search.trials"),
        ("search.timeout=-1", "search.timeout is in seconds, above 0, or null"),
        ("search.score=null", "search.score is mean_iou"),
        ("callbacks.history=null", "search.pruner looks at history.csv"),
        ("search.sampler=grid", "learning_rate: a grid needs a list of values, or a step"),
    ],
)
def test_what_cannot_be_searched_is_refused(begun, tmp_path, override, words):
    with pytest.raises(ValueError, match=words):
        run(tmp_path, override)
    assert not begun


def test_the_time_is_kept_to(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "run", stand_in(pause=0.1))
    run(tmp_path, "search.trials=100", "search.timeout=0.6", "search.pruner=none")
    assert 1 <= len(table(tmp_path)) < 10
    assert {row["state"] for row in table(tmp_path)} == {"finished"}


def test_without_optuna_it_says_what_to_install(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("segkit.searching")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["segkit"], "searching", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ValueError, match=r"pip install 'segkit\[search\]'"):
        search.search(compose("search", [f"output={tmp_path}"]), [])


# Scores of a run


def test_dice_follows_from_iou_and_half_a_line_is_passed_over(tmp_path):
    lines = ["epoch,val_iou_a,val_iou_b,val_mean_iou", "0,0.5,NA,0.5", "1,0.6,0.2,0.4", "2,0."]
    (tmp_path / "history.csv").write_text("\n".join(lines))
    assert list(scores.by_epoch(tmp_path, "mean_iou")) == [(1, 0.5), (2, 0.4)]
    assert list(scores.by_epoch(tmp_path, "dice_b")) == [(2, pytest.approx(0.4 / 1.2))]
    expected = (1.2 / 1.6 + 0.4 / 1.2) / 2
    assert [value for _, value in scores.by_epoch(tmp_path, "mean_dice")][1:2] == [
        pytest.approx(expected)
    ]
    assert list(scores.by_epoch(tmp_path / "nowhere", "mean_iou")) == []


def test_scores_that_are_all_alike_are_drawn(tmp_path, drawn):
    node = {"score": "mean_iou", "direction": "maximize", "space": None}
    (tmp_path / "search.json").write_text(json.dumps({"overrides": [], "search": node}))
    rows = ["trial,state,score,epochs,seconds,model.depth,seed,error"]
    rows += [f"{n:04d},finished,0.5,3,1.0,{n % 2},0," for n in range(8)]
    (tmp_path / "trials.csv").write_text("\n".join(rows) + "\n")
    assert search_page.write(tmp_path, "segkit train").exists()


def test_names_on_the_page_are_text(tmp_path, drawn):
    node = {"score": "iou_<b>x", "direction": "maximize", "space": None}
    (tmp_path / "search.json").write_text(json.dumps({"overrides": ["a=<i>"], "search": node}))
    rows = ["trial,state,score,epochs,seconds,loss,seed,error"]
    rows += ["0000,finished,0.5,3,1.0,<script>,0,", "0001,failed,,,1.0,$x_$,0,<u>no</u>"]
    (tmp_path / "trials.csv").write_text("\n".join(rows) + "\n")
    text = search_page.write(tmp_path, "segkit train 'a=<i>'").read_text()
    for markup in ("<b>", "<i>", "<script>", "<u>"):
        assert markup not in text and markup.replace("<", "&lt;").replace(">", "&gt;") in text


# All of it


def test_a_search_trains(tmp_path, capfd, hydra_off, drawn):
    """Two trials of a model that is as small as can be, from the command line."""
    tiny = ["data=article", "data.sizes={train: 8, val: 4}", "data.height=16", "data.width=16"]
    tiny += ["model.filters=4", "model.depth=1", "trainer.epochs=2", "callbacks.tensorboard=null"]
    wanted = ["search.space={loss: [cross_entropy, marginal_cross_entropy]}", "search.trials=2"]
    wanted += ["search.workers=2", "search.sampler=grid", f"output={tmp_path}"]
    assert cli.main(["search", *tiny, *wanted]) == 0
    out = capfd.readouterr().out
    assert "[2/2]" in out and "best: segkit train data=article" in out
    rows = table(tmp_path)
    assert {row["loss"] for row in rows} == {"cross_entropy", "marginal_cross_entropy"}
    for row in rows:
        folder = tmp_path / "trials" / row["trial"]
        assert float(row["score"]) == trials.mean_iou(folder)
        assert (folder / "report.html").exists() and row["epochs"] == "2"

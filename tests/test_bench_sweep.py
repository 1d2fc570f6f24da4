"""The bookkeeping of the benchmark of sweeps."""

import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "scripts"))
    import bench_sweep

    yield bench_sweep
    sys.modules.pop("bench_sweep")


def sweep_in(bench, folder, score):
    for seed in (0, 1):
        trial = folder / f"seed={seed}"
        trial.mkdir(parents=True)
        for name in bench.COMPARED:
            (trial / name).write_text(f"{name} {score} {seed}")


def test_a_ratio_and_the_same_numbers(bench, monkeypatch, tmp_path, capsys):
    commands = []

    def seconds(overrides, folder):
        commands.append(overrides)
        sweep_in(bench, folder, score=0.5)
        return 1.0 if "hydra/launcher=joblib" in overrides else 1.6

    monkeypatch.setattr(bench, "seconds", seconds)
    arguments = ["--trials", "2", "--rounds", "2", "--json", str(tmp_path / "out.json"), "a=1"]
    assert bench.main(arguments) == 0
    assert "2 trials, 2 at once: 1.60 times as fast, the same numbers" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["rounds"] == [[1.6, 1.0]] * 2
    assert all("seed=range(2)" in c and c[-1 - 2 * ("hydra" in c[-1])] == "a=1" for c in commands)
    assert all("trainer.threads=1" in command for command in commands)


def test_other_numbers_and_files_that_are_missing_are_told(bench, monkeypatch, tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    sweep_in(bench, one, 0.5)
    sweep_in(bench, other, 0.5)
    assert bench.differences(one, other) == []
    (other / "seed=1" / "history.csv").write_text("0.50001")
    (one / "seed=0" / "metrics.json").unlink()
    assert bench.differences(one, other) == ["seed=0/metrics.json", "seed=1/history.csv"]
    (other / "seed=0" / "metrics.json").unlink()  # nor is it enough that both lack it
    assert bench.differences(one, other) == ["seed=0/metrics.json", "seed=1/history.csv"]
    scores = iter([0.5, 0.6])

    def seconds(overrides, folder):
        sweep_in(bench, folder, next(scores))
        return 1.0

    monkeypatch.setattr(bench, "seconds", seconds)
    assert bench.main([]) == 1
    assert "DIFFERENT: seed=0/history.csv, " in capsys.readouterr().out


def test_a_sweep_that_fails_is_no_measurement(bench, tmp_path):
    with pytest.raises(SystemExit, match="there is no choice 'nothing' for loss"):
        bench.seconds(["loss=nothing"], tmp_path / "sweep")

"""The bookkeeping of the partial-label benchmark; the runs themselves take hours."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from segkit.config import compose

SCRIPTS = Path(__file__).parent.parent / "scripts"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_missing

    yield bench_missing
    for name in ("bench_missing", "bench_missing_table"):
        sys.modules.pop(name)


def scored(folder, way, rate, seed, truth, known=None):
    """A run folder of two classes: background at 1, the other one as given."""
    folder.mkdir(parents=True)
    cell = {"data": "scenes", "pattern": "random", "way": way, "rate": rate, "seed": seed}
    (folder / "cell.json").write_text(json.dumps({**cell, "overrides": []}))
    block = {
        key: {
            "mean_iou": (1 + iou) / 2,
            "per_class": [{"name": "background", "iou": 1.0}, {"name": "disc", "iou": iou}],
        }
        for key, iou in (("val", truth if known is None else known), ("val/truth", truth))
    }
    (folder / "metrics.json").write_text(json.dumps(block))


def test_every_cell_has_a_name_and_a_config_of_its_own(bench):
    cells = list(bench.cells(3, "larynx"))
    assert len({cell.name for cell in cells}) == len(cells)
    assert len({tuple(cell.overrides) for cell in cells}) == len(cells)
    assert {cell.seed for cell in cells} == {0, 1, 2}


def test_every_way_composes(bench):
    for cell in bench.cells(1, "larynx"):
        config = compose("train", cell.overrides)
        assert config.seed == 0
        assert (cell.rate == 0) == (config.data.missing.rate == 0)


def test_recovered_share_by_hand(bench, tmp_path):
    """Plain 0.2, full the better of 0.7 and 0.8, the recipe 0.65: R = 0.45 / 0.6."""
    scored(tmp_path / "a", "plain", 0.5, 0, 0.2)
    scored(tmp_path / "b", "full", 0, 0, 0.7)
    scored(tmp_path / "c", "recipe", 0, 0, 0.8)
    scored(tmp_path / "d", "recipe", 0.5, 0, 0.65, known=0.6)
    table = bench.report.recovered(bench.report.read(tmp_path)).set_index(["way", "rate"])
    assert table.R[("recipe", 0.5)] == pytest.approx(0.75)
    assert table.R[("plain", 0.5)] == 0
    assert pd.isna(table.R[("full", 0)])
    assert table.reported[("recipe", 0.5)] == pytest.approx(0.8)
    assert "| 0.650 (R 0.750) |" in bench.report.table(table.reset_index())


def test_interval_by_hand(bench):
    """1, 2, 3: mean 2, standard error 1 / sqrt 3, Student's t of two degrees of freedom 4.303."""
    assert bench.report.interval(pd.Series([1.0, 2.0, 3.0])) == "2.000 ± 2.484"
    assert bench.report.interval(pd.Series([0.5])) == "0.500"


def test_finished_cells_are_not_run_again(bench, tmp_path, monkeypatch):
    cell = next(bench.cells(1, None))
    scored(tmp_path / cell.name, cell.way, cell.rate, 0, 0.4)
    monkeypatch.setattr(bench.subprocess, "run", None)
    assert bench.run(cell, tmp_path) == f"{cell.name}: 0.4000"


def test_a_failed_cell_says_where_to_look_and_is_run_again(bench, tmp_path):
    cell = next(bench.cells(1, None))._replace(overrides=["loss=no_such_loss"])
    for _ in range(2):
        assert "failed, see " in bench.run(cell, tmp_path)
        assert "no_such_loss" in (tmp_path / cell.name / "terminal.txt").read_text()


def test_nothing_finished(bench, tmp_path):
    with pytest.raises(SystemExit, match="no finished cell"):
        bench.report.read(tmp_path)

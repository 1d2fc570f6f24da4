"""The bookkeeping of the benchmark of prediction, and that what it measures runs."""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
NAMES = ("bench_prediction", "bench_training", "bench_training_rivals", "bench_training_torch")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_prediction

    yield bench_prediction
    for name in NAMES:
        sys.modules.pop(name)


@pytest.fixture
def shape(bench):
    return bench.rivals.Shape(batch=2, size=16, filters=2, depth=1, classes=4)


def test_ratios_are_those_within_a_round(bench):
    times = {"segkit": [1.0, 2.0, 4.0], "segkit-float32": [2.0, 2.0, 2.0], "keras": [3.0, 4.0, 4.0]}
    lines = bench.table("batch 2", bench.IMAGES, times, lambda seconds: f"{2 / seconds:.2f}")
    assert lines[2] == "| segkit, folded | bfloat16 | 1.00 |  |  |"
    assert lines[3].endswith("| 1.00 | 1.00 (0.50 to 2.00) |  |")
    assert lines[4].endswith("| 0.50 | 2.00 (1.00 to 3.00) | 2.00 (1.50 to 2.00) |")


@pytest.mark.parametrize("part, name", [("IMAGES", "segkit"), ("IMAGES", "keras-plain")])
def test_variants_predict(bench, shape, part, name):
    vars(bench)[part][name].start(shape).steps(2)


def test_tiles_cover_the_image(bench, shape, monkeypatch):
    monkeypatch.setattr(bench, "TILE", 64)  # a quarter of which leaves more than the grid of 32
    bench.blended("float32", shape._replace(size=100)).steps(1)


def test_monai_does_the_same(bench, shape, monkeypatch):
    pytest.importorskip("monai", reason="MONAI, of the extra [bench], is not installed")
    monkeypatch.setattr(bench, "TILE", 32)
    bench.monai(False, True, shape._replace(size=50)).steps(1)


def test_the_peak_of_a_whole_command_is_measured(bench, shape, monkeypatch):
    monkeypatch.setattr(bench, "EDGE", 64)
    peak, seconds = bench.memory("tif", shape)
    assert 100 < peak < 10_000 and seconds > 0


def test_options_that_measure_nothing_are_refused(bench, capsys):
    for words in (["nothing"], ["--rounds", "4"]):
        with pytest.raises(SystemExit):
            bench.main(words)
        assert "parts are images, tiles, memory, and --rounds at least 5" in capsys.readouterr().err

"""The bookkeeping of the benchmark of training, and that the U-Nets it compares are the same."""

import sys
from functools import partial
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "scripts"
NAMES = ("bench_training", "bench_training_rivals", "bench_training_torch")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_training

    yield bench_training
    for name in NAMES:
        sys.modules.pop(name)


@pytest.fixture
def unet():
    from segkit import models  # not above: the workers of these tests import this file

    return models.unet


def shape_of(bench, filters=2, depth=2):
    return bench.rivals.Shape(batch=2, size=8, filters=filters, depth=depth, classes=4)


def test_unets_have_the_same_weights(bench, unet):
    shape = shape_of(bench)
    ours = unet((8, 8, 3), 4, shape.filters, shape.depth)
    stock = bench.rivals.keras_unet((8, 8, 3), 4, shape.filters, shape.depth)
    assert [w.shape for w in stock.weights] == [w.shape for w in ours.weights]
    assert stock.output_shape == ours.output_shape == (None, 8, 8, 4)


def test_unet_of_pytorch_has_as_many_weights_and_the_same_output(bench, unet):
    torch = pytest.importorskip("torch", reason="PyTorch, of the extra [bench], is not installed")
    shape = shape_of(bench)
    ours = unet((8, 8, 3), 4, shape.filters, shape.depth)
    theirs = bench.pytorch.torch_unet(shape)
    counted = sum(p.numel() for p in theirs.parameters())
    assert counted == sum(w.value.shape.num_elements() for w in ours.trainable_weights)
    assert theirs(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 8, 8)


def test_operations_by_hand(bench):
    """Depth 1, 2 filters, images of 8x8: pixels x kernel x channels in x channels out."""
    down = 64 * 9 * (3 * 2 + 2 * 2) + 16 * 9 * (2 * 4 + 4 * 4)
    up = 16 * 4 * 4 * 2 + 64 * 9 * (4 * 2 + 2 * 2) + 64 * 2 * 4
    first = 64 * 9 * 3 * 2
    by_hand = 2 * (3 * (down + up) - first)
    assert bench.rivals.training_flops(shape_of(bench, depth=1)) == by_hand


def test_operations_of_the_default_are_those_of_the_goals(bench):
    shape = bench.rivals.Shape(batch=8, size=128, filters=32, depth=4, classes=4)
    assert bench.rivals.training_flops(shape) == pytest.approx(18.1e9, rel=0.02)


def facts(rates, **others):
    common = {"memory": 1000.0, "device_memory": None, "first_step": 2.5, "note": ""}
    return common | {"rates": rates} | others


def test_variants_are_compared_within_a_round(bench):
    """The machine was half as fast in the second round, and for all."""
    found = {
        "segkit": facts([20.0, 10.0, 26.0]),
        "keras": facts([10.0, 5.0, 10.0], note="jit_compile=auto is False"),
        "torch": {"skipped": "torch is not installed"},
        "gemm": {"keras-float32": 1.0},
    }
    _, _, ours, stock = bench.table(found, shape_of(bench))
    assert ours.startswith("| segkit | 20.0 |  | 1,000 | 2.5 | 0 |")
    assert (
        "| Keras fit, as it comes, jit_compile=auto is False | 10.0 | 2.00 (2.00 to 2.60)" in stock
    )
    assert stock.endswith("% of matmul |")


def test_a_worker_trains_when_told_to_and_ends(bench):
    worker = bench.Worker(bench.Variant("fake", "float32", fake), shape_of(bench))
    assert worker.skipped is None and worker.first > 0
    worker.warm_up(seconds=0.01)
    assert worker.steps >= 2 and worker.run() > 0
    found = worker.stop()
    assert found["memory"] > 1 and found["device_memory"] == 3.0 and found["note"] == "said"
    assert worker.process.exitcode == 0


@pytest.mark.parametrize(
    "how, word",
    [("module", "torch is not installed"), ("away", "compiler is away")],
)
def test_what_is_not_there_is_left_out(bench, how, word):
    worker = bench.Worker(bench.Variant("fake", "float32", partial(broken, how)), None)
    assert word in worker.skipped
    assert worker.stop()["skipped"] == worker.skipped


def test_what_breaks_is_said(bench):
    with pytest.raises(RuntimeError, match="fake: Traceback(?s:.*)ValueError: of the library"):
        bench.Worker(bench.Variant("fake", "float32", partial(broken, "ValueError")), None)
    with pytest.raises(RuntimeError, match="fake: its process ended with 3"):
        bench.Worker(bench.Variant("fake", "float32", partial(broken, "exit")), None)


@pytest.mark.parametrize(
    "arguments, word",
    [(["--rounds", "4"], "at least 5. Received: 4"), (["--size", "40"], "of 16. Received: 40")],
)
def test_options_that_mislead_are_refused(bench, capsys, arguments, word):
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert word in capsys.readouterr().err


# Run in the processes of the workers.


def fake(shape):
    import time

    from bench_training_rivals import Trainer

    return Trainer(lambda count: time.sleep(0.001 * count), "CPU", lambda: 3.0, "said")


def broken(how, shape):
    import os

    from bench_training_rivals import Unavailable

    if how == "exit":
        os._exit(3)
    if how == "away":
        raise Unavailable("the compiler is away")
    if how == "ValueError":
        raise ValueError("of the library")
    raise ModuleNotFoundError("x", name="torch")

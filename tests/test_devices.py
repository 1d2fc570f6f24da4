"""Several devices compute what one computes, and what is asked of devices is refused in words."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from segkit import devices, environment


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    program = Path(__file__).parent / "device_runs.py"
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def difference(one, other):
    assert list(one) == list(other) and len(one) > 10
    return max(np.abs(one[name] - other[name]).max() for name in one)


@pytest.mark.parametrize(
    "several, alone",
    [
        ("plain 2", "plain 1"),
        ("batch 2", "batch 1"),
        ("parts 2", "plain 1"),
        ("clipped 2", "clipped 1"),
        ("center 2", "center 1"),
    ],
)
def test_two_devices_end_as_one(runs, several, alone):
    """Weights, average and scores after two epochs that end with a batch of unequal shares.

    `batch` has batch normalisation, whose statistics are those of both devices; `parts` computes
    each share of a batch in two parts; `clipped` clips all gradients together, and averages;
    `center` has a center loss, whose centres move once for all parts on both devices.
    """
    assert difference(runs[several], runs[alone]) < 1e-5


def test_the_cases_are_not_the_same(runs):
    plain = runs["plain 1"]
    assert max(np.abs(runs["clipped 1"][name] - plain[name]).max() for name in plain) > 1e-3
    assert len(runs["batch 1"]) > len(plain) < len(runs["clipped 1"])
    assert np.abs(runs["center 1"]["centers"]).max() > 0.01


def test_counts_in_the_middle_of_an_epoch_come_back(runs):
    """Also odd ones, which two devices cannot have half of each."""
    found = runs["saved"]
    before, after = ([v for k, v in found.items() if k[0] == number] for number in "01")
    assert len(before) == len(after) == 5
    assert any((part % 2 == 1).any() for part in before[2:])
    for one, other in zip(before, after):
        np.testing.assert_array_equal(one, other)


def test_one_device_needs_no_strategy():
    tf.zeros(1) + 1
    strategy = devices.choose_strategy(1)
    assert strategy.num_replicas_in_sync == 1 and devices.local_replicas(strategy) == [0]
    assert devices.is_chief(strategy) and not isinstance(strategy, tf.distribute.MirroredStrategy)


@pytest.mark.parametrize("count", [0, 1.5, True])
def test_devices_are_counted_in_whole_numbers(count):
    with pytest.raises(ValueError, match="trainer.devices must be a whole number from 1 on. Rec"):
        devices.choose_strategy(count)


def test_too_late_to_split_the_processor():
    tf.zeros(1) + 1
    with pytest.raises(ValueError, match="trainer.devices=7 must split .* with 1. Start a new one"):
        devices.choose_strategy(7)


def test_threads():
    tf.zeros(1) + 1
    devices.set_threads(None)
    now = tf.config.threading.get_intra_op_parallelism_threads()
    with pytest.raises(ValueError, match="trainer.threads must be a whole number from 1 on"):
        devices.set_threads(0)
    with pytest.raises(ValueError, match=f"trainer.threads must be set before .* {now + 3}, in a"):
        devices.set_threads(now + 3)


@pytest.mark.parametrize("fast, chosen", [(True, "bfloat16"), (False, "float32")])
def test_precision_is_chosen_by_the_hardware(monkeypatch, fast, chosen):
    monkeypatch.setattr(environment, "fast_bfloat16", lambda: fast)
    assert devices.set_precision("auto") == chosen
    assert keras.config.dtype_policy().name == devices.PRECISIONS[chosen]


def test_precision_has_three_words():
    with pytest.raises(ValueError, match="must be auto, float32 or bfloat16. Received: 'half'"):
        devices.set_precision("half")


def test_workers_are_those_of_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert devices.workers() == []
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    assert devices.workers() == ["a:1", "b:1"]
    monkeypatch.setenv("TF_CONFIG", "a:1,b:1")
    with pytest.raises(ValueError, match="TF_CONFIG must hold JSON .* Received: 'a:1,b:1'. Unset"):
        devices.workers()


def test_alone_all_agree(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = tf.distribute.get_strategy()
    assert devices.highest(strategy, [3, -4]) == [3, -4]
    devices.require_same(strategy, "0123456789abcdef" * 4, "never said")

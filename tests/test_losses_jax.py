"""The losses compute the same on TensorFlow and on JAX."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loss_table import TABLE
from losses_on_backend import compute


@pytest.fixture(scope="module")
def on_both(batch, tmp_path_factory):
    """What TensorFlow finds here, and JAX in a process of its own; one start for all losses."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed: pip install segkit[jax]")
    folder = tmp_path_factory.mktemp("backends")
    np.savez(folder / "in.npz", target=batch[0], logits=batch[1])
    script = Path(__file__).parent / "losses_on_backend.py"
    command = [sys.executable, script, folder / "in.npz", folder / "out.npz"]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return compute(*batch), np.load(folder / "out.npz")


@pytest.mark.parametrize("what", ["value", "gradient"])
@pytest.mark.parametrize("name", TABLE)
def test_backends_agree(on_both, name, what):
    tensorflow, jax = (found[f"{name}, {what}"] for found in on_both)
    assert tensorflow.any() and jax.dtype == tensorflow.dtype
    np.testing.assert_allclose(jax, tensorflow, rtol=1e-5, atol=1e-7)

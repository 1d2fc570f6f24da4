"""What many tests need: a small label space, a batch with every kind of unknown, real data."""

import logging
import os
import sys
from pathlib import Path

import absl.logging
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from report_viewer import start, why_not

from segkit.labels import LabelSpace
from segkit.targets import encode

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def labels() -> LabelSpace:
    return LabelSpace(["background", "ellipse", "rectangle", "circle"])


@pytest.fixture(scope="session")
def batch(labels):
    """Four images of 6 x 5: complete, partly annotated, only background known, all ignored."""
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 4, (4, 6, 5)).astype("uint8")
    masks[:2, 0, :3] = 255
    masks[3] = 255
    annotated = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], bool)
    logits = (2 * rng.normal(size=(4, 6, 5, 4))).astype("float32")
    return encode(masks, annotated, labels), logits


@pytest.fixture
def without_determinism():
    """A step that XLA compiles whole cannot be deterministic, which a training before asks for."""
    from tensorflow.python.framework import config

    config.disable_op_determinism()  # has no public name


@pytest.fixture
def real_data():
    """The folder with the real data sets larynx, wbc and camvid."""
    root = os.environ.get("SEGKIT_DATA")
    if not root:
        pytest.skip("SEGKIT_DATA does not name the folder with the real data sets")
    return Path(root)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium for the tests of a module."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Keeps what tests decode out of the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def float32_again():
    """Training sets the precision for the whole process."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].config.set_dtype_policy("float32")


@pytest.fixture
def hydra_off(monkeypatch):
    """Undoes what a verb run inside the tests leaves behind: log handlers and Hydra's globals."""
    # When Hydra configures the log, absl's handler would close the stderr it was made with, which
    # is the file that pytest captures into.
    monkeypatch.setattr(absl.logging.PythonHandler, "close", logging.Handler.close)
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    GlobalHydra.instance().clear()
    HydraConfig.instance().cfg = None
    for handler in set(logging.root.handlers) - set(handlers):
        handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)

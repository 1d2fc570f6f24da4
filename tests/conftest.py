"""What many tests need: a small label space, a batch with every kind of unknown, real data."""

import os
from pathlib import Path

# Before TensorFlow is imported anywhere: its start-up notes would drown the output of a failure.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import numpy as np
import pytest

from segkit.labels import LabelSpace
from segkit.targets import encode


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
def real_data():
    """The folder with the real data sets larynx, wbc and camvid."""
    root = os.environ.get("SEGKIT_DATA")
    if not root:
        pytest.skip("SEGKIT_DATA does not name the folder with the real data sets")
    return Path(root)

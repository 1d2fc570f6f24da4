"""A run folder without a training: what predictions, exports and evaluations need of one."""

import json
from pathlib import Path

import keras
import numpy as np
import yaml

from segkit import models
from segkit.labels import LabelSpace

NAMES = ["background", "cell", "nucleus"]


def write_run(
    folder: Path, data=None, seed=0, channels=3, names=NAMES, exclusive=True, **options
) -> Path:
    """A small U-Net with random weights, moving statistics too, in a folder like that of a run."""
    folder.mkdir(parents=True)
    keras.utils.set_random_seed(seed)
    options = {"filters": 4, "depth": 2, **options}
    model = models.unet((None, None, channels), len(names), **options)
    rng = np.random.default_rng(seed)
    for variable in model.non_trainable_variables:
        if "moving_mean" in variable.path:
            variable.assign(rng.uniform(-0.2, 0.2, variable.shape))
        if "moving_variance" in variable.path:
            variable.assign(rng.uniform(0.1, 0.5, variable.shape))
    head, noise = model.get_layer("logits"), rng.random((1, 32, 32, channels), "float32")
    head.kernel.assign(1.5 * head.kernel / np.std(model(noise)))  # sure of some pixels, not of all
    model.save(folder / "model.keras")
    background = 0 if exclusive else None
    labels = LabelSpace(names=names, background=background, exclusive=exclusive)
    labels.to_json(folder / "labels.json")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data or {}}))
    normalization = {"scheme": "unchanged", "channels": channels}
    (folder / "normalization.json").write_text(json.dumps(normalization))
    return folder

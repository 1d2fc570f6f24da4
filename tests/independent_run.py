"""A run folder of independent classes without a training, for the tests of pages."""

from pathlib import Path

import numpy as np
import yaml
from report_fixture import _config, _write_history, write_json

from segkit import metrics, scoring, targets
from segkit.synthetic import HiddenAnnotations, Overlapping


def write(folder: Path, classes: int = 7, items: int = 3, size: int = 32) -> Path:
    """Scenes with half of the annotations hidden; the first row of the first mask is ignored, and
    each prediction is the truth a pixel further on, with one class that is not there."""
    scenes = Overlapping(items, size, size, classes=classes, present=[2, 5], size=[0.2, 0.35])
    source = HiddenAnnotations(scenes, rate=0.5)
    examples = []
    for index in range(items):
        sample = source[index]
        if index == 0:
            sample.mask[0] = 255
            sample.truth[0] = 255
        prediction = np.roll(sample.truth == 1, (1, 1), axis=(0, 1))
        prediction[:3, -5:, index] = True
        examples.append((sample, prediction))
    return write_examples(folder, examples, scenes.labels)


def write_examples(folder: Path, examples, labels) -> Path:
    folder.mkdir(parents=True)
    scoring.write_gallery(folder / "gallery", examples, labels, "val")
    target = {"val": [], "val/truth": []}
    for sample, _ in examples:
        whole = np.ones_like(sample.annotated)
        for key, given in (
            ("val", (sample.mask, sample.annotated)),
            ("val/truth", (sample.truth, whole)),
        ):
            target[key].append(targets.encode(given[0][None], given[1][None], labels)[0])
    found = np.stack([prediction for _, prediction in examples])
    blocks = {
        key: metrics.count(np.stack(rows), found).to_dict(labels.names)
        for key, rows in target.items()
    }
    write_json(folder / "metrics.json", blocks)
    write_json(folder / "labels.json", labels.to_dict())
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(found.shape[1])))
    rows = [
        {
            "name": name,
            "annotated": 1,
            "present": 1,
            "verified_absent": 0,
            "unknown": len(examples) - 1,
            "pixels": 9,
        }
        for name in labels.names
    ]
    write_json(folder / "coverage.json", {"val": {"images": len(examples), "classes": rows}})
    _write_history(folder / "history.csv", labels, np.random.default_rng(0))
    return folder

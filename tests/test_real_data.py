"""Real images end to end, small: one line of config each."""

import json

import numpy as np
import pytest
from PIL import Image

from segkit import sources, training, weighting
from segkit.config import compose

SMALL = ["data=folder", "data.size=48", "data.limit=12", "model.filters=4", "model.depth=2"]
SMALL += ["trainer.epochs=1", "trainer.gallery=2", "callbacks.tensorboard=null"]
PATCHES = ["patches=centred", "patches.size=48", "trainer.images_per_epoch=24"]
BY_SEQUENCE = ["data.split.by=drawn", r"data.split.group='^(seq\d+)_'"]


@pytest.mark.parametrize(
    "name, options",
    [
        ("wbc", []),
        ("wbc", ["data.fit=crop"]),
        ("larynx", ["class_weights=median_frequency", "data.limit=60"]),
        ("larynx", ["data.annotated=present", "data.limit=20"]),
        ("larynx", ["data.missing.rate={vocal_folds: 0.5, surgical_tool: 0.5}"]),
        ("camvid", ["class_weights=camvid"]),
        ("camvid", ["data.missing.rate=0.5", "data.size=[36,48]"]),
        ("wbc", ["data.size=null", *PATCHES, "normalization=statistics"]),
        ("camvid", ["data.size=[180,240]", *PATCHES, "augment=strong"]),
        ("larynx", [*BY_SEQUENCE, "augment=endoscopy", "data.cache=memory"]),
    ],
)
def test_trains_on_real_images(real_data, tmp_path, name, options):
    root = [f"output={tmp_path}", f"data.root={real_data / name}"]
    training.run(compose("train", [*root, *SMALL, *options]))
    blocks = json.loads((tmp_path / "metrics.json").read_text())
    hidden = any("missing" in option for option in options)
    assert set(blocks) == ({"val", "val/truth"} if hidden else {"val"})
    gallery = json.loads((tmp_path / "gallery/gallery.json").read_text())
    assert len(gallery["items"]) == 2
    with Image.open(tmp_path / "gallery" / gallery["items"][0]["prediction"]) as prediction:
        if "patches=centred" not in options:  # then images keep their size
            assert prediction.size == (48, 36 if "data.size=[36,48]" in options else 48)


def test_larynx_splits_by_sequence(real_data):
    """A rare class that only two sequences show is in both splits."""
    options = ["data=folder", f"data.root={real_data / 'larynx'}", *BY_SEQUENCE]
    for seed in range(4):
        found = sources.open_splits(compose("train", [*options, f"data.seed={seed}"]).data)
        of = {split: {name[:4] for name in source.names} for split, source in found.items()}
        assert not of["train"] & of["val"] and len(of["train"] | of["val"]) == 8
        pathology = found["train"].labels.index("pathology")
        assert all(source.present[:, pathology].any() for source in found.values())
        assert 0.1 < len(found["val"]) / 520 < 0.3


def test_weights_of_real_masks(real_data, tmp_path):
    root = f"data.root={real_data / 'larynx'}"
    result = weighting.run(
        compose("weights", [root, "data.size=null", f"output={tmp_path}/w.json"])
    )
    assert result == json.loads((tmp_path / "w.json").read_text())
    pixels = {row["name"]: row["pixels"] for row in result["classes"]}
    # as the data set's own README counts them
    assert pixels["other_tissue"] == 7_750_286 and pixels["pathology"] == 54_984
    assert {row["name"]: row["present"] for row in result["classes"]}["surgical_tool"] == 294


def test_a_synthesized_folder_is_what_was_drawn(tmp_path):
    from segkit import synthesis

    sizes = ["data.sizes={train: 6, val: 3}", "data.height=24", "data.width=24"]
    config = compose("synthesize", [f"output={tmp_path}/set", *sizes])
    synthesis.run(config)
    drawn = sources.open_splits(config.data)
    options = [f"data.root={tmp_path}/set", "data=folder", "data.size=null"]
    read = sources.open_splits(compose("train", options).data)
    assert {name: len(source) for name, source in read.items()} == {"train": 6, "val": 3}
    for name, source in drawn.items():
        for index in range(len(source)):
            for one, other in zip(source[index], read[name][index]):
                np.testing.assert_array_equal(one, other)
    training.run(compose("train", [f"output={tmp_path}/run", *options, *SMALL[3:]]))
    assert "val/truth" in json.loads((tmp_path / "run/metrics.json").read_text())
    with pytest.raises(FileExistsError, match="already holds.*overwrite=True"):
        synthesis.run(config)


def test_an_annotation_is_that_of_the_sample(real_data):
    for data in (["data=folder", f"data.root={real_data / 'wbc'}"], ["data=scenes"]):
        for source in sources.open_splits(compose("train", data).data).values():
            sample, (mask, annotated) = source[1], source.annotation(1)
            assert (sample.mask == mask).all() and (sample.annotated == annotated).all()

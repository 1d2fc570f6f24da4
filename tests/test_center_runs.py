"""Center loss from the config: what a run logs, writes and shows, and how it goes on."""

import json
import re

import keras
import numpy as np
import pandas as pd
import pytest
import yaml

from segkit import assembly, checkpoints, features, sources, training
from segkit.callbacks import KeptCenters
from segkit.config import compose
from segkit.contract import Sample
from segkit.labels import LabelSpace
from segkit.models import unet
from segkit.report import features_plot, write
from segkit.resuming import Position, Saver

TINY = [
    "data=article",
    "data.sizes={train: 12, val: 4}",
    "data.height=16",
    "data.width=16",
    "model.filters=4",
    "model.depth=0",
    "trainer.epochs=2",
    "trainer.batch_size=4",
    "trainer.gallery=1",
    "trainer.ema=0.5",
    "callbacks.tensorboard=null",
    "feature_loss=center",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and what its callback remembered."""
    folder = tmp_path_factory.mktemp("center")
    kept, usual = [], KeptCenters.on_epoch_end

    def watched(self, epoch, logs=None):
        usual(self, epoch, logs)
        kept.append((epoch, self.kept.epoch, self.centers))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeptCenters, "on_epoch_end", watched)
        training.run(compose("train", [f"output={folder}", *TINY]))
    return folder, kept


def test_the_log_has_it_apart_from_the_loss(run):
    table = pd.read_csv(run[0] / "history.csv")
    assert len(table) == 2
    for _, row in table.iterrows():
        for prefix in ("", "val_"):
            parts = [v for k, v in row.items() if re.match(f"{prefix}loss_", k)]
            assert row[f"{prefix}loss"] == pytest.approx(sum(parts), rel=1e-3)
            assert row[f"{prefix}center_loss"] > 0


def test_what_is_kept_is_the_network_alone(run):
    model = keras.models.load_model(run[0] / "model.keras", compile=False, safe_mode=True)
    assert model.input_shape == (None, None, None, 3) and model.output_shape[-1] == 4
    assert not [layer for layer in model.layers if "center" in layer.name]


def test_centres_and_features_are_those_of_the_model_kept(run):
    folder, kept = run
    best = kept[-1][1]
    with np.load(folder / "features.npz", allow_pickle=False) as file:
        found = dict(file)
    (then,) = [centers for epoch, now, centers in kept if epoch == now == best]
    placed = np.isfinite(found["centers"]).all(axis=1)
    np.testing.assert_array_equal(found["centers"][placed], then[placed])
    assert placed.sum() >= 2 and found["centers"].shape == (4, 4)
    facts = json.loads((folder / "features.json").read_text())
    assert list(facts["pixels"].values()) == np.bincount(found["labels"], minlength=4).tolist()
    assert facts["channels"] == 4 and facts["split"] == "val" and facts["scatter_ratio"] > 0


def test_the_page_shows_features_and_the_curve(run):
    text = (run[0] / "report.html").read_text()
    assert "<figcaption>Center loss</figcaption>" in text and '<a href="#features">' in text
    assert "Crosses mark the centres of the classes that the center loss pulls towards" in text
    assert yaml.safe_load((run[0] / "config.yaml").read_text())["feature_loss"]["weight"] == 0.2


@pytest.mark.parametrize(
    "name, words", [("features.npz", "no file of arrays"), ("features.json", "J")]
)
def test_damaged_features_are_named(run, tmp_path, name, words):
    for path in run[0].glob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / name).write_bytes(b"not this")
    with pytest.raises(ValueError, match=f"{name}.*{words}"):
        write(tmp_path)
    (tmp_path / name).unlink()
    assert "features" not in write(tmp_path).read_text().partition("<h2>Configuration")[0].lower()


def test_it_goes_on_bit_for_bit(tmp_path):
    """In the middle of an epoch, in parts and with an average."""
    config = compose("train", [f"output={tmp_path}", *TINY, "trainer.accumulate=2"])
    assembly.prepare(config)
    source = sources.open_splits(config.data)["train"]

    def made():
        keras.utils.set_random_seed(7)
        return assembly.assemble(config, source, np.ones(4))

    def everything(loop):
        return [np.array(variable) for variable in loop.variables]

    through, other = made(), made()
    batches = iter(assembly.feed(config, through, source))
    through.train(batches)
    Saver(tmp_path, through, [], "data").save(Position(0, 1))
    found = checkpoints.newest(tmp_path)
    assert Saver(tmp_path, other, [], "data", found=found).restore() == Position(0, 1)
    assert np.abs(other.extended.get_layer("center_loss").centers).max() > 0
    through.train(batches)
    other.train(iter(assembly.feed(config, other, source, step=1)))
    for one, two in zip(everything(through), everything(other), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_centres_are_state_of_their_callback():
    callback = KeptCenters(None, None)
    callback.centers = np.ones((2, 3), "float32")
    state, arrays = checkpoints.plain({k: v for k, v in vars(callback).items() if k == "centers"})
    assert not state and arrays["centers"] is callback.centers
    assert callback.passing == {"kept", "layer"}


@pytest.mark.parametrize("value", ["sometimes", 3, None])
def test_features_are_wanted_or_not(value):
    config = compose("train", TINY)
    config.trainer.features = value
    with pytest.raises(ValueError, match="trainer.features must be true, false or auto. Received:"):
        assembly.check(config)


class Listed(list):
    labels = LabelSpace(["background", "cell", "rim"])


def test_a_sample_is_of_certain_pixels_and_always_the_same():
    """Features are the image itself: the class of a pixel can be read off its feature."""
    mask = np.zeros((4, 4), int)
    mask[0, :2], mask[3] = 1, 2
    image = np.float32(mask)[..., None] + np.float32([0, 10])
    looked = np.array([True, True, False])
    source = Listed([Sample(image, np.where(mask == 2, 0, mask), looked)])
    network = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    values, labels = features.sample(network, source)
    assert labels.tolist() == [1, 1]  # the background may be a rim
    source[0] = source[0]._replace(truth=mask)
    values, labels = features.sample(network, source, seed=3)
    assert np.bincount(labels).tolist() == [10, 2, 4] and values.dtype == "float32"
    np.testing.assert_array_equal(values[:, 0], labels)
    again = features.sample(network, source, seed=3)
    np.testing.assert_array_equal(again[0], values)


def test_without_features_it_is_refused_before_training():
    flat = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

    class OfNoPixels:
        model, extended = flat, None

    with pytest.raises(ValueError, match=r"Features are one tensor \(B, H, W, F\). Received"):
        features.follow(OfNoPixels(), None, True)
    assert features.follow(OfNoPixels(), None, "auto") == []


def test_the_plane_of_the_plot():
    """Two features stay as they are; of more, distances within a plane are kept."""
    labels = LabelSpace(["background", "cell", "rim"])
    flat = np.random.default_rng(0).normal(size=(20, 2))
    arrays = {"features": flat, "labels": np.repeat([0, 1], 10)}
    same, marks, share = features_plot._on_a_plane(flat, flat[:3])
    np.testing.assert_array_equal(same, flat)
    assert share is None and (marks == flat[:3]).all()
    turned = flat @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:2]
    marks = np.concatenate([turned[:2], np.full((1, 5), np.nan)])
    found, crosses, share = features_plot._on_a_plane(turned, marks)
    np.testing.assert_allclose(
        np.linalg.norm(found[1:] - found[:-1], axis=1),
        np.linalg.norm(flat[1:] - flat[:-1], axis=1),
    )
    assert share == pytest.approx(1) and np.isnan(crosses[2]).all()
    np.testing.assert_allclose(crosses[:2], found[:2], atol=1e-9)
    shown = features_plot.feature_plot(arrays, {"scatter_ratio": 0.5}, labels)
    assert [entry.name for entry in shown["legend"]] == ["background", "cell"]
    assert not shown["projected"] and not shown["centered"] and "0.5" in shown["alt"]
    assert features_plot.feature_plot({k: v[:1] for k, v in arrays.items()}, {}, labels) is None


def test_start_from_and_freeze_are_those_of_the_network(run):
    """The run that was trained with a center loss is a start for any other."""
    config = compose("train", [*TINY, f"trainer.start_from={run[0]}", "trainer.freeze=[bottom]"])
    assembly.prepare(config)
    source = sources.open_splits(config.data)["train"]
    loop = assembly.assemble(config, source, np.ones(4))
    saved = keras.models.load_model(run[0] / "model.keras", compile=False)
    for one, other in zip(loop.model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert [w.path for w in loop.extended.trainable_weights] == ["logits/kernel", "logits/bias"]
    assert (
        isinstance(loop.model, keras.Model)
        and loop.model.count_params() == unet(num_classes=4, filters=4, depth=0).count_params()
    )

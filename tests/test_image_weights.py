"""The column `weight` of annotations.csv, from the file to the model and the logs."""

import folder_data
import keras
import numpy as np
import pytest

from segkit import assembly, sources, training
from segkit.config import compose
from segkit.data.pipeline import batches
from segkit.losses import reference

STEMS = "abcd"
TINY = ["data=folder", "data.size=8", "data.cache=none", "augment=none", "class_weights=none"]
TINY += ["model.filters=2", "model.depth=1", "model.normalization=none", "schedule=constant"]
TINY += ["optimizer=sgd", "optimizer.momentum=0.0", "optimizer.learning_rate=0.5"]
TINY += ["trainer.batch_size=4", "trainer.epochs=1", "trainer.precision=float32"]
TINY += ["loss=marginal_cross_entropy"]


class Data:
    """A data set on disk, and a loop that always starts from the same weights."""

    def __init__(self, root):
        self.root = folder_data.make(root, STEMS)
        self.config = compose("train", [*TINY, f"data.root={root}"])
        assembly.prepare(self.config)
        self.loop = assembly.assemble(self.config, self.splits()["train"], np.ones(3))
        self.start = self.loop.model.get_weights()

    def splits(self, **weights):
        """With a manifest that gives these images of train their weights."""
        lines = [f"train/{stem},{weight}\n" for stem, weight in weights.items()]
        (self.root / "annotations.csv").write_text("image,weight\n" + "".join(lines))
        return sources.open_splits(self.config.data)

    def step(self, **weights):
        """How far one step on all images moves the parameters, and what was logged."""
        self.loop.model.set_weights(self.start)
        logs = Logs()
        training.fit(self.config, self.loop, self.splits(**weights), [logs])
        moved = [after - s for after, s in zip(self.loop.model.get_weights(), self.start)]
        return np.concatenate([m.ravel() for m in moved]), logs.last


class Logs(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.last = dict(logs)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("data"))


def test_an_image_without_weight_changes_nothing(data):
    """Another picture with another annotation, and the same model."""
    before, _ = data.step(b=0)
    pixels, ids = folder_data.image(7), np.full((4, 6), 2, np.uint8)
    folder_data.add(data.root / "train", "b", pixels=pixels, ids=ids)
    after, _ = data.step(b=0)
    np.testing.assert_array_equal(after, before)
    assert np.abs(data.step(b=0.1)[0] - before).max() > 1e-4


def test_weights_scale_the_gradient(data):
    """Steps of plain descent on single images add up, each times the weight of its image."""
    weights, total = {"a": 0.25, "b": 2, "c": 0, "d": 1}, 0
    for chosen, weight in weights.items():
        if weight:
            total = total + weight * data.step(**{s: float(s == chosen) for s in STEMS})[0]
    np.testing.assert_allclose(data.step(**weights)[0], total, atol=1e-6)
    assert np.abs(total).max() > 1e-2


def test_the_logs_show_what_was_trained_on(data):
    """The loss in training is that with the weights, also class by class; in the validation all
    images count alike."""
    _, logs = data.step(a=0.25, b=2, c=0)
    splits, trained = data.splits(), data.loop.model.get_weights()
    rows = ("", "train", data.start, [0.25, 2, 0, 1]), ("val_", "val", trained, [1, 1, 1, 1])
    for prefix, part, parameters, weights in rows:
        data.loop.model.set_weights(parameters)
        images, target = next(iter(batches(splits[part], 4)))
        logits = data.loop.model.predict_on_batch(images)
        values = reference.marginal_cross_entropy(target.numpy(), logits)
        assert logs[f"{prefix}loss"] == pytest.approx(np.mean(weights * values), rel=1e-5)
        shares = [logs[f"{prefix}loss_{name}"] for name in folder_data.NAMES]
        assert sum(shares) == pytest.approx(logs[f"{prefix}loss"], rel=1e-5)


def test_in_joined_data_each_file_speaks_of_its_own_images(tmp_path):
    for name, weight in (("p", 0.5), ("q", 3)):
        root = folder_data.make(tmp_path / name, ["a", "b"])
        (root / "annotations.csv").write_text(f"image,weight\ntrain/a,{weight}\n")
    options = [f"+data.sources.{name}.root={tmp_path / name}" for name in "pq"]
    config = compose("train", ["data=joined", *options, "data.size=8"])
    train = sources.open_splits(config.data)["train"]
    weights = next(iter(batches(train, 4, weighted=True)))[2].numpy()
    assert train.names == ["p/a", "p/b", "q/a", "q/b"] and weights.tolist() == [0.5, 1, 3, 1]


@pytest.mark.parametrize(
    "weights, words",
    [({"a": 0, "b": 0}, "nucleus: labelled only in images whose weight is 0"), ({"a": 0}, None)],
)
def test_a_class_that_only_images_without_weight_show_is_named(tmp_path, caplog, weights, words):
    """Its pixels are counted, and give it a class weight, and the loss never asks for it."""
    folder_data.make(tmp_path, STEMS)
    for stem in "cd":
        folder_data.add(tmp_path / "train", stem, ids=np.resize([0, 1], (4, 6)).astype(np.uint8))
    lines = "".join(f"train/{stem},{weight}\n" for stem, weight in weights.items())
    (tmp_path / "annotations.csv").write_text(f"image,weight\n{lines}")
    config = compose("train", ["data=folder", "data.size=8", f"data.root={tmp_path}"])
    train = sources.open_splits(config.data)["train"]
    survey = sources.survey(train, config.data)
    assert survey.counts.images.tolist() == [4, 4, 2]
    caplog.clear()
    with caplog.at_level("INFO"):
        training.preflight.check_image_weights(train, survey.present, survey.annotated)
    assert caplog.messages[0] == f"train: images weigh 0 to 1, {len(weights)} of them 0"
    assert (words in caplog.text) if words else len(caplog.messages) == 1

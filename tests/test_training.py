"""`segkit train` end to end: what it writes, that it repeats, what happens when disturbed."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from omegaconf import OmegaConf
from tensorflow.python.data.ops.iterator_ops import OwnedIterator

from segkit import assembly, callbacks, report, scoring, sources, training, watching
from segkit.config import compose
from segkit.contract import Sample
from segkit.labels import LabelSpace

# Half a minute a run, most of it for building graphs.
TINY = [
    "data=article",
    "data.sizes={train: 24, val: 8}",
    "data.height=32",
    "data.width=32",
    "model.filters=4",
    "model.depth=2",
    "trainer.epochs=2",
    "trainer.batch_size=8",
    "trainer.gallery=3",
    "callbacks.tensorboard=null",
]


def train(folder, *overrides):
    return training.run(compose("train", [f"output={folder}", *TINY, *overrides]))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    score = train(folder, "data.missing.rate=0.3")
    return folder, score


def test_the_run_folder_holds_what_it_should(run_folder):
    folder, score = run_folder
    files = "config.yaml history.csv metrics.json model.keras labels.json environment.json"
    files += " normalization.json report.html coverage.json class_weights.json gallery/gallery.json"
    assert [name for name in files.split() if not (folder / name).is_file()] == []
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["missing"]["rate"] == 0.3 and config["data"]["seed"] == 0
    assert LabelSpace.from_json(folder / "labels.json").names[1] == "ellipse"
    assert json.loads((folder / "metrics.json").read_text())["val"]["mean_iou"] == score
    assert json.loads((folder / "environment.json").read_text())["best_epoch"] in (1, 2)


def test_every_log_carries_every_class(run_folder):
    history = pd.read_csv(run_folder[0] / "history.csv")
    assert len(history) == 2
    for name in ("background", "ellipse", "rectangle", "circle"):
        assert {f"{p}{k}_{name}" for p in ("", "val_") for k in ("iou", "loss")} <= set(history)
    shares = history[[c for c in history if c.startswith("loss_")]].sum(axis=1)
    np.testing.assert_allclose(shares, history["loss"], rtol=1e-4)


def test_scores_on_known_cells_and_against_the_truth(run_folder):
    blocks = json.loads((run_folder[0] / "metrics.json").read_text())
    assert set(blocks) == {"val", "val/truth"}
    for block in blocks.values():
        assert {"mean_iou", "mean_dice", "per_class", "confusion"} == set(block)
        keys = {"name", "iou", "dice", "precision", "recall", "images", "pixels"}
        assert all(set(row) == keys for row in block["per_class"])
    known, full = (blocks[key]["per_class"][1]["images"] for key in ("val", "val/truth"))
    assert known < full == 8


def test_what_is_monitored_are_known_cells(run_folder):
    """Best model and early stopping watch val_mean_iou, which is the score that the run reports:
    that on known cells, not that of masks in which hidden objects count as background."""
    folder, score = run_folder
    config = compose("train")
    assert config.callbacks.best_model.monitor == "val_mean_iou"
    assert config.callbacks.early_stopping.monitor == "val_mean_iou"
    history = pd.read_csv(folder / "history.csv")
    best = json.loads((folder / "environment.json").read_text())["best_epoch"]
    assert history["val_mean_iou"].max() == history["val_mean_iou"][best - 1]
    assert history["val_mean_iou"].max() == pytest.approx(score, rel=1e-5)
    model = keras.models.load_model(folder / "model.keras")
    split = sources.open_splits(OmegaConf.load(folder / "config.yaml").data)["val"]
    naive = [split[i]._replace(annotated=np.ones(4, bool), truth=None) for i in range(len(split))]
    found = scoring.evaluate(model, Listed(naive, split.labels), batch_size=8)
    assert abs(found.to_dict("val", split.labels)["val"]["mean_iou"] - score) > 0.001


class Listed(list):
    """Samples as a source."""

    def __init__(self, samples, labels):
        super().__init__(samples)
        self.labels = labels


def test_bounds_on_request(run_folder):
    folder, _ = run_folder
    model = keras.models.load_model(folder / "model.keras")
    split = sources.open_splits(OmegaConf.load(folder / "config.yaml").data)["val"]
    found = scoring.evaluate(model, split, batch_size=3, bounds=True)
    blocks = found.to_dict("val", split.labels)
    known, truth = blocks["val"], blocks["val/truth"]
    pairs = [row["iou_bounds"] for row in known["per_class"]] + [known["mean_iou_bounds"]]
    scores = [row["iou"] for row in truth["per_class"]] + [truth["mean_iou"]]
    assert all(low <= true <= high for (low, high), true in zip(pairs, scores))
    assert all(low < high for low, high in pairs)
    assert "iou_bounds" not in truth["per_class"][0] and "mean_iou_bounds" not in truth
    shown = scoring.table(blocks, "val")
    low, high = known["mean_iou_bounds"]
    assert "IoU at least, at most" in shown and f"{low:.4f}, {high:.4f}" in shown


def test_bounds_are_asked_for_or_not(tmp_path):
    with pytest.raises(ValueError, match="trainer.bounds must be true or false. Received: 3"):
        train(tmp_path, "trainer.bounds=3")


def test_the_counts_behind_the_weights_are_kept(run_folder):
    """Whatever the scheme: here none."""
    recorded = json.loads((run_folder[0] / "class_weights.json").read_text())
    assert recorded["scheme"] == "none" and recorded["at_random"]
    background, *others = recorded["classes"]
    assert 0 < background["pixels"] < background["stored_pixels"]
    assert all(row["pixels"] == row["stored_pixels"] > 0 for row in others)
    assert "Stored pixels that do not count" in (run_folder[0] / "report.html").read_text()


def test_a_gate_that_may_stay_closed_is_told_before_training(tmp_path, caplog, monkeypatch):
    def refuse(*_):
        raise RuntimeError("this is where training would begin")

    monkeypatch.setattr(training, "fit", refuse)
    with pytest.raises(RuntimeError, match="training would begin"):
        train(tmp_path, "data.missing.rate=0.8", "loss=gated_cross_entropy")
    assert "gated_cross_entropy may not open for ellipse (annotated in" in caplog.text


def test_patches_normalization_and_the_length_of_an_epoch(tmp_path, monkeypatch):
    """The model watches tiles, is scored on whole images, and holds the numbers of the file."""
    steps_taken = []
    monkeypatch.setattr(watching, "AnnotatedShare", lambda *a, **k: Steps(steps_taken))
    score = train(
        tmp_path,
        "patches=centred",
        "patches.size=[16,24]",
        "normalization=statistics",
        "trainer.images_per_epoch=20",
    )
    recorded = json.loads((tmp_path / "normalization.json").read_text())
    assert recorded["scheme"] == "statistics" and recorded["channels"] == 3
    assert recorded["value_range"] is None
    model = keras.models.load_model(tmp_path / "model.keras")
    layer = model.get_layer("image_norm")
    np.testing.assert_allclose(np.ravel(layer.mean), recorded["mean"], rtol=1e-6)
    np.testing.assert_allclose(np.ravel(layer.variance) ** 0.5, recorded["std"], rtol=1e-6)
    config = OmegaConf.load(tmp_path / "config.yaml")
    split = sources.open_splits(config.data)["val"]
    found = scoring.evaluate(model, split, batch_size=8, tile=(16, 24))
    assert found.to_dict("val", split.labels)["val"]["mean_iou"] == pytest.approx(score)
    assert steps_taken == [3, 3]  # 20 images in batches of 8


class Steps(keras.callbacks.Callback):
    """Counts the batches of each epoch."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    def on_epoch_begin(self, epoch, logs=None):
        self.counts.append(0)

    def on_train_batch_end(self, batch, logs=None):
        self.counts[-1] += 1


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["mix=cutmix", "trainer.batch_size=1"], "batch_size=1 there are none.*CutMix. Set tr"),
        (["trainer.batch_size=3", "trainer.accumulate=4"], "4 parts: trainer.accumulate=4, on 1 d"),
        (["+optimizer.use_ema=true"], "optimizer.use_ema has no effect.*want is trainer.ema"),
        (["trainer.freeze=down"], "trainer.freeze is a list. Received: 'down'"),
        (["trainer.accumulate=0"], "trainer.accumulate must be a whole number from 1 on"),
        (["trainer.resume=maybe"], "trainer.resume must be true or false. Received: 'maybe'"),
        (["trainer.precision=half"], "must be auto, float32 or bfloat16. Received: 'half'"),
        (["trainer.devices=0"], "trainer.devices must be a whole number from 1 on"),
        (["trainer.threads=x"], "trainer.threads must be a whole number from 1 on"),
        (["trainer.images_per_epoch=0"], "trainer.images_per_epoch must be a whole number from 1"),
        (["normalization=fixed", "normalization.mean=[1]", "normalization.std=[1]"], "3 channels"),
    ],
)
def test_what_cannot_be_trained_with_is_refused_before(tmp_path, overrides, words, monkeypatch):
    monkeypatch.setattr(training, "fit", None)
    with pytest.raises(ValueError, match=words):
        train(tmp_path, *overrides)


def test_weights_of_images_are_trained_with(monkeypatch):
    """Of two images one weighs nothing: the model learns the other, of another class, alone."""
    config = compose("train", [*TINY, "augment=none", "sampling=uniform", "trainer.epochs=30"])
    labels = LabelSpace(["background", "cell"])
    grey, looked = np.full((8, 8, 3), 128, np.uint8), np.ones(2, bool)
    config.trainer.batch_size, config.optimizer.learning_rate = 2, 0.05
    config.trainer.precision = "float32"
    for weights in ([1.0, 0.0], [0.0, 1.0]):
        made = [Sample(grey, np.full((8, 8), c), looked, weight=weights[c]) for c in (0, 1)]
        source = Listed(made, labels)
        source.weights = np.array(weights)
        assembly.prepare(config)
        loop = assembly.assemble(config, source, np.ones(2))
        training.fit(config, loop, {"train": source, "val": source}, [])
        logits = loop.model.predict_on_batch(grey[None] / np.float32(255))
        assert (logits.argmax(-1) == weights.index(1.0)).all()


def test_no_iterator_outlives_an_error():
    """At exit, its threads would wait for Python and Python for them: the error, and a hang."""
    config = compose("train", [*TINY, "augment=none"])
    labels, looked = LabelSpace(["background", "cell"]), np.ones(2, bool)
    sizes = [(8, 8)] * 9 + [(9, 8)]
    made = [Sample(np.zeros((*s, 3), np.uint8), np.zeros(s, np.uint8), looked) for s in sizes]
    source = Listed(made, labels)
    assembly.prepare(config)
    loop = assembly.assemble(config, source, np.ones(2))
    with pytest.raises(ValueError, match="A batch needs images of one shape") as kept:
        training.fit(config, loop, {"train": source, "val": source}, [])
    alive = [thing for thing in gc.get_objects() if isinstance(thing, OwnedIterator)]
    assert alive == [] and kept.value.__cause__ is not None


def test_the_model_and_the_report_open_again(run_folder):
    folder, _ = run_folder
    model = keras.models.load_model(folder / "model.keras")
    assert model(np.zeros((1, 20, 30, 3), "float32")).shape == (1, 20, 30, 4)
    page = (folder / "report.html").read_text()
    assert report.write(folder).read_text() == page
    assert "rectangle" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_nothing_hidden_has_no_second_block(tmp_path):
    train(tmp_path, "data.missing.rate=0", "trainer.epochs=1")
    assert set(json.loads((tmp_path / "metrics.json").read_text())) == {"val"}


def test_the_same_seed_gives_the_same_history_digit_for_digit(run_folder, tmp_path):
    train(tmp_path / "again", "data.missing.rate=0.3")
    again = (tmp_path / "again/history.csv").read_bytes()
    assert again == (run_folder[0] / "history.csv").read_bytes()
    train(tmp_path / "other", "data.missing.rate=0.3", "seed=1")
    assert (tmp_path / "other/history.csv").read_bytes() != again


def test_gated_is_plain_bit_for_bit_when_nothing_is_missing(tmp_path):
    """The weights, and every logged number but one: the sum that is `loss` itself comes out of two
    programs that XLA compiled apart, and may differ in its last digits."""
    for loss in ("cross_entropy", "gated_cross_entropy"):
        train(tmp_path / loss, "data.missing.rate=0", f"loss={loss}")
    plain, gated = (tmp_path / loss for loss in ("cross_entropy", "gated_cross_entropy"))
    weights = [zipfile.ZipFile(f / "model.keras").read("model.weights.h5") for f in (plain, gated)]
    assert weights[0] == weights[1]
    histories = [pd.read_csv(folder / "history.csv", dtype=str) for folder in (plain, gated)]
    losses = [history.pop("loss").astype(float) for history in histories]
    pd.testing.assert_frame_equal(*histories)
    np.testing.assert_allclose(*losses, rtol=2.0**-21)  # four steps of float32


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=cross_entropy_dice", "class_weights=median_frequency"],
        ["loss=bce_dice", "class_weights=fixed", "class_weights.values=[1,2,2,2]"],
        ["loss=gated_cross_entropy", "class_weights=inverse_frequency", "data.missing.groups=3"],
        [
            "loss=soft_dice",
            "trainer.bounds=true",
            "optimizer=sgd",
            "schedule=constant",
            "augment=none",
        ],
        ["model=unet_small", "model.depth=1", "trainer.precision=bfloat16"],
        [
            "optimizer=lion",
            "schedule=one_cycle",
            "trainer.ema=0.9",
            "trainer.accumulate=3",
            "trainer.freeze=[down0]",
            "model=attention_unet",
            "+callbacks.theirs._target_=keras.callbacks.ProgbarLogger",
        ],
        ["callbacks.best_model=null", "callbacks.early_stopping=null", "trainer.gallery=0"],
        ["callbacks.tensorboard.images_every=1", "data.sizes.val=1"],
    ],
)
def test_choices_combine(tmp_path, overrides):
    tensorboard = "callbacks.tensorboard=null"
    kept = [o for o in TINY if "tensorboard" not in str(overrides) or o != tensorboard]
    config = compose("train", [f"output={tmp_path}", *kept, *overrides, "trainer.epochs=1"])
    training.run(config)
    assert (tmp_path / "report.html").is_file() and (tmp_path / "model.keras").is_file()
    assert (tmp_path / "tensorboard").is_dir() == ("tensorboard" in str(overrides))
    bounds = "mean_iou_bounds" in json.loads((tmp_path / "metrics.json").read_text())["val"]
    assert bounds == ("trainer.bounds=true" in overrides)


def test_partial_aware_training_sees_what_naive_training_unlearns(tmp_path):
    """The article's layout, half of the annotations hidden, same steps: the reason for segkit."""
    learn = ["data.sizes={train: 240, val: 24}", "model.filters=8", "trainer.epochs=12"]
    learn += ["data.difficulty=0.0", "data.presence=1.0", "optimizer.learning_rate=0.004"]
    scores = {}
    for loss in ("cross_entropy", "marginal_cross_entropy"):
        train(tmp_path / loss, *learn, f"loss={loss}")
        blocks = json.loads((tmp_path / loss / "metrics.json").read_text())
        scores[loss] = blocks["val/truth"]["mean_iou"]
    assert scores["marginal_cross_entropy"] > 0.85
    assert scores["cross_entropy"] < scores["marginal_cross_entropy"] - 0.25


def test_ctrl_c_stops_keeps_the_best_model_and_says_where(tmp_path):
    many = ["trainer.epochs=500", "data.sizes.train=64"]
    command = [sys.executable, "-m", "segkit.cli", "train", f"output={tmp_path}", *TINY, *many]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "model.keras").exists(), run)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "The same command goes on from there" in out + err
    assert "The best model, of epoch" in out + err
    assert f"{tmp_path}/model.keras" in out + err and "Traceback" not in out + err
    model = keras.models.load_model(tmp_path / "model.keras")
    assert np.isfinite(np.asarray(model(np.zeros((1, 8, 8, 3), "float32")))).all()


def test_a_kill_leaves_a_whole_model(tmp_path):
    command = [sys.executable, "-m", "segkit.cli", "train", f"output={tmp_path}", *TINY]
    run = subprocess.Popen([*command, "trainer.epochs=500"], stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "model.keras").exists(), run)
    run.kill()
    run.wait(timeout=60)
    keras.models.load_model(tmp_path / "model.keras")
    assert len(pd.read_csv(tmp_path / "history.csv")) >= 1


def wait_for(condition, run, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert run.poll() is None, "the run ended by itself"
        assert time.monotonic() < end, "the run did not get that far"
        time.sleep(0.05)


class Recorder(keras.Model):
    """Stands for a model that can be saved, or not."""

    full = False

    def save(self, path, **_):
        if self.full:
            raise OSError(28, os.strerror(28))
        path.write_text("weights")


def best_model(tmp_path, **options):
    callback = callbacks.BestModel(tmp_path / "model.keras", **options)
    callback.set_model(Recorder())
    return callback


def test_the_best_model_is_the_one_kept(tmp_path):
    callback = best_model(tmp_path)
    for epoch, score in enumerate([0.2, 0.5, 0.4, float("nan")]):
        callback.on_epoch_end(epoch, {"val_mean_iou": score})
    assert callback.epoch == 1 and callback.best == 0.5


@pytest.mark.parametrize("monitor", ["val_loss", "val_loss_liver", "val_mean_absolute_error"])
def test_less_of_a_loss_or_an_error_is_better_unless_told_otherwise(tmp_path, monitor):
    for mode, kept in (("auto", 1), ("min", 1), ("max", 0)):
        callback = best_model(tmp_path, monitor=monitor, mode=mode)
        for epoch, score in enumerate([0.5, 0.2, 0.4]):
            callback.on_epoch_end(epoch, {monitor: score})
        assert callback.epoch == kept
    assert callbacks.EarlyStopping(monitor).mode == "min"
    assert callbacks.EarlyStopping().mode == "max"
    with pytest.raises(ValueError, match="mode must be auto, max or min. Received: 'up'"):
        best_model(tmp_path, mode="up")


def test_without_evidence_the_latest_model_is_kept_and_said(tmp_path, caplog):
    callback = best_model(tmp_path)
    for epoch in range(3):
        callback.on_epoch_end(epoch, {"val_mean_iou": float("nan")})
    assert callback.epoch == 2 and len(caplog.records) == 1
    assert "val_mean_iou cannot be measured" in caplog.text


def test_a_full_disk_keeps_the_model_there_was(tmp_path):
    callback = best_model(tmp_path)
    callback.on_epoch_end(0, {"val_mean_iou": 0.2})
    callback.model.full = True
    with pytest.raises(OSError, match="No space left.*the model of epoch 1 is kept. Free some"):
        callback.on_epoch_end(1, {"val_mean_iou": 0.3})
    assert (tmp_path / "model.keras").read_text() == "weights"
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_a_loss_that_is_not_a_number_ends_training():
    callback = callbacks.StopOnNaN()
    callback.on_epoch_begin(2)
    callback.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(ValueError, match="loss is nan at epoch 3, batch 8.*lower optimizer.learn"):
        callback.on_train_batch_end(7, {"loss": np.float32("nan")})

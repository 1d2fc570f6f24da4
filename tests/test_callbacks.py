"""What callbacks write and refuse to write: scores, models, and the words of a loss that is NaN."""

import math
import os

import keras
import numpy as np
import pytest

from segkit import callbacks, losses, metrics
from segkit.models import unet

NAN = float("nan")
LOGS = {"loss": 1 / 3, "iou_a": NAN, "val_loss": 2.0, "share": np.float64(0.1), "val_iou_a": 1e-9}


def network(classes=2):
    model = unet(input_shape=(None, None, 3), num_classes=classes, filters=2, depth=1)
    names = [f"class {c}" for c in range(classes)]
    loss = losses.MarginalCrossEntropy()
    model.compile(optimizer="adam", loss=loss, metrics=[metrics.MeanIoU(names)])
    return model


# History


def test_the_table_is_that_of_keras_byte_for_byte(tmp_path):
    ours, keras_own = callbacks.History(tmp_path / "ours.csv"), keras.callbacks.CSVLogger(
        str(tmp_path / "keras.csv")
    )
    keras_own.on_train_begin()
    for epoch in range(3):
        for callback in (ours, keras_own):
            callback.on_epoch_end(epoch, {**LOGS, "loss": 1 / (epoch + 3)})
    keras_own.on_train_end()
    written = (tmp_path / "ours.csv").read_bytes()
    assert written == (tmp_path / "keras.csv").read_bytes() and written.count(b"\n") == 4


def test_a_run_that_goes_on_ends_with_the_same_table(tmp_path):
    """The process dies after epoch 3, whose checkpoint was not written any more."""
    whole, first = callbacks.History(tmp_path / "whole.csv"), callbacks.History(tmp_path / "a.csv")
    for epoch in range(4):
        whole.on_epoch_end(epoch, {**LOGS, "loss": epoch / 7})
    kept = None
    for epoch in range(3):
        first.on_epoch_end(epoch, {**LOGS, "loss": epoch / 7})
        kept = first.rows if epoch == 1 else kept
    second = callbacks.History(tmp_path / "a.csv")
    second.on_train_begin()
    second.rows = kept
    for epoch in (2, 3):
        second.on_epoch_end(epoch, {**LOGS, "loss": epoch / 7})
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_what_is_logged_only_later_gets_a_column(tmp_path):
    history = callbacks.History(tmp_path / "history.csv")
    history.on_epoch_end(0, {"loss": 1.0})
    history.on_epoch_end(1, {"loss": 0.5, "annotated_share_cell": 0.25})
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows == ["epoch,annotated_share_cell,loss", "0,NA,1.0", "1,0.25,0.5"]


def test_a_table_that_cannot_be_written_leaves_the_one_there_was(tmp_path, monkeypatch):
    history = callbacks.History(tmp_path / "history.csv")
    history.on_epoch_end(0, {"loss": 1.0})
    before = (tmp_path / "history.csv").read_bytes()

    def full(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    words = f"could not be written to {tmp_path}/history.csv .*No space left.* Free some space"
    with pytest.raises(OSError, match=words):
        history.on_epoch_end(1, {"loss": 0.5})
    assert (tmp_path / "history.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_of_several_workers_one_writes_and_all_know(tmp_path, caplog):
    made = [
        callbacks.History(tmp_path / "history.csv"),
        callbacks.BestModel(tmp_path / "model.keras"),
        callbacks.TensorBoard(tmp_path / "tensorboard"),
        callbacks.Progress(),
    ]
    for callback in made:
        callback.writes = False
        callback.set_params({"epochs": 2, "steps": 1})
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        callback.on_train_batch_end(0, {"loss": 1.0})
        callback.on_epoch_end(0, {"loss": 1.0, "val_mean_iou": 0.5, "val_iou_a": 0.5})
        callback.on_train_end()
    assert not list(tmp_path.iterdir()) and not caplog.records
    assert made[0].rows[0]["val_mean_iou"] == 0.5
    assert (made[1].best, made[1].epoch) == (0.5, 0)


# BestModel


def test_the_model_kept_opens_without_what_trained_it(tmp_path):
    model, images = network(), np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    model.optimizer.build(model.trainable_variables)
    kept = callbacks.BestModel(tmp_path / "model.keras")
    kept.set_model(model)
    kept.on_epoch_end(0, {"loss": 1.0, "val_mean_iou": 0.5})
    model.save(tmp_path / "all.keras")
    small, large = ((tmp_path / f"{n}.keras").stat().st_size for n in ("model", "all"))
    weights = 4 * model.count_params()
    assert small < large - 2 * weights
    opened = keras.models.load_model(tmp_path / "model.keras")
    assert opened.name == model.name and not opened.compiled
    np.testing.assert_array_equal(opened(images), model(images))


def test_a_model_after_a_broken_epoch_is_not_kept(tmp_path, caplog):
    kept = callbacks.BestModel(tmp_path / "model.keras")
    kept.set_model(network())
    kept.on_epoch_end(0, {"loss": 1.0, "val_loss": 1.0, "val_mean_iou": 0.2})
    before = (tmp_path / "model.keras").read_bytes()
    kept.on_epoch_end(1, {"loss": NAN, "val_mean_iou": 0.9})
    kept.on_epoch_end(2, {"loss": 1.0, "val_loss": math.inf, "val_mean_iou": 0.9})
    assert (kept.epoch, kept.best) == (0, 0.2)
    assert (tmp_path / "model.keras").read_bytes() == before
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "The model after epoch 2 is not kept: its loss is nan.",
        "The model after epoch 3 is not kept: its val_loss is inf.",
    ]


def test_a_score_that_is_not_there_is_named(tmp_path):
    kept = callbacks.BestModel(tmp_path / "model.keras", monitor="val_iou_cel")
    with pytest.raises(ValueError, match="no 'val_iou_cel' in the log. It has: loss, val_iou_cell"):
        kept.on_epoch_end(0, {"loss": 1.0, "val_iou_cell": 0.5})


# StopOnNaN


def test_a_loss_that_is_nan_names_the_ways_out_and_the_model(tmp_path):
    stop = callbacks.StopOnNaN(tmp_path / "model.keras")
    stop.on_epoch_begin(2)
    stop.on_train_batch_end(5, {})
    stop.on_train_batch_end(6, None)
    with pytest.raises(ValueError) as first:
        stop.on_train_batch_end(7, {"loss": NAN})
    (tmp_path / "model.keras").touch()
    with pytest.raises(ValueError) as second:
        stop.on_epoch_end(2, {"loss": 1.0, "val_loss": math.inf})
    assert "The loss is nan at epoch 3, batch 8; training cannot go on" in str(first.value)
    for key in ("optimizer.learning_rate", "optimizer.global_clipnorm=1", "precision=float32"):
        assert key in str(first.value)
    assert "warm up" in str(first.value) and "No model was kept" in str(first.value)
    assert "The val_loss is inf at the end of epoch 3" in str(second.value)
    assert f"The best model before that is kept: {tmp_path}/model.keras." in str(second.value)


def test_epochs_without_a_score_do_not_stop_early():
    early = callbacks.EarlyStopping(patience=2)
    early.set_model(keras.Model())
    early.model.stop_training = False
    early.on_train_begin()
    for epoch, reached in enumerate([0.5, NAN, 0.4, NAN, NAN]):
        early.on_epoch_end(epoch, {"val_mean_iou": reached})
    assert not early.model.stop_training
    early.on_epoch_end(5, {"val_mean_iou": 0.4})
    assert early.model.stop_training

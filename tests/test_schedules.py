"""Schedules against their formulas and values by hand, optimizers by their files."""

import math
from pathlib import Path

import keras
import numpy as np
import pytest

import segkit.conf
from segkit import optimizers, schedules
from segkit.config import build, compose

ROOT = Path(next(iter(segkit.conf.__path__)))
OPTIMIZERS = sorted(path.stem for path in (ROOT / "optimizer").glob("*.yaml"))
SCHEDULES = sorted(path.stem for path in (ROOT / "schedule").glob("*.yaml"))
BY_STEP = sorted(set(SCHEDULES) - {"plateau"})


def cosine(first, last, p):
    return last + (first - last) * (1 + math.cos(math.pi * p)) / 2


def one_cycle(p, rise=0.3, start=0.04, end=4e-6):
    if p < rise:
        return cosine(start, 1, p / rise)
    return cosine(1, end, (p - rise) / (1 - rise))


# The shares of the learning rate, as the docstrings have them, in plain Python.
TWINS = {
    "constant": (lambda p: 1.0, {}),
    "cosine": (lambda p, alpha=0.1: cosine(1, alpha, p), {"alpha": 0.1}),
    "polynomial": (lambda p: 0.1 + 0.9 * (1 - p) ** 0.7, {"alpha": 0.1, "power": 0.7}),
    "step": (lambda p: 0.5 ** ((p >= 0.25) + (p >= 0.5)), {"marks": [0.25, 0.5], "factor": 0.5}),
    "one_cycle": (one_cycle, {}),
}  # fmt: skip


def schedule(choice, steps=40, rate=0.5, **arguments):
    node = compose("train", [f"schedule={choice}"]).schedule
    return build(node, initial_learning_rate=rate, decay_steps=steps, **arguments)


def rates(built, steps):
    return np.array([float(built(step)) for step in steps])


def test_every_file_has_a_twin():
    assert set(TWINS) == set(BY_STEP)


# The rise of one_cycle is its warm-up.
WARM = [(choice, {"warmup": 0.2}, 8) for choice in BY_STEP if choice != "one_cycle"]


@pytest.mark.parametrize("choice, warm, rise", [*((choice, {}, 0) for choice in BY_STEP), *WARM])
def test_formula(choice, warm, rise):
    share, arguments = TWINS[choice]
    found = rates(schedule(choice, **arguments, **warm), range(45))
    expected = [0.5 * (t + 1) / (rise + 1) for t in range(rise)]
    expected += [0.5 * share(min((t - rise) / (40 - rise), 1)) for t in range(rise, 45)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "choice, warmup, step, rate",
    [
        ("constant", 0.0, 0, 0.5),
        ("constant", 0.1, 0, 0.1),  # 4 of 40 steps: 1/5, 2/5, 3/5, 4/5, 1
        ("constant", 0.1, 3, 0.4),
        ("constant", 0.1, 4, 0.5),
        ("cosine", 0.0, 0, 0.5),
        ("cosine", 0.0, 20, 0.25),
        ("cosine", 0.0, 40, 0.0),
        ("cosine", 0.1, 4, 0.5),
        ("cosine", 0.1, 22, 0.25),
        ("cosine", 0.1, 99, 0.0),
        ("polynomial", 0.0, 0, 0.5),
        ("polynomial", 0.0, 20, 0.5 * 0.5**0.9),
        ("polynomial", 0.1, 40, 0.0),
        ("step", 0.0, 23, 0.5),
        ("step", 0.0, 24, 0.05),
        ("step", 0.0, 34, 0.005),
        ("step", 0.0, 99, 0.005),
        ("one_cycle", None, 0, 0.02),
        ("one_cycle", None, 12, 0.5),
        ("one_cycle", None, 40, 2e-6),
    ],
)
def test_values_by_hand(choice, warmup, step, rate):
    built = schedule(choice, **({} if warmup is None else {"warmup": warmup}))
    assert float(built(step)) == pytest.approx(rate, rel=1e-6, abs=1e-8)


def test_the_default_is_bit_for_bit_the_cosine_of_keras():
    theirs = keras.optimizers.schedules.CosineDecay(0.002, 700)
    np.testing.assert_array_equal(
        rates(schedule("cosine", steps=700, rate=0.002), range(0, 720, 7)),
        rates(theirs, range(0, 720, 7)),
    )


def test_short_runs_keep_a_step_to_learn_in():
    found = rates(schedule("cosine", steps=3, warmup=0.99), range(4))
    np.testing.assert_allclose(found, [0.5 / 3, 1 / 3, 0.5, 0])
    assert float(schedule("cosine", steps=1, warmup=0.5)(0)) == 0.5


@pytest.mark.parametrize("choice", BY_STEP)
def test_they_are_saved_and_read_again(choice):
    built = schedule(choice, **TWINS[choice][1])
    stored = keras.optimizers.schedules.serialize(built)
    assert stored["registered_name"].startswith("segkit>")
    again = keras.optimizers.schedules.deserialize(stored)
    assert type(again) is type(built) and again.get_config() == built.get_config()
    np.testing.assert_array_equal(rates(again, range(0, 44, 4)), rates(built, range(0, 44, 4)))


@pytest.mark.parametrize(
    "choice, arguments, words",
    [
        ("cosine", {"warmup": 1.0}, r"warmup is a share of the steps .* below 1. Received: 1.0"),
        ("cosine", {"warmup": 5}, r"\(3 epochs of 60 are 0.05\), .* Received: 5"),
        ("cosine", {"warmup": -0.1}, "warmup is a share .* Received: -0.1"),
        ("cosine", {"alpha": float("nan")}, "alpha is a share of the learning rate, .* nan"),
        ("cosine", {"steps": 0}, r"decay_steps \(the steps of the run\) must be .* from 1 on"),
        ("cosine", {"rate": 0}, "optimizer.learning_rate must be a number above 0. Received: 0"),
        ("cosine", {"rate": "0.1"}, "optimizer.learning_rate must be a number above 0. .*'0.1'"),
        ("plateau", {"rate": -1.0}, "optimizer.learning_rate must be a number above 0. .*-1.0"),
        ("polynomial", {"power": 0}, "power must be a number above 0. Received: 0"),
        ("step", {"marks": [0.5, 0.2]}, r"marks must be rising numbers, .* Received: \[0.5, 0.2\]"),
        ("step", {"marks": [2]}, "each of marks must be a number between 0 and 1. Received: 2"),
        ("step", {"factor": 1}, "factor must be a number between 0 and 1. Received: 1"),
        ("one_cycle", {"rise": 0}, "rise must be a number between 0 and 1. Received: 0"),
    ],
)
def test_numbers_out_of_range_are_named(choice, arguments, words):
    with pytest.raises(ValueError, match=words):
        schedule(choice, **arguments)


# Training with what the files say


def model(seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((6, 6, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(image)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Activation("relu")(x)
    return keras.Model(image, keras.layers.Conv2D(1, 1, name="logits")(x))


def data():
    x = np.random.default_rng(0).normal(size=(16, 6, 6, 1)).astype("float32")
    return x, (2 * x + 1).astype("float32")


def trained(overrides, epochs=1, callbacks=()):
    config = compose("train", overrides)
    built = model()
    rate = build(
        config.schedule,
        initial_learning_rate=config.optimizer.learning_rate,
        decay_steps=4 * epochs,
    )
    optimizer = build(config.optimizer, learning_rate=rate)
    optimizers.spare_from_decay(optimizer, built.trainable_variables)
    built.compile(optimizer, "mse", jit_compile=False)
    x, y = data()
    before = built.evaluate(x, y, verbose=0)
    history = built.fit(x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=list(callbacks))
    return built, before, history


@pytest.mark.parametrize("choice", OPTIMIZERS)
def test_every_optimizer_learns(choice):
    built, before, history = trained([f"optimizer={choice}", "schedule=constant"], epochs=6)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert built.optimizer.iterations == 24 and math.isfinite(before)


@pytest.mark.parametrize("choice", SCHEDULES)
def test_every_schedule_learns_and_is_saved_with_its_model(choice, tmp_path):
    built, _, history = trained(["optimizer=sgd", f"schedule={choice}"], epochs=2)
    assert history.history["loss"][1] < history.history["loss"][0]
    built.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.optimizer.learning_rate, built.optimizer.learning_rate)


@pytest.mark.parametrize("choice", ["adamw", "lion", "lamb"])
def test_weight_decay_takes_from_kernels_only(choice):
    config = compose("train", [f"optimizer={choice}", "optimizer.weight_decay=0.5"])
    built = model()
    for variable in built.trainable_variables:
        variable.assign(np.full(variable.shape, 2.0))
    optimizer = build(config.optimizer, learning_rate=0.1)
    optimizers.spare_from_decay(optimizer, built.trainable_variables)
    zeros = [np.zeros(v.shape, "float32") for v in built.trainable_variables]
    optimizer.apply(zeros, built.trainable_variables)
    for variable in built.trainable_variables:
        expected = 2 * (1 - 0.5 * 0.1) if variable.name == "kernel" else 2.0
        np.testing.assert_allclose(variable, expected, rtol=1e-6, err_msg=variable.path)


def test_weight_decay_is_settled_before_the_optimizer_is_built():
    optimizer, variables = keras.optimizers.AdamW(), model().trainable_variables
    optimizer.build(variables)
    with pytest.raises(ValueError, match="before the optimizer is built. Received: one that has"):
        optimizers.spare_from_decay(optimizer, variables)


# Plateau


class Scores(keras.callbacks.Callback):
    """Stands in for the metric, and keeps the learning rates."""

    def __init__(self, scores):
        super().__init__()
        self.scores, self.epochs, self.batches = scores, [], []

    def rate(self):
        return float(np.asarray(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.rate())

    def on_epoch_end(self, epoch, logs=None):
        logs["val_mean_iou"] = self.scores[epoch]
        self.epochs.append(self.rate())  # of the epoch that ends


def plateau(scores, *overrides):
    config = compose("train", ["optimizer=sgd", "schedule=plateau", *overrides])
    told = Scores(scores)
    callback = build(config.callbacks.plateau)
    built, _, history = trained(
        ["optimizer=sgd", "schedule=plateau"], len(scores), [told, callback]
    )
    return np.array(told.epochs) / 0.05, told, history


def test_the_rate_falls_when_the_score_does_not_rise(caplog):
    caplog.set_level("INFO")
    scores = [0.1, 0.2, 0.2, 0.15, 0.3, 0.3, 0.3]
    found, _, history = plateau(scores, "callbacks.plateau.patience=2")
    np.testing.assert_allclose(found, [1, 1, 1, 1, 0.3, 0.3, 0.3], rtol=1e-6)
    assert "no better val_mean_iou in 2 epochs: the learning rate goes down to 0.015" in caplog.text
    np.testing.assert_allclose(history.history["learning_rate"], 0.05 * found, rtol=1e-6)


def test_scores_that_are_not_numbers_do_not_count():
    nan = math.nan
    found, _, _ = plateau([nan, nan, nan, 0.2, nan, nan, 0.3], "callbacks.plateau.patience=1")
    np.testing.assert_allclose(found, 1)


def test_a_loss_is_better_below_and_the_least_rate_holds():
    changes = ["mode=min", "patience=1", "factor=0.1", "least=0.001"]
    scores = [3.0, 2.0, 2.5, 2.0, 2.0, 2.0]
    found, _, _ = plateau(scores, *(f"callbacks.plateau.{change}" for change in changes))
    np.testing.assert_allclose(0.05 * found, [0.05, 0.05, 0.05, 0.005, 0.001, 0.001], rtol=1e-5)


def test_the_rate_rises_before_it_may_fall():
    changes = ["callbacks.plateau.warmup=0.5", "callbacks.plateau.patience=1"]
    found, told, _ = plateau([0.3, 0.2, 0.2, 0.2], *changes)
    np.testing.assert_allclose(np.array(told.batches[:10]) / 0.05, [*np.arange(1, 10) / 9, 1])
    np.testing.assert_allclose(found, [4 / 9, 8 / 9, 1, 0.3], rtol=1e-5)


def test_a_plateau_goes_on_where_it_was():
    """Its state is plain numbers: with them a new one does what the old one would have done."""
    whole = [0.3, 0.2, 0.2, 0.2]
    found, _, _ = plateau(whole, "callbacks.plateau.patience=2")
    state = {"best": 0.3, "waited": 1, "taken": 8, "peak": 0.05}
    callback = schedules.ReduceOnPlateau(patience=2)
    told = Scores(whole[2:])

    class Restore(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            vars(callback).update(state)

    trained(["optimizer=sgd", "schedule=plateau"], 2, [told, callback, Restore()])
    np.testing.assert_allclose(np.array(told.epochs) / 0.05, found[2:], rtol=1e-6)
    assert state.keys() <= vars(callback).keys() and found[3] == pytest.approx(0.3)


def test_a_plateau_needs_a_rate_that_can_change_and_a_score():
    config = compose("train", ["optimizer=sgd"])
    with pytest.raises(ValueError, match="SGD with a schedule. Take schedule=plateau"):
        trained(["optimizer=sgd"], 1, [schedules.ReduceOnPlateau()])
    with pytest.raises(ValueError, match="There is no 'val_mean_iou' in the log. It has: loss"):
        trained(["optimizer=sgd", "schedule=plateau"], 1, [schedules.ReduceOnPlateau()])
    assert "plateau" not in config.callbacks


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"mode": "up"}, "mode must be max or min. Received: 'up'"),
        ({"factor": 1.0}, "factor must be a number between 0 and 1. Received: 1.0"),
        ({"patience": 0}, "patience must be a whole number from 1 on. Received: 0"),
        ({"min_delta": -1}, "min_delta must be a number from 0 on. Received: -1"),
        ({"least": math.inf}, "least must be a number from 0 on. Received: inf"),
        ({"warmup": 1}, "warmup is a share of the steps of the run"),
    ],
)
def test_numbers_of_a_plateau_are_checked(arguments, words):
    with pytest.raises(ValueError, match=words):
        schedules.ReduceOnPlateau(**arguments)


def test_the_base_class_is_no_choice():
    with pytest.raises(NotImplementedError, match="Schedule does not say what share"):
        schedules.Schedule(0.1, 10)(0)

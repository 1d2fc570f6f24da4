"""`segkit lr`: what it does to the learning rate, what it suggests, what it writes and refuses."""

import csv
import math

import numpy as np
import pytest
from PIL import Image

from segkit import assembly, lr_finding
from segkit.config import compose

TINY = [
    "data=article",
    "data.sizes={train: 24, val: 8}",
    "data.height=16",
    "data.width=16",
    "model.filters=4",
    "model.depth=1",
    "trainer.batch_size=8",
    "lr.steps=20",
    "trainer.precision=float32",
]


def search(folder, *overrides):
    return lr_finding.run(compose("lr", [f"output={folder}", *TINY, *overrides]))


# The suggestion


def fall(rates, middle, width=1.0, depth=1.0):
    """A loss that goes down by `depth`, most steeply at `middle`."""
    return 2 - depth / (1 + np.exp(-4 * np.log10(rates / middle) / width))


@pytest.mark.parametrize("middle", [1e-4, 1e-3, 3e-2])
@pytest.mark.parametrize("steps", [60, 100, 300])
def test_the_steepest_fall_is_found(middle, steps):
    rates = np.geomspace(1e-6, 1, steps)
    found = lr_finding.suggest(rates, fall(rates, middle))
    assert abs(math.log10(found.rate / middle)) < 0.15
    assert found.smoothed.shape == (steps,)


@pytest.mark.parametrize("seed", range(8))
def test_noise_moves_it_by_less_than_three(seed):
    """Noise as large as in the first batches of the scenes: a fifth of the fall."""
    rates, rng = np.geomspace(1e-6, 1, 100), np.random.default_rng(seed)
    losses = fall(rates, 2e-3) + 0.2 * rng.normal(size=100)
    losses += np.where(rates > 0.03, 2 * np.log10(rates / 0.03), 0)  # and it diverges
    found = lr_finding.suggest(rates, losses)
    assert 1 / 3 < found.rate / 2e-3 < 3


def test_the_smoothed_loss_is_the_loss_where_that_is_straight():
    rates = np.geomspace(1e-6, 1, 50)
    straight = 3 - 0.1 * np.log10(rates)
    np.testing.assert_allclose(lr_finding.suggest(rates, straight).smoothed, straight)


@pytest.mark.parametrize("kind", ["flat", "noise", "rising"])
def test_without_a_fall_nothing_is_suggested(kind):
    rates, rng = np.geomspace(1e-6, 1, 60), np.random.default_rng(3)
    losses = {
        "flat": np.full(60, 2.0),
        "noise": 2 + 0.3 * rng.normal(size=60),
        "rising": 1 + np.linspace(0, 1, 60) ** 2,
    }[kind]
    assert lr_finding.suggest(rates, losses).rate is None


# The search


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lr") / "made"
    seen, assemble = [], assembly.assemble

    def watched(*arguments):
        loop = assemble(*arguments)
        train = loop.train

        def noted(batches):
            seen.append(float(np.asarray(loop.model.optimizer.learning_rate)))
            train(batches)

        loop.train = noted
        return loop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "assemble", watched)
        rate = search(folder, "lr.start=1e-4", "lr.stop=0.5", "schedule=cosine")
    return folder, rate, seen


def test_each_batch_has_a_rate_that_is_higher_by_the_same_factor(searched):
    _, _, seen = searched
    np.testing.assert_allclose(seen, np.geomspace(1e-4, 0.5, 20)[: len(seen)], rtol=1e-5)
    assert len(seen) == 20


def test_what_it_writes(searched):
    folder, rate, seen = searched
    with open(folder / "lr.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}
    assert list(columns) == ["step", "learning_rate", "loss", "smoothed"]
    np.testing.assert_allclose(columns["learning_rate"], seen, rtol=1e-4)
    found = lr_finding.suggest(columns["learning_rate"], columns["loss"])
    assert found.rate == pytest.approx(rate, rel=1e-3)
    np.testing.assert_allclose(found.smoothed, columns["smoothed"], rtol=1e-4)
    with Image.open(folder / "lr.png") as picture:
        assert picture.format == "PNG" and picture.width > picture.height > 400
        assert len(np.unique(np.asarray(picture))) > 50
    assert sorted(path.name for path in folder.iterdir()) == ["lr.csv", "lr.png"]


def test_it_says_what_to_type_and_repeats(searched, tmp_path, caplog):
    caplog.set_level("INFO")
    again = search(tmp_path, "lr.start=1e-4", "lr.stop=0.5")
    assert again == searched[1]
    for name in ("lr.csv", "lr.png"):
        assert (tmp_path / name).read_bytes() == (searched[0] / name).read_bytes()
    assert f"to be given to segkit train: optimizer.learning_rate={again:.2g}" in caplog.text
    assert "20 batches, learning rate from 0.0001 to 0.5, and it did not diverge" in caplog.text
    assert "learning rate ┃" in caplog.text


def test_it_ends_where_the_loss_diverges(monkeypatch, caplog):
    caplog.set_level("INFO")
    falling = [*np.linspace(2, 1, 16), 9.0, 40.0, 90.0, 200.0]
    monkeypatch.setattr(lr_finding, "_losses", lambda config, rates: iter(falling))
    assert search("null") < 0.1
    assert "18 batches, learning rate from 1e-06 to 0.234, where the loss diverged" in caplog.text
    falling[12] = math.nan
    search("null")
    assert "12 batches, learning rate from" in caplog.text


def test_a_loss_that_never_falls_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(lr_finding, "_losses", lambda config, rates: iter([1.5] * 20))
    with pytest.raises(ValueError, match="from 1e-06 to 1. Received: 1.5 at first, 1.5 at best"):
        search(tmp_path)
    assert (tmp_path / "lr.png").is_file()


def test_a_loss_that_is_no_number_at_once_is_told(monkeypatch):
    monkeypatch.setattr(lr_finding, "_losses", lambda config, rates: iter([math.nan]))
    with pytest.raises(ValueError, match="no number with lr.start=1e-06 already: look for NaN"):
        search("null")


def test_a_loss_that_falls_to_the_end_is_told(monkeypatch, caplog):
    monkeypatch.setattr(
        lr_finding, "_losses", lambda config, rates: iter(np.linspace(2, 0, 20) ** 2)
    )
    search("null", "lr.stop=1e-3")
    assert "The loss still falls at lr.stop=0.001: search further up." in caplog.text


@pytest.mark.parametrize(
    "override, words",
    [
        ("lr.steps=5", "lr.steps must be a whole number from 20 on. Received: 5"),
        ("lr.start=0", "lr.start must be a number above 0. Received: 0"),
        ("lr.stop=inf", "lr.stop must be a number above 0. Received: inf"),
        ("lr.start=2", "lr.start must be less than lr.stop. Received: 2 and 1.0"),
        ("trainer.batch_size=0", "trainer.batch_size must be a whole number from 1 on"),
    ],
)
def test_numbers_out_of_range_are_named(override, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        search(tmp_path / "never", override)
    assert not list(tmp_path.iterdir())


def test_it_takes_the_arguments_of_a_training():
    """So that one command becomes the other by its verb."""
    overrides = ["schedule=plateau", "experiment=quick", "callbacks.tensorboard=null"]
    ours, theirs = (compose(verb, overrides) for verb in ("lr", "train"))
    assert set(ours) == {*theirs, "lr"} and ours.model == theirs.model
    assert ours.trainer == theirs.trainer and ours.output == "lr"


def test_images_that_cannot_be_loaded_are_told_in_their_words(monkeypatch):
    def fail(*arguments):
        raise ValueError("image 3 is not what it was")

    monkeypatch.setattr("segkit.data.loading.Loader.__call__", fail)
    with pytest.raises(ValueError, match="^image 3 is not what it was$"):
        search("null")

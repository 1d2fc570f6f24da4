"""Runs as functions from images to probabilities and decisions."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit
from small_runs import NAMES, write_run

import segkit
from segkit import models, runs
from segkit.data.fitting import fit_image
from segkit.inference import compiled, tempered
from segkit.runs import Decisions

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("predictor") / "run")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("predictor") / "other", seed=1)


@pytest.fixture(scope="module")
def exact(folder):
    """The model as it was trained, neither folded nor cut."""
    return compiled(models.recast(runs.load_model(runs.read(folder)), "float32"))


def test_says_what_the_model_says(folder, exact):
    image = RNG.integers(0, 256, (50, 70, 3), "uint8")
    model = segkit.load(folder, precision="float32")
    expected = exact(image[None])[0]
    assert expected.std() > 0.05 and len(np.unique(expected.argmax(-1))) > 1  # it says something
    np.testing.assert_allclose(model.probabilities(image), expected, atol=1e-5)
    assert (model.predict(image) == expected.argmax(-1)).mean() > 0.999
    assert model.predict(image).dtype == np.uint8 and list(model.labels.names) == NAMES


def test_each_keeps_the_order_of_mixed_sizes(folder, exact):
    shapes = [(32, 32), (32, 32), (40, 32), (32, 32), (32, 32), (32, 32)]
    images = [RNG.integers(0, 256, (*shape, 3), "uint8") for shape in shapes]
    images[4] = images[4].astype("float32") / 255
    found = list(segkit.load(folder, precision="float32", batch_size=2).each(iter(images)))
    assert len(found) == len(images)
    for image, one in zip(images, found):
        np.testing.assert_allclose(one, exact(image[None])[0], atol=1e-5)


def test_large_images_are_cut(folder, exact):
    image = RNG.integers(0, 256, (150, 333, 3), "uint8")
    model = segkit.load(folder, tile=128, overlap=0.75, precision="float32")
    np.testing.assert_allclose(model.probabilities(image), exact(image[None])[0], atol=1e-4)


def test_bfloat16_is_near(folder, exact):
    image = RNG.integers(0, 256, (64, 64, 3), "uint8")
    found = segkit.load(folder, precision="bfloat16").probabilities(image)
    assert np.abs(found - exact(image[None])[0]).max() < 0.1
    assert found.dtype == np.float32


def test_images_are_brought_to_the_size_of_the_training_and_back(tmp_path):
    data = {"size": [32, 64], "fit": "resize"}
    run = write_run(tmp_path / "run", data)
    image = RNG.integers(0, 256, (100, 90, 3), "uint8")
    model = segkit.load(run, precision="float32")
    plain = segkit.load(run, precision="float32", size=None)
    small = plain.probabilities(fit_image(image, (32, 64), "resize"))
    expected = fit_image(small, (100, 90), "resize")
    np.testing.assert_allclose(model.probabilities(image), expected, atol=1e-5)
    np.testing.assert_allclose(model.probabilities(image).sum(-1), 1, atol=1e-5)
    assert model.resizes and not plain.resizes
    cropped = write_run(tmp_path / "cropped", {"size": 32, "fit": "crop"})
    assert not segkit.load(cropped).resizes


def test_strips_of_a_resized_image_fit_together(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", {"size": [32, 32], "fit": "resize"})
    image = RNG.integers(0, 256, (100, 90, 3), "uint8")
    whole = segkit.load(run).probabilities(image)
    monkeypatch.setattr("segkit.predictor.predicting._STRIP", 90 * 7)
    parts = list(segkit.load(run).stream(lambda r, c: image[r, c], (100, 90)))
    assert len(parts) == 15
    np.testing.assert_allclose(np.concatenate([p for _, p in parts]), whole, atol=1e-5)
    monkeypatch.setattr("segkit.predictor.predicting.LARGEST_RESIZED", 8999)
    with pytest.raises(ValueError, match="resized, here to 32x32.*100x90, too large.*size=null"):
        list(segkit.load(run).stream(lambda r, c: image[r, c], (100, 90)))


def test_several_runs_are_averaged(folder, other):
    image = RNG.integers(0, 256, (40, 40, 3), "uint8")
    one, two = (segkit.load(run).probabilities(image) for run in (folder, other))
    both = segkit.load([folder, other]).probabilities(image)
    np.testing.assert_allclose(both, (one + two) / 2, atol=1e-6)
    assert np.abs(one - two).max() > 0.01


def test_runs_of_other_classes_are_refused(folder, tmp_path):
    mine = write_run(tmp_path / "run", names=["background", "road"])
    with pytest.raises(ValueError, match="need the same names. Received: .*cell.*road.* in .*run"):
        segkit.load([folder, mine])
    grey = write_run(tmp_path / "grey", channels=1)
    with pytest.raises(ValueError, match="need the same channels. Received: 3 in .*, 1 in"):
        segkit.load([folder, grey])


def test_decisions_are_used_unless_told_otherwise(tmp_path):
    run = write_run(tmp_path / "run")
    image = RNG.integers(0, 256, (40, 40, 3), "uint8")
    raw = segkit.load(run).probabilities(image)
    assert segkit.load(run).decisions is None
    Decisions(2.0, (0.5, 0.999, 0.5), "iou").to_json(run / "decisions.json", NAMES)
    tuned = segkit.load(run)
    np.testing.assert_allclose(tuned.probabilities(image), tempered(raw, 2.0), atol=1e-5)
    assert (raw.argmax(-1) == 1).any() and not (tuned.predict(image) == 1).any()
    plain = segkit.load(run, decisions=False)
    np.testing.assert_array_equal(plain.probabilities(image), raw)
    assert plain.decisions is None
    (run / "decisions.json").write_text("{")
    segkit.load(run, decisions=False)
    with pytest.raises(ValueError, match="decisions.json cannot be read.*segkit calibrate writes"):
        segkit.load(run)


def test_thresholds_of_several_runs_are_averaged(folder, tmp_path):
    run = write_run(tmp_path / "run")
    Decisions(2.0, (0.5, 0.25, 0.5), "iou").to_json(run / "decisions.json", NAMES)
    assert segkit.load([folder, run]).decisions.thresholds == (0.5, 0.375, 0.5)


@pytest.fixture(scope="module")
def overlapping(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("predictor") / "overlapping", exclusive=False)


def test_independent_classes_are_planes(overlapping):
    image = RNG.integers(0, 256, (50, 70, 3), "uint8")
    network = models.recast(runs.load_model(runs.read(overlapping)), "float32")
    logits = network.predict(image[None] / np.float32(255), verbose=0)[0]
    model = segkit.load(overlapping, precision="float32")
    np.testing.assert_allclose(model.probabilities(image), expit(logits), atol=1e-5)
    planes = model.predict(image)
    assert planes.shape == (50, 70, 3) and planes.dtype == np.uint8
    assert (planes == (logits >= 0)).mean() > 0.999 and set(planes.sum(-1).flat) > {0, 1}
    Decisions(2.0, (0.5, 0.9, 0.2), "iou").to_json(overlapping / "decisions.json", NAMES)
    tuned = segkit.load(overlapping, precision="float32")
    (overlapping / "decisions.json").unlink()
    expected = expit(logits / 2) >= np.float32([0.5, 0.9, 0.2])
    assert (tuned.predict(image) == expected).mean() > 0.999


def test_large_images_of_independent_classes_are_cut_and_several_runs_averaged(
    overlapping, tmp_path
):
    image = RNG.integers(0, 256, (150, 170, 3), "uint8")
    one = segkit.load(overlapping, precision="float32")
    tiled = segkit.load(overlapping, tile=128, overlap=0.75, precision="float32")
    np.testing.assert_allclose(tiled.probabilities(image), one.probabilities(image), atol=1e-4)
    second = write_run(tmp_path / "second", seed=1, exclusive=False)
    both = segkit.load([overlapping, second], precision="float32")
    other = segkit.load(second, precision="float32").probabilities(image)
    mean = (one.probabilities(image) + other) / 2
    np.testing.assert_allclose(both.probabilities(image), mean, atol=1e-5)
    assert (both.predict(image) == (mean >= 0.5)).mean() > 0.999


def test_runs_of_exclusive_and_of_independent_classes_do_not_predict_together(folder, overlapping):
    words = "need the same kind of classes. Received: exclusive in .*, independent .overlapping. in"
    with pytest.raises(ValueError, match=words):
        segkit.load([folder, overlapping])


def test_values_of_files_become_0_to_1(tmp_path):
    run = write_run(tmp_path / "run", {"value_range": [100, 1100]}, channels=1)
    model = segkit.load(run, precision="float32")
    image = RNG.integers(100, 1100, (32, 32), "uint16")
    scaled = ((image - 100) / 1000).astype("float32")[..., None]
    expected = next(model.each([scaled]))
    np.testing.assert_allclose(model.probabilities(image), expected, atol=1e-6)
    np.testing.assert_allclose(model.probabilities(image.astype("int32")), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 4), (0, 8, 3), (8,), (1, 8, 8, 3), (3, 8, 8)])
def test_other_shapes_are_refused(folder, shape):
    with pytest.raises(
        ValueError, match=r"The model sees images \(H, W, 3\), one at a time. Received: \("
    ):
        segkit.load(folder).probabilities(np.zeros(shape, "uint8"))


def test_floats_beyond_the_range_are_refused(folder):
    with pytest.raises(ValueError, match=r"The image must hold values in \[0, 1\]"):
        segkit.load(folder).probabilities(np.full((8, 8, 3), 77.0))


def test_grey_is_repeated_and_files_are_read_as_on_the_command_line(folder, tmp_path):
    grey, path = RNG.integers(0, 256, (20, 24), "uint8"), tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    model = segkit.load(folder)
    expected = model.probabilities(np.stack([grey] * 3, -1))
    np.testing.assert_array_equal(model.probabilities(grey), expected)
    np.testing.assert_array_equal(model.probabilities(path), expected)
    np.testing.assert_array_equal(model.predict(str(path)), model.predict(grey))
    assert repr(model) == f"<Predictor of {folder}: background, cell, nucleus>"


def test_what_is_no_number_is_refused(folder):
    with pytest.raises(ValueError, match="The image .*NaN|not a number|no number"):
        segkit.load(folder).probabilities(np.full((8, 8, 3), np.nan))


def test_a_model_for_other_classes_is_refused(folder, tmp_path):
    run = write_run(tmp_path / "run", names=["background", "cell"])
    shutil.copy(folder / "model.keras", run / "model.keras")
    with pytest.raises(ValueError, match="must map images of 3 channels to 2 classes, as the run"):
        segkit.load(run)


def test_one_pixel_is_an_image(folder):
    assert segkit.load(folder).predict(np.zeros((1, 1, 3), "uint8")).shape == (1, 1)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"precision": "float16"}, "precision must be auto or float32 or bfloat16"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 on"),
        ({"tile": 100}, "tile must be a multiple of 32"),
        ({"tta": "all"}, "tta must be one of"),
        ({"size": -4}, "size must be a positive number of pixels"),
    ],
)
def test_options_that_are_none_are_refused(folder, options, words):
    with pytest.raises(ValueError, match=words):
        segkit.load(folder, **options)


def test_no_run_is_refused():
    with pytest.raises(ValueError, match="A predictor needs a run. Received: none."):
        segkit.load([])


def test_a_member_that_takes_images_as_they_are_takes_large_ones_in_tiles(tmp_path):
    plain = write_run(tmp_path / "plain")
    resized = write_run(tmp_path / "resized", {"size": [32, 32], "fit": "resize"}, seed=3)
    image = RNG.integers(0, 256, (150, 130, 3), "uint8")
    both = segkit.load([plain, resized], tile=64)
    seen = []
    both._members = tuple(
        member._replace(function=lambda x, f=member.function: (seen.append(x.shape), f(x))[1])
        for member in both._members
    )
    found = both.probabilities(image)
    assert max(max(shape[1:3]) for shape in seen) <= 64
    alone = [segkit.load(run, tile=64).probabilities(image) for run in (plain, resized)]
    np.testing.assert_allclose(found, np.mean(alone, axis=0), atol=1e-5)


def test_values_may_be_scaled_otherwise_than_in_training(tmp_path):
    run = write_run(tmp_path / "run", {"value_range": [0, 1]})
    image = RNG.integers(0, 4096, (20, 24, 3), "uint16")
    found = segkit.load(run, value_range=[0, 4095]).probabilities(image)
    expected = segkit.load(run, value_range=None).probabilities((image / 4095).astype("float32"))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match="value_range must be a pair"):
        segkit.load(run, value_range=[1]).probabilities(image)

"""Means and deviations of ordered classes: from a predictor, as files, and in exports."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from small_runs import NAMES, write_run

import segkit
from segkit import ordered, runs
from segkit.data import rasters
from segkit.formats.describing import about
from segkit.labels import LabelSpace
from segkit.prediction import Outputs, predict

VALUES = [0, 1, 4]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("ordered") / "run")
    LabelSpace(NAMES, values=VALUES, unit="mm").to_json(run / "labels.json")
    return run


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.npy"
    np.save(path, np.random.default_rng(0).random((70, 64, 3), "float32"))
    return path


def test_a_predictor_gives_mean_and_deviation(folder, image):
    model = segkit.load(folder)
    p = model.probabilities(image)
    mean, deviation = model.mean_and_deviation(image)
    assert mean.dtype == deviation.dtype == np.float32 and mean.shape == (70, 64)
    np.testing.assert_allclose(mean, p @ np.array(VALUES), rtol=1e-5)
    squares = (np.array(VALUES) - mean[..., None]) ** 2
    np.testing.assert_allclose(deviation, np.sqrt((p * squares).sum(-1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.mean(image), mean)


def test_they_are_written_beside_the_masks_in_strips(folder, image, tmp_path):
    outputs = Outputs(means="tif", deviations="zarr")
    # Tiles: an image larger than one is predicted and written strip after strip.
    summary = predict(folder, image, tmp_path, outputs, tile=64, overlap=0.25)
    assert summary.written == 1 and not summary.failed
    mean, deviation = segkit.load(folder, tile=64, overlap=0.25).mean_and_deviation(image)
    with tifffile.TiffFile(tmp_path / "means" / "a.tif") as file:
        found, said = file.asarray(), json.loads(file.pages[0].description)
    assert found.dtype == np.float32 and found.shape == (70, 64)
    np.testing.assert_allclose(found, mean, atol=1e-5)
    assert said["holds"] == "means" and said["unit"] == "mm" and said["values"] == VALUES
    stored = zarr.open_array(tmp_path / "deviations" / "a.zarr")
    np.testing.assert_allclose(stored[:], deviation, atol=1e-5)
    assert stored.attrs["labels"]["values"] == VALUES
    assert LabelSpace.from_json(tmp_path / "classes.json").values == (0, 1, 4)


def test_one_file_has_the_others_beside_it(folder, image, tmp_path):
    predict(folder, image, tmp_path / "mask.png", Outputs(means="npy"))
    mean = np.load(tmp_path / "mask_means.npy")
    np.testing.assert_allclose(mean, segkit.load(folder).mean(image), atol=1e-6)


def test_classes_without_values_have_no_mean(image, tmp_path):
    run = write_run(tmp_path / "run")
    with pytest.raises(ValueError, match="means need classes with values.*means=tif"):
        predict(run, image, tmp_path / "out", Outputs(means="tif"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="A mean needs classes with values.*background, cell"):
        segkit.load(run).mean(image)


def test_kinds_that_hold_no_numbers_are_refused():
    with pytest.raises(ValueError, match="deviations must be one of tif.*Received: 'png'"):
        Outputs(deviations="png")


def test_strips_of_another_shape_are_refused(tmp_path):
    labels = LabelSpace(NAMES, values=VALUES)
    with pytest.raises(ValueError, match=r"needs strips \(h, 4\). Received: \(2, 4, 1\)"):
        with rasters.write_numbers(tmp_path / "a.npy", (2, 4), labels) as file:
            file.write(slice(0, 2), np.zeros((2, 4, 1)))


def test_exports_say_what_the_classes_stand_for(folder):
    said = about(runs.read(folder), "onnx", (1, 32, 32, 3), None)
    assert said["values"] == VALUES and said["unit"] == "mm"
    p = np.array([0.5, 0.25, 0.25])
    assert ordered.decode(p, said["values"])[0] == pytest.approx(1.25)

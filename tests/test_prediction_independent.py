"""Files in, planes of independent classes out, which read back as a folder data set."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from small_runs import write_run

import segkit
from segkit import cli
from segkit.data.folder import examine, splits
from segkit.labels import LabelSpace
from segkit.prediction import Outputs, predict

NAMES = ["cell", "nucleus / dark", "debris"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("independent")
    return write_run(root / "run", names=NAMES, exclusive=False)


@pytest.fixture(scope="module")
def model(folder):
    return segkit.load(folder)


@pytest.fixture
def images(tmp_path):
    there = tmp_path / "images"
    there.mkdir()
    for name, shape in {"a.png": (32, 40), "b.png": (20, 24)}.items():
        Image.fromarray(RNG.integers(0, 256, (*shape, 3), "uint8")).save(there / name)
    return there


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.mark.parametrize("kind", ["png", "tif", "npy"])
def test_predictions_beside_their_images_are_a_data_set(folder, model, images, tmp_path, kind):
    out = tmp_path / "out"
    assert predict(folder, images, out, Outputs(kind)).written == 2
    (out / "images").symlink_to(images)
    found = examine(out, size=None, split={"val": 0.0}, follow_links=True)
    assert not [problem for problem in found.problems if problem.fatal]
    source = splits(out, size=None, split={"val": 0.0}, follow_links=True)["train"]
    assert source.labels.names == tuple(NAMES) and not source.labels.exclusive
    assert source.annotated.all()  # what is nowhere was looked for, too
    for sample in (source[0], source[1]):
        expected = model.predict(sample.image)
        assert expected.any() and (sample.mask == expected).mean() > 0.999


def test_all_outputs_again_and_again(folder, model, images, tmp_path):
    out, everything = tmp_path / "out", Outputs("png", "tif", "png")
    predict(folder, images, out)
    before = (out / "masks/a/cell.png").stat().st_mtime_ns
    assert predict(folder, images, out).skipped == 2
    (out / "masks/a/cell.png").rename(out / "kept.png")
    assert predict(folder, images, out, everything).written == 2
    assert (out / "masks/a/cell.png").stat().st_mtime_ns > before
    image = pixels(images / "a.png")
    p = model.probabilities(image)
    np.testing.assert_allclose(tifffile.imread(out / "probabilities/a.tif"), p, atol=2e-3)
    overlay, planes = pixels(out / "overlays/a.png").astype(float), p >= 0.5
    two = planes.sum(-1) == 2
    assert two.any()
    colors = planes[..., None] * np.array(model.labels.palette)
    mean = colors.sum(2) / np.maximum(planes.sum(-1), 1)[..., None]
    inner = two & (np.abs(overlay - (image / 2 + mean / 2)).max(-1) <= 1.5)
    edges = two & (np.abs(overlay - mean).max(-1) <= 1.5)  # contours in the full colour
    assert (inner | edges)[two].mean() > 0.99
    other = write_run(tmp_path / "other", seed=5, names=NAMES, exclusive=False)
    with pytest.raises(ValueError, match="made with another runs"):
        predict(other, images, out)
    assert predict(other, images, out, everything, overwrite=True).written == 2


def test_large_images_go_through_in_strips(folder, images, tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.predictor.predicting.WHOLE", 64)
    image = RNG.integers(0, 256, (150, 170, 3), "uint8")
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(32, 32), photometric="rgb")
    options = {"tile": 64, "overlap": 0.5}
    expected = segkit.load(folder, **options).predict(image)
    for kind in ("png", "tif", "zarr"):
        predict(folder, tmp_path / "large.tif", tmp_path / kind, Outputs(kind), **options)
    found = tifffile.imread(tmp_path / "tif/masks/large.tif")
    assert found.dtype == np.uint8 and (found == expected).mean() > 0.999
    np.testing.assert_array_equal(zarr.open(tmp_path / "zarr/masks/large.zarr", mode="r")[:], found)
    np.testing.assert_array_equal(pixels(tmp_path / "png/masks/large/cell.png"), found[..., 0] == 1)


def test_damaged_files_are_told(folder, images, tmp_path, capsys, hydra_off):
    (images / "empty.png").touch()
    out = tmp_path / "out"
    assert cli.main(["predict", f"run={folder}", f"input={images}", f"output={out}"]) == 3
    assert "1 of the files could not be predicted" in capsys.readouterr().err
    assert sorted(path.name for path in (out / "masks").iterdir()) == ["a", "b"]
    assert json.loads((out / "classes.json").read_text())["exclusive"] is False


def test_one_input_may_name_its_planes(folder, model, images, tmp_path):
    predict(folder, images / "a.png", tmp_path / "planes.npy")
    found = np.load(tmp_path / "planes.npy")
    assert (found == model.predict(images / "a.png")).mean() > 0.999
    with pytest.raises(ValueError, match="one PNG holds one class a pixel.*Name a .tif or"):
        predict(folder, images / "a.png", tmp_path / "planes.png")


def test_folders_of_class_files_do_not_lie_in_each_other(folder, images, tmp_path):
    (images / "a").mkdir()
    (images / "b.png").rename(images / "a" / "b.png")
    with pytest.raises(ValueError, match="would be the folder .*masks/a, and those of .*masks=tif"):
        predict(folder, images, tmp_path / "out")
    assert predict(folder, images, tmp_path / "out", Outputs("tif")).written == 2


def test_names_that_no_files_can_have_are_refused_before_anything_is_predicted(images, tmp_path):
    run = write_run(tmp_path / "run", names=["Cell", "cell"], exclusive=False)
    with pytest.raises(ValueError, match="'cell' and 'Cell' would share the name of a file"):
        predict(run, images, tmp_path / "out")
    assert predict(run, images, tmp_path / "out", Outputs("tif")).written == 2
    assert LabelSpace.from_json(tmp_path / "out/classes.json").names == ("Cell", "cell")

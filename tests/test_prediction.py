"""Files in, masks out: nothing twice, nothing half, nothing lost to a damaged neighbour."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_runs import NAMES, write_run

import segkit
from segkit import cli, config, prediction
from segkit.explaining import NotAll
from segkit.labels import LabelSpace
from segkit.prediction import Outputs, predict
from segkit.prediction.work import Work
from segkit.runs import Decisions

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("prediction") / "run")


@pytest.fixture(scope="module")
def model(folder):
    return segkit.load(folder)


@pytest.fixture
def images(tmp_path):
    there = tmp_path / "images"
    (there / "more").mkdir(parents=True)
    for name, shape in {"a.png": (32, 40), "b.png": (32, 40), "more/c.png": (20, 20)}.items():
        Image.fromarray(RNG.integers(0, 256, (*shape, 3), "uint8")).save(there / name)
    return there


def opened(path):
    """The mode of a picture, and its values."""
    with Image.open(path) as picture:
        return picture.mode, np.array(picture)


def test_masks_are_what_the_model_predicts(folder, model, images, tmp_path):
    out = tmp_path / "out"
    summary = predict(folder, images, out)
    assert (summary.written, summary.skipped, summary.failed) == (3, 0, {})
    for name in ("a", "b", "more/c"):
        mode, mask = opened(out / "masks" / f"{name}.png")
        assert mode == "P"
        assert (mask == model.predict(opened(images / f"{name}.png")[1])).mean() > 0.999
    assert list(LabelSpace.from_json(out / "classes.json").names) == NAMES


def test_what_is_there_is_left_alone(folder, images, tmp_path):
    out = tmp_path / "out"
    predict(folder, images, out)
    (out / "masks" / "b.png").unlink()
    (out / "masks" / "a.png").write_bytes(b"mine")
    summary = predict(folder, images, out)
    assert (summary.written, summary.skipped) == (1, 2)
    assert (out / "masks" / "a.png").read_bytes() == b"mine"
    assert predict(folder, images, out, overwrite=True).written == 3
    assert (out / "masks" / "a.png").read_bytes() != b"mine"


def test_another_model_or_setting_needs_another_folder(folder, images, tmp_path):
    out = tmp_path / "out"
    predict(folder, images, out, tta="none")
    with pytest.raises(ValueError, match="out holds predictions.* another tta. Choose another"):
        predict(folder, images, out, tta="flips")
    other = write_run(tmp_path / "other", seed=5)
    with pytest.raises(ValueError, match="made with another runs"):
        predict(other, images, out, tta="none")
    Decisions(1.0, (0.5, 0.1, 0.5)).to_json(other / "decisions.json", NAMES)
    assert predict(other, images, out, overwrite=True).written == 3


def test_more_outputs_of_the_same_model_are_added(folder, model, images, tmp_path):
    out = tmp_path / "out"
    predict(folder, images, out)
    summary = predict(folder, images, out, Outputs("png", "npy", "jpg"))
    assert summary.written == 3
    image = opened(images / "a.png")[1]
    found = np.load(out / "probabilities" / "a.npy")
    np.testing.assert_allclose(found, model.probabilities(image), atol=2e-3)
    assert opened(out / "overlays" / "more" / "c.jpg")[1].shape[:2] == (20, 20)


def test_damaged_files_are_told_and_the_others_go_on(folder, images, tmp_path, capsys, hydra_off):
    (images / "empty.png").touch()
    (images / "half.png").write_bytes((images / "a.png").read_bytes()[:300])
    Image.fromarray(np.zeros((9, 9), "uint8")).save(images / "grey.png")
    np.save(images / "nan.npy", np.full((9, 9, 3), np.nan))
    out = tmp_path / "out"
    keys = [f"run={folder}", f"input={images}", f"output={out}"]
    assert cli.main(["predict", *keys]) == 3
    said = capsys.readouterr().err
    assert "3 of the files could not be predicted" in said
    rows = (out / "failed.csv").read_text().splitlines()
    assert rows[0] == "image,error" and len(rows) == 4
    assert {row.split(",")[0].rsplit("/", 1)[1] for row in rows[1:]} == {
        "empty.png",
        "half.png",
        "nan.npy",
    }
    assert len(list((out / "masks").rglob("*.png"))) == 4
    for name in ("empty.png", "half.png", "nan.npy"):
        (images / name).unlink()
    assert cli.main(["predict", *keys]) == 0
    assert not (out / "failed.csv").exists()


def test_large_images_go_through_in_strips(folder, model, images, tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.predictor.predicting.WHOLE", 64)
    image = RNG.integers(0, 256, (150, 170, 3), "uint8")
    tifffile.imwrite(tmp_path / "large.tif", image, tile=(32, 32), photometric="rgb")
    out = tmp_path / "out"
    outputs = Outputs("tif", "tif", "png")
    options = {"tile": 64, "overlap": 0.5}
    predict(folder, tmp_path / "large.tif", out, outputs, **options)
    expected = segkit.load(folder, **options).probabilities(image)
    mask = tifffile.imread(out / "masks" / "large.tif")
    assert (mask == expected.argmax(-1)).mean() > 0.999
    found = tifffile.imread(out / "probabilities" / "large.tif")
    found = np.moveaxis(found, 0, -1) if found.shape[0] == 3 else found
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert opened(out / "overlays" / "large.png")[1].shape[:2] == (150, 170)


def test_one_input_may_name_its_mask(folder, images, tmp_path):
    assert predict(folder, images / "a.png", tmp_path / "mask.png").written == 1
    assert opened(tmp_path / "mask.png")[1].shape[:2] == (32, 40)
    with pytest.raises(ValueError, match="a.png is the image itself"):
        predict(folder, images / "a.png", images / "a.png", overwrite=True)
    with pytest.raises(ValueError, match="Masks are .png, .*Received: output=.*x.jpg"):
        predict(folder, images / "a.png", tmp_path / "x.jpg")
    with pytest.raises(FileExistsError, match="mask.png is there already.*overwrite=true"):
        predict(folder, images / "b.png", tmp_path / "mask.png")
    with pytest.raises(ValueError, match="mask.png names one file, and there are 3 inputs"):
        predict(folder, images, tmp_path / "mask.png", overwrite=True)


def test_predictions_are_not_predicted(folder, images):
    assert predict(folder, images, images / "out").written == 3
    assert predict(folder, images, images / "out").skipped == 3
    with pytest.raises(FileNotFoundError, match="nothing to predict but what lies in"):
        predict(folder, images / "out", images / "out")


def test_nothing_is_left_of_a_run_that_is_not_there(images, tmp_path):
    with pytest.raises(FileNotFoundError, match="none, which is not there"):
        predict(tmp_path / "none", images, tmp_path / "out")
    assert not (tmp_path / "out" / "masks").exists()


def test_a_full_disk_ends_it(folder, images, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("segkit.data.rasters.write_ids", full)
    with pytest.raises(OSError, match="No space left"):
        predict(folder, images, tmp_path / "out")


@pytest.mark.parametrize(
    "given, words",
    [
        ({"masks": "jpg"}, "masks must be one of png, tif.*Received: 'jpg'"),
        ({"masks": None}, "masks must be one of"),
        ({"probabilities": "png"}, "probabilities must be one of tif"),
        ({"overlays": "tif"}, "overlays must be one of png, jpg"),
    ],
)
def test_kinds_that_cannot_hold_it_are_refused(given, words):
    with pytest.raises(ValueError, match=words):
        Outputs(**given)


def test_two_processes_do_not_share_a_folder(folder, images, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from segkit import run_folders\n"
        "with run_folders.claimed(Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE)
    try:
        other.stdout.readline()
        with pytest.raises(FileExistsError, match="writes into .*out"):
            predict(folder, images, out)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_the_config_says_what_the_function_takes(folder, images, tmp_path):
    keys = [f"run={folder}", f"input={images}", f"output={tmp_path / 'out'}", "masks=npy"]
    prediction.run(config.compose("predict", keys))
    assert np.load(tmp_path / "out" / "masks" / "a.npy").shape == (32, 40)
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert record["overlap"] == 0.25 and len(record["runs"]) == 1
    (images / "bad.png").touch()
    with pytest.raises(NotAll, match="1 of the files could not be predicted:\n  .*bad.png"):
        prediction.run(config.compose("predict", keys))


def test_an_overwriting_that_was_interrupted_leaves_no_old_masks(
    folder, images, tmp_path, monkeypatch
):
    out, other = tmp_path / "out", write_run(tmp_path / "other", seed=5)
    predict(folder, images, out)
    write = Work._write

    def killed(self, job, *rest):
        if job.input.name == "b":
            raise KeyboardInterrupt
        write(self, job, *rest)

    monkeypatch.setattr(Work, "_write", killed)
    with pytest.raises(ValueError, match="tta must be one of"):
        predict(other, images, out, overwrite=True, tta="many")
    assert (out / "masks" / "b.png").exists()
    with pytest.raises(KeyboardInterrupt):
        predict(other, images, out, overwrite=True)
    monkeypatch.undo()
    assert predict(other, images, out).written == 2
    expected = segkit.load(other).predict(opened(images / "b.png")[1])
    assert (opened(out / "masks" / "b.png")[1] == expected).mean() > 0.999


def test_what_would_not_be_made_anew_is_not_mixed_with_what_is(folder, images, tmp_path):
    out, other = tmp_path / "out", write_run(tmp_path / "other", seed=5)
    predict(folder, images, out, Outputs(overlays="png"))
    with pytest.raises(ValueError, match="3 of them would not be made anew, such as overlays/a"):
        predict(other, images, out, overwrite=True)
    with pytest.raises(ValueError, match="2 of them would not be made anew, such as masks/more/c"):
        predict(other, images / "*.png", out, Outputs(overlays="png"), overwrite=True)


def test_how_many_at_once_is_no_other_setting_and_a_default_is_one(folder, images, tmp_path):
    out = tmp_path / "out"
    predict(folder, images, out, tta="flips", batch_size=2)
    assert predict(folder, images, out, tta="flips", batch_size=1).skipped == 3
    with pytest.raises(ValueError, match="made with another tta"):
        predict(folder, images, out)


def test_other_images_of_the_same_names_are_not_taken_for_those_there(folder, images, tmp_path):
    out, day2 = tmp_path / "out", tmp_path / "day2"
    predict(folder, images, out)
    (day2).mkdir()
    Image.fromarray(np.zeros((9, 9, 3), "uint8")).save(day2 / "b.png")
    with pytest.raises(ValueError, match="b.png was made from .*images/b.png. Received: .*day2"):
        predict(folder, day2, out)
    assert predict(folder, day2, out, overwrite=True).written == 1
    assert predict(folder, day2, out).skipped == 1
    with pytest.raises(ValueError, match="b.png was made from .*day2/b.png. Received: .*images"):
        predict(folder, images, out)


def test_small_images_keep_their_place_on_earth_too(folder, tmp_path):
    place = (33550, "d", 3, (1.0, 1.0, 0.0), True)
    image = np.zeros((32, 32, 3), "uint8")
    options = {"tile": (16, 16), "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", image, extratags=[place], **options)
    predict(folder, tmp_path / "a.tif", tmp_path / "out", Outputs("tif"))
    with tifffile.TiffFile(tmp_path / "out" / "masks" / "a.tif") as tiff:
        assert tiff.pages[0].tags[33550].value == (1.0, 1.0, 0.0)


def test_the_images_of_a_data_set_are_named_like_its_masks(folder, images, tmp_path):
    (images / "images").mkdir()
    (images / "masks").mkdir()
    for name in ("a.png", "b.png"):
        (images / name).rename(images / "images" / name)
        (images / "masks" / name).write_bytes((images / "images" / name).read_bytes())
    predict(folder, images, tmp_path / "out")
    found = {path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*.png")}
    assert {str(path) for path in found} == {"masks/a.png", "masks/b.png", "masks/more/c.png"}

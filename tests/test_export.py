"""`segkit export`: what a run becomes, that it runs without segkit, and what is refused."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import segkit
from segkit import cli
from segkit.explaining import NotAll
from segkit.export import export
from segkit.formats import FORMATS
from segkit.labels import LabelSpace
from segkit.models import unet
from segkit.runs import Decisions

NAMES = ("Grund", "Gefäß", 'a"b')
LABELS = LabelSpace(NAMES, palette=[(1, 2, 3), (200, 0, 0), (0, 0, 200)])
FILES = {"onnx": "model.onnx", "saved_model": "saved_model"}
FILES |= {"litert": "model.tflite", "openvino": "model.xml"}


def make_run(folder, data=None, channels=3, decisions=None, labels=LABELS):
    """A folder as training leaves it, of a model that has seen nothing."""
    folder.mkdir(parents=True)
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(2)
    stated = {"mean": [0.4] * channels, "std": [0.2] * channels}
    model = unet((None, None, channels), len(NAMES), filters=4, depth=2, **stated)
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    head = model.get_layer("logits")
    head.set_weights([rng.normal(size=w.shape) for w in head.get_weights()])
    model.save(folder / "model.keras")
    labels.to_json(folder / "labels.json")
    data = {
        "_target_": "segkit.data.folder.splits",
        "root": "gone",
        "fit": "resize",
        **(data or {}),
    }
    (folder / "config.yaml").write_text(json.dumps({"data": data}))  # which is YAML, too
    normalization = {"channels": channels, **stated}
    (folder / "normalization.json").write_text(json.dumps(normalization))
    if decisions:
        decisions.to_json(folder / "decisions.json", NAMES)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("plain") / "run")


def left(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def image_file(path, channels=3, size=(37, 50), dtype="uint8"):
    blocks = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (5, 7, channels), dtype)
    coarse = blocks.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    image = np.ascontiguousarray(coarse[..., 0] if channels == 1 else coarse)
    np.save(path, coarse) if path.suffix == ".npy" else Image.fromarray(image).save(path)
    return path, coarse


def run_script(script, image, mask, blocked):
    """Runs the example in a Python that cannot import some packages."""
    code = "; ".join(
        [
            "import runpy, sys",
            f"sys.modules.update(dict.fromkeys({blocked!r}))",
            f"sys.argv = [{str(script)!r}, {str(image)!r}, {str(mask)!r}]",
            "runpy.run_path(sys.argv[0], run_name='__main__')",
        ]
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return np.load(mask) if mask.suffix == ".npy" else Image.open(mask)


def assert_same_ids(mask, expected):
    """Up to pixels at which two classes are equally probable, in the seventh digit."""
    assert np.mean(np.asarray(mask) != expected) <= 0.001
    assert len(np.unique(expected)) > 1


def test_every_format_runs_without_segkit_as_the_predictor_does(tmp_path, caplog):
    """The larger part of the house: images are resized, temperature and thresholds tuned."""
    decisions = Decisions(1.7, (0.5, 0.55, 0.42), "dice")
    run = make_run(tmp_path / "run", data={"size": [32, 24]}, decisions=decisions)
    with caplog.at_level(logging.INFO):
        done = export(run, "all", tmp_path / "out")
    assert "The files are compared on random images: " in caplog.text
    assert tuple(done) == FORMATS
    image, pixels = image_file(tmp_path / "image.png")
    predictor = segkit.load(run, precision="float32")
    expected = predictor.predict(pixels)
    for name, one in done.items():
        assert one.path == tmp_path / "out" / FILES[name] and one.difference < 1e-5
        blocked = ["segkit"] + ["keras", "tensorflow"] * (name != "saved_model")
        mask = run_script(one.script, image, tmp_path / f"{name}.png", blocked)
        assert_same_ids(mask, expected)
        assert mask.getpalette()[:9] == [1, 2, 3, 200, 0, 0, 0, 0, 200]
        about = json.loads(Path(f"{one.path}.json").read_text(encoding="utf-8"))
        assert about["names"] == list(NAMES) and about["format"] == name
        assert (about["size"], about["fit"]) == ([32, 24], "resize")
        assert about["thresholds"] == dict(zip(NAMES, decisions.thresholds))
        assert about["inside"]["temperature"] == 1.7
        assert about["compared_with_keras"]["largest_difference"] == one.difference
        assert one.difference > 0 or name == "saved_model"


def test_independent_classes_come_out_as_planes(tmp_path):
    decisions = Decisions(1.7, (0.5, 0.55, 0.42), "dice")
    labels = LabelSpace(NAMES, background=None, exclusive=False)
    run = make_run(tmp_path / "run", data={"size": None}, decisions=decisions, labels=labels)
    done = export(run, "all", tmp_path / "out", images="noise")
    image, pixels = image_file(tmp_path / "image.png")
    expected = segkit.load(run, precision="float32").predict(pixels)
    assert len(set(expected.sum(-1).flat)) > 1 < len(set(expected[..., 0].flat))
    for name, one in done.items():
        assert one.difference < 1e-5
        blocked = ["segkit"] + ["keras", "tensorflow"] * (name != "saved_model")
        planes = run_script(one.script, image, tmp_path / f"{name}.npy", blocked)
        assert planes.dtype == np.uint8 and np.mean(planes != expected) <= 0.001
        about = json.loads(Path(f"{one.path}.json").read_text(encoding="utf-8"))
        assert about["exclusive"] is False and about["background"] is None
        assert about["thresholds"] == dict(zip(NAMES, decisions.thresholds))


@pytest.mark.parametrize(
    "channels, data, file, dtype",
    [
        (3, {}, "image.png", "uint8"),
        (1, {"value_range": [100, 4000]}, "image.png", "uint16"),
        (1, {"size": 16}, "image.png", "uint8"),
        (4, {"value_range": [[0, 200]] * 3 + [[10, 99]]}, "image.npy", "uint8"),
        (3, {"size": [30, 30], "fit": "crop"}, "image.png", "uint8"),
    ],
)
def test_the_example_reads_images_as_the_run_did(channels, data, file, dtype, tmp_path):
    run = make_run(tmp_path / "run", data, channels)
    (one,) = export(run).values()
    assert one.path == run / "export" / "model.onnx"
    image, pixels = image_file(tmp_path / file, channels, dtype=dtype)
    mask = run_script(one.script, image, tmp_path / "mask.png", ["segkit", "tensorflow"])
    assert_same_ids(mask, segkit.load(run, precision="float32").predict(pixels))


def test_decisions_can_be_left_out(tmp_path):
    run = make_run(tmp_path / "run", decisions=Decisions(1.7, (0.5, 0.55, 0.42)))
    (plain,) = export(run, output=tmp_path / "plain", decisions=False).values()
    (tuned,) = export(run, output=tmp_path / "tuned").values()
    image, pixels = image_file(tmp_path / "image.png")
    masks = [
        np.asarray(run_script(one.script, image, tmp_path / f"{n}.png", ["segkit"]))
        for n, one in enumerate((plain, tuned))
    ]
    assert_same_ids(
        masks[0], segkit.load(run, precision="float32", decisions=False).predict(pixels)
    )
    assert_same_ids(masks[1], segkit.load(run, precision="float32").predict(pixels))
    assert (masks[0] != masks[1]).any()


def test_it_is_compared_on_the_data_of_the_run(tmp_path, caplog):
    data = {"_target_": "segkit.synthetic.scenes.splits", "sizes": {"train": 1, "val": 2}}
    run = make_run(tmp_path / "run")
    (run / "config.yaml").write_text(json.dumps({"data": {**data, "height": 40, "width": 56}}))
    with caplog.at_level(logging.INFO):
        (one,) = export(run, "onnx", tmp_path / "a.onnx").values()
    assert "over images of the split val, 1x40x56x3, 2x40x56x3, 1x31x43x3, 2x31x43x3" in caplog.text
    assert one.path == tmp_path / "a.onnx" and one.script.name == "predict_a_onnx.py"
    assert left(tmp_path) == ["a.onnx", "a.onnx.json", "predict_a_onnx.py", "run"]
    about = json.loads((tmp_path / "a.onnx.json").read_text())
    assert about["compared_with_keras"]["shapes"][3] == [2, 31, 43, 3]
    export(run, "onnx", tmp_path / "b.onnx", images="noise", size=[32, 48], batch=1)
    about = json.loads((tmp_path / "b.onnx.json").read_text())
    assert about["compared_with_keras"]["shapes"] == [[1, 32, 48, 3]]
    assert about["input"]["shape"] == [1, 32, 48, 3]


def test_the_verb(run, tmp_path, hydra_off, capsys):
    words = ["export", f"run={run}", f"output={tmp_path / 'out'}", "images=noise"]
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    assert "over random images, 1x256x256x3" in shown and "predict_onnx.py IMAGE MASK.png" in shown
    assert cli.main(words) == 1
    said = capsys.readouterr().err
    assert "holds model.onnx, model.onnx.json, predict_onnx.py already. overwrite=true" in said
    assert cli.main([*words, "overwrite=true", "format=[onnx]"]) == 0


# What is refused


def test_probabilities_that_are_off_are_not_kept(run, tmp_path):
    export(run, output=tmp_path, images="noise")
    before = {name: (tmp_path / name).read_bytes() for name in left(tmp_path)}
    with pytest.raises(ValueError, match="probabilities that are up to .* tolerance=1e-12 is allo"):
        export(run, output=tmp_path, images="noise", overwrite=True, tolerance=1e-12)
    assert {name: (tmp_path / name).read_bytes() for name in left(tmp_path)} == before


def test_one_format_that_fails_leaves_the_others(run, tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("layer unknown\nand a long trace")

    monkeypatch.setattr("segkit.formats.onnx.write", broken)
    with pytest.raises(NotAll, match="1 of 2 formats failed: onnx"):
        export(run, ["onnx", "saved_model"], tmp_path, images="noise")
    assert (
        "onnx: format=onnx cannot express this model (RuntimeError: layer unknown)." in caplog.text
    )
    assert left(tmp_path) == ["predict_saved_model.py", "saved_model", "saved_model.json"]
    with pytest.raises(ValueError, match="cannot express this model"):
        export(run, "onnx", tmp_path, images="noise")
    # Converters have errors of their own for a disk without room.
    monkeypatch.setattr("segkit.formats.placing.is_full", lambda folder: True)
    with pytest.raises(OSError, match="The disk of .* is full. Nothing was exported"):
        export(run, "onnx", tmp_path / "full", images="noise")
    assert left(tmp_path / "full") == []


def test_files_that_are_wrong_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr("segkit.formats.onnx.runner", lambda path: lambda images: images[:, 1:])
    with pytest.raises(ValueError, match=r"format=onnx: For images \(1, 256, 256, 3\) it should"):
        export(run, "onnx", tmp_path, images="noise")
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"format": "caffe"}, "must be one of onnx, .* or all. Received: 'caffe'"),
        ({"format": []}, "must be one of onnx, .* Received: None"),
        ({"output": "x.tflite"}, "output must be FILE.onnx or a folder here. Received: x.tflite"),
        ({"format": ["onnx", "litert"], "output": "x.onnx"}, "output must be a folder here"),
        ({"format": "saved_model", "output": "x.pb"}, "output must be a folder here"),
        ({"size": [0, 4]}, "size must be a positive number of pixels"),
        ({"run": ["a", "b"]}, "One run is exported at a time. Received: ..a., .b"),
        ({"batch": 0}, "batch must be a whole number"),
        ({"tolerance": 0}, "tolerance must be a number above 0. Received: 0"),
    ],
)
def test_arguments_that_are_wrong(arguments, words, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        export(**{"run": run, **arguments})
    assert left(tmp_path) == []


def test_runs_that_are_none_or_of_other_classes(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds model.keras, config.yaml"):
        export(tmp_path)
    other = make_run(tmp_path / "run")
    LabelSpace(["a", "b"]).to_json(other / "labels.json")
    with pytest.raises(ValueError, match=r"images of 3 channels to 2 classes, .*Received: \(None"):
        export(other)
    (other / "model.keras").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="cannot read .*model.keras as a model"):
        export(other)


def test_without_runtime_or_place(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write to .*file"):
        export(run, output=tmp_path / "file" / "deep", images="noise")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"format=litert needs packages .*'segkit\[export\]'"):
        export(run, "litert", tmp_path)

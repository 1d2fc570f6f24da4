"""Every format computes what Keras does, says what it is, and leaves nothing half done."""

import errno
import json
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

from segkit import formats
from segkit.formats import example, parity, placing
from segkit.formats.probabilities import Probabilities
from segkit.models import fold, recast, unet

ABOUT = {"names": ["Grund", "Gefäß"], "channels": 3, "value_range": None, "thresholds": None}
ABOUT |= {"size": None, "fit": None, "exclusive": True}
TEMPERATURE = 1.7


@pytest.fixture(scope="module")
def everything():
    """All that the network may hold, and images that it must pad: what to write, and by Keras."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.utils.set_random_seed(5)
    first = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
    options = {"encoder": "mobilenetv3small", "attention": True, "dropout": 0.1, **first}
    model = unet(num_classes=3, filters=4, depth=2, **options)
    keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(5)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return subject(fold(recast(model, "float32")))


def subject(model, **options):
    def by_keras(images):
        return np.asarray(keras.ops.softmax(model(images) / TEMPERATURE))

    return Probabilities(model, TEMPERATURE, **options), by_keras


def path_of(name, folder):
    return folder / f"model{formats.SUFFIXES[name]}"


def metadata(name, path):
    """As somebody reads it who has the file alone."""
    if name == "onnx":
        import onnx

        return {prop.key: prop.value for prop in onnx.load(path).metadata_props}["segkit"]
    if name == "saved_model":
        return (path / "assets.extra" / "segkit.json").read_text(encoding="utf-8")
    if name == "litert":
        return zipfile.ZipFile(path).read("segkit.json")
    import openvino

    return openvino.Core().read_model(path).get_rt_info(["segkit"]).astype(str)


@pytest.mark.parametrize("name", formats.FORMATS)
def test_independent_classes_have_a_sigmoid_each(name, tmp_path):
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(2, 3, padding="same")(image))
    written, path = formats.named(name), path_of(name, tmp_path)
    with placing.without_notes():
        written.write(Probabilities(model, TEMPERATURE, exclusive=False), path, ABOUT)
        run = written.runner(path)
        batches = parity.batches(parity.noise(3))
        by_keras = lambda x: np.asarray(keras.ops.sigmoid(model(x) / TEMPERATURE))  # noqa: E731
        assert parity.largest_difference(by_keras, run, batches) < 1e-6
    assert np.abs(run(batches[0]).sum(-1) - 1).max() > 0.1


@pytest.mark.parametrize("name", formats.FORMATS)
def test_it_computes_what_keras_does_on_images_of_any_size(name, everything, tmp_path):
    module, by_keras = everything
    path = path_of(name, tmp_path)
    written = formats.named(name)
    with placing.without_notes():
        written.write(module, path, ABOUT)
        run = written.runner(path)
        batches = parity.batches([parity.noise(3, 1)[0][:48, :37]]) + [np.ones((3, 5, 1, 3), "f")]
        assert parity.largest_difference(by_keras, run, batches) < 2e-6
    assert np.ptp(run(batches[0])[..., 0]) > 0.01  # it does look at the image
    assert json.loads(metadata(name, path)) == ABOUT
    assert {file.name for file in tmp_path.iterdir()} - {"model.bin"} == {path.name}


def test_what_is_fixed_is_fixed(tmp_path):
    module, by_keras = of_one_convolution(layers.ReLU(), size=(20, 12), batch=2)
    onnx = formats.named("onnx")
    onnx.write(module, tmp_path / "a.onnx", ABOUT)
    run = onnx.runner(tmp_path / "a.onnx")
    images = np.random.default_rng(0).random((2, 20, 12, 3), "float32")
    assert parity.largest_difference(by_keras, run, [images]) < 1e-6
    with placing.without_notes(), pytest.raises(Exception, match="invalid dimensions"):
        run(images[:1])


def test_axes_of_onnx_have_names(tmp_path):
    import onnx

    module, _ = of_one_convolution(layers.ReLU())
    formats.named("onnx").write(module, tmp_path / "a.onnx", ABOUT)
    graph = onnx.load(tmp_path / "a.onnx").graph
    shapes = [
        (value.name, [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim])
        for value in (*graph.input, *graph.output)
    ]
    axes = ["batch", "height", "width"]
    assert shapes == [("image", [*axes, 3]), ("probabilities", [*axes, 2])]


def of_one_convolution(activation, **options):
    image = keras.Input((None, None, 3))
    x = activation(layers.Conv2D(4, 3, padding="same")(image))
    return subject(keras.Model(image, layers.Conv2D(2, 1)(x)), **options)


def test_gelu_in_onnx(tmp_path):
    module, by_keras = of_one_convolution(lambda x: layers.Activation("gelu")(5 * x))
    onnx = formats.named("onnx")
    onnx.write(module, tmp_path / "a.onnx", ABOUT)
    batches = parity.batches(parity.noise(3))
    assert parity.largest_difference(by_keras, onnx.runner(tmp_path / "a.onnx"), batches) < 5e-6


def test_operations_that_onnx_lacks_are_named(tmp_path):
    module, _ = of_one_convolution(keras.ops.erfinv)
    with placing.without_notes(), pytest.raises(ValueError, match="no operation for Erfinv of"):
        formats.named("onnx").write(module, tmp_path / "a.onnx", ABOUT)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else name)
    with pytest.raises(ValueError, match=r"not installed: onnx. .* pip install 'segkit\[export\]'"):
        formats.named("onnx")
    with pytest.raises(ValueError, match="format must be one of onnx, .*Received: 'caffe'"):
        formats.named("caffe")


def test_batches_have_two_sizes_and_two_lengths():
    images = [np.full((300, 40, 1), 51, "uint8"), np.full((300, 40, 1), 0.4, "float32")]
    batches = parity.batches(images)
    assert [b.shape for b in batches] == [
        *((1, 256, 40, 1), (2, 256, 40, 1)),
        *((1, 193, 31, 1), (2, 193, 31, 1)),
    ]
    np.testing.assert_allclose(batches[1][:, 0, 0, 0], [0.2, 0.4])
    assert {b.dtype.name for b in batches} == {"float32"}
    (only,) = parity.batches(images[:1], size=(2, 90), batch=3)
    assert only.shape == (3, 2, 90, 1)


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda x: x[:, 1:], r"\(2, 4, 4, 3\) it should give float32 \(2, 4, 4, 3\).*\(2, 3, 4, 3"),
        (lambda x: x.astype("float16"), "Received: float16"),
        (lambda x: x * np.float32("nan"), "values that are no numbers"),
    ],
)
def test_an_answer_of_another_kind_is_no_small_difference(answer, words):
    with pytest.raises(ValueError, match=words):
        parity.largest_difference(lambda x: x, answer, [np.ones((2, 4, 4, 3), "float32")])


def test_the_largest_difference_is_over_all_batches():
    batches = [np.zeros((1, 2, 2, 1), "f"), np.ones((1, 2, 2, 1), "f"), np.zeros((1, 2, 2, 1), "f")]
    found = parity.largest_difference(lambda x: x, lambda x: x * np.float32(1.5), batches)
    assert found == 0.5


# Where files come to stand


def test_nothing_is_left_of_what_failed(tmp_path):
    folder = tmp_path / "new"
    with pytest.raises(RuntimeError, match="broken"), placing.stage(folder) as hidden:
        (hidden / "half").write_text("x")
        raise RuntimeError("broken")
    assert not list(folder.iterdir())


def test_a_full_disk_is_named(tmp_path):
    with pytest.raises(OSError, match="disk of .* is full.*choose another folder with output=DIR"):
        with placing.stage(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="^no disk$"), placing.stage(tmp_path):
        raise OSError("no disk")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write to .*file/x: Not a directory. Choose another"):
        with placing.stage(tmp_path / "file" / "x"):
            pass


def test_files_and_folders_replace_one_another(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    (tmp_path / "b").write_text("old")
    with placing.stage(tmp_path) as hidden:
        (hidden / "a").write_text("new")
        (hidden / "b").mkdir()
        placing.place(hidden, tmp_path, ["a", "b"])
    assert (tmp_path / "a").read_text() == "new" and (tmp_path / "b").is_dir()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


# The example


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size, fit", [(None, None), ([6, 8], "resize"), ([6, 8], "crop")])
@pytest.mark.parametrize("value_range", [None, [0, 4095]])
def test_every_script_is_python_and_short(name, channels, size, fit, value_range):
    about = {**ABOUT, "channels": channels, "size": size, "fit": fit, "value_range": value_range}
    text = example.script(name, "a'\"\n\\.onnx", {**about, "thresholds": {"Grund": 0.5}})
    compile(text, "predict.py", "exec", dont_inherit=True)
    head, _, code = text.partition("from PIL import Image\n")
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    resized, usage, thresholds = fit == "resize", 2, 1
    extra = usage + thresholds + (channels == 1) + 5 * resized
    assert len(lines) <= 10 + extra
    assert max(map(len, text.splitlines())) <= 100 and "{" not in head
    assert ("def resize" in text) == resized


@pytest.mark.parametrize("name", formats.FORMATS)
@pytest.mark.parametrize("thresholds", [None, {"Grund": 0.5}])
def test_scripts_for_independent_classes_are_short(name, thresholds):
    text = example.script(name, "model", {**ABOUT, "exclusive": False, "thresholds": thresholds})
    compile(text, "predict.py", "exec", dont_inherit=True)
    head, _, code = text.partition("from PIL import Image\n")
    lines = [line for line in code.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10 and "argmax" not in code and "MASK.npy" in head

"""Backbones of keras.applications as encoders: equal to Keras', on any image, and what is said."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.applications import efficientnet_v2
from keras.src.utils import file_utils

from segkit.config import compose
from segkit.models import ENCODERS, encoders, normalization, unet

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 64, 64, 3)).astype("float32")
APPS = keras.applications
# One of each family, and where Keras says how its images are prepared.
MODULES = {
    "efficientnetv2b0": APPS.efficientnet_v2,
    "resnet50": APPS.resnet,
    "resnet50v2": APPS.resnet_v2,
    "mobilenetv3small": APPS.mobilenet_v3,
    "convnexttiny": APPS.convnext,
}
CLASSES = {name.lower(): getattr(APPS, name) for name in dir(APPS) if name[0].isupper()}
FILES = {
    "efficientnetv2b0": "efficientnetv2-b0_notop.h5",
    "resnet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "mobilenetv3small": "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
    "convnexttiny": "convnext_tiny_notop.h5",
}


def through(model, layer, images):
    return np.asarray(keras.Model(model.input, model.get_layer(layer).input)(images))


def short_efficientnetv2s():
    """The first block of EfficientNetV2S, whose images are prepared in another way than B0's."""
    return efficientnet_v2.EfficientNetV2(
        *(1.0, 1.0, 64),
        blocks_args=efficientnet_v2.DEFAULT_BLOCKS_ARGS["efficientnetv2-s"][:1],
        name="efficientnetv2-s",
        include_top=False,
        weights=None,
        input_shape=(64, 64, 3),
    )


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Name -> (the model of Keras, its weights stirred; their file; the U-Net on them)."""
    done = {}

    def found(name):
        if name not in done:
            keras.utils.set_random_seed(1)
            backbone = CLASSES[name](include_top=False, weights=None, input_shape=(64, 64, 3))
            numbers = np.random.default_rng(1)
            for weight in backbone.weights:
                noise = numbers.standard_normal(weight.shape)
                weight.assign(weight.numpy() * (1 + 0.1 * noise) + 0.01 * noise)
            file = tmp_path_factory.mktemp(name) / "file.weights.h5"
            backbone.save_weights(file)
            done[name] = backbone, file, unet(encoder=name, filters=2, depth=5, weights=str(file))
        return done[name]

    return found


def test_every_variant_of_the_families_is_there():
    stems = ("EfficientNetV2", "ResNet", "MobileNetV3", "ConvNeXt")
    there = {name.lower() for name in dir(APPS) if name.startswith(stems)}
    assert set(ENCODERS) == there and len(there) == 20


@pytest.mark.parametrize("name", MODULES)
def test_features_are_those_of_keras(build, name):
    """Preprocessing, weights, BGR, batch normalisation and tapping at once."""
    backbone, _, model = build(name)
    prepared = MODULES[name].preprocess_input(IMAGES.copy())
    expected = np.asarray(backbone(prepared))
    assert expected.std() > 1e-3
    received = through(model, "up4", IMAGES / 255)
    np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-3 * expected.std())


@pytest.mark.parametrize("name", [*MODULES, "efficientnetv2s"])
def test_preprocessing_is_that_of_keras(build, name):
    mean, std = encoders.preprocessing(name, 3)
    received = (IMAGES / 255 - mean) / std
    if name in ("resnet50", "resnet50v2"):
        expected = MODULES[name].preprocess_input(IMAGES.copy())
        expected = expected[..., ::-1] if name == "resnet50" else expected  # was BGR
    else:  # it is inside the model, up to its first convolution
        model = short_efficientnetv2s() if name == "efficientnetv2s" else build(name)[0]
        first = next(layer for layer in model.layers if layer.weights)
        expected = through(model, first.name, IMAGES)
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODULES)
def test_skips_have_the_size_of_their_level(build, name):
    model = build(name)[2]
    least = 2 if name == "convnexttiny" else 1
    for level in range(5):
        names = [layer.name for layer in model.layers]
        assert (f"up{level}_join" in names) == (level >= least)
    for level in range(least, 5):
        skip, below = model.get_layer(f"up{level}_join").input
        sizes = keras.Model(model.input, [skip, below])(IMAGES / 255)
        assert [part.shape[1:3] for part in sizes] == [(64 >> level, 64 >> level)] * 2


@pytest.mark.parametrize("name", MODULES)
def test_gradient_flows_to_all_weights(build, name):
    model = build(name)[2]
    before = model.get_weights()
    images = RNG.random((8, 32, 32, 3), "float32")  # so many that no block is dropped for all
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(images, training=True)))
    gradients = tape.gradient(loss, model.trainable_weights)
    model.set_weights(before)  # the moving statistics, for the other tests
    for weight, gradient in zip(model.trainable_weights, gradients):
        assert gradient is not None and np.isfinite(gradient).all(), weight.path
        assert np.any(gradient), weight.path


@pytest.mark.parametrize("name", MODULES)
def test_layers_are_named_and_normalised_by_us(build, name):
    model = build(name)[2]
    kinds = [type(layer) for layer in model.layers]
    assert keras.layers.BatchNormalization not in kinds
    momenta = {la.momentum for la in model.layers if type(la) is normalization.BatchNormalization}
    assert momenta == {0.9}
    inside = [op.name.startswith(encoders.PREFIX) for op in model.operations]
    outside = [op.name for op, own in zip(model.operations, inside) if not own]
    assert sum(inside) > 100
    assert {name.split("_")[0] for name in outside} <= {"image", "logits"} | {
        f"up{level}" for level in range(5)
    }


@pytest.mark.parametrize("name", ["efficientnetv2b0", "mobilenetv3small", "convnexttiny"])
def test_survives_saving_for_images_of_any_size(build, name, tmp_path):
    model = build(name)[2]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", compile=False)
    images = RNG.random((1, 37, 50, 3), "float32")
    logits = np.asarray(model(images))
    assert logits.shape == (1, 37, 50, 4) and logits.std() > 0
    np.testing.assert_array_equal(logits, again(images))
    assert model(images[:, :1, :1]).shape == (1, 1, 1, 4)


@pytest.mark.parametrize("name", ["mobilenetv3small", "convnexttiny"])
def test_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = unet(encoder=name, filters=2, depth=3)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = model(IMAGES / 255)
    assert logits.dtype == "float32" and np.isfinite(logits).all()
    assert model.get_layer("image_norm").compute_dtype == "float32"
    inner = [layer for layer in model.layers if layer.name.startswith(encoders.PREFIX)]
    assert {layer.compute_dtype for layer in inner} == {"bfloat16"}


def test_names_do_not_depend_on_what_was_built_before(build):
    deep = [op.name for op in build("mobilenetv3small")[2].operations]
    shallow = unet(encoder="MobileNetV3-Small", filters=2, depth=3)
    names = [op.name for op in shallow.operations if op.name.startswith(encoders.PREFIX)]
    assert set(names) < set(deep)
    assert shallow.get_layer("up2").input.shape[-1] == 96


def test_random_weights_repeat_with_the_seed():
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        models.append(unet(encoder="mobilenetv3small", filters=2, depth=2))
    for one, other in zip(*(model.get_weights() for model in models)):
        np.testing.assert_array_equal(one, other)


def test_a_grey_image_is_as_if_repeated_three_times(build, caplog):
    _, file, model = build("mobilenetv3small")
    with caplog.at_level(logging.INFO, "segkit.models.encoders"):
        grey = unet(
            (None, None, 1), encoder="mobilenetv3small", filters=2, depth=5, weights=str(file)
        )
    assert "learnt on 3 channels. With 1, each channel" in caplog.text
    assert "Encoder mobilenetv3small: 938,832 parameters." in caplog.text
    images = IMAGES[..., :1] / 255
    expected = through(model, "up4", np.repeat(images, 3, axis=-1))
    np.testing.assert_allclose(through(grey, "up4", images), expected, rtol=1e-3, atol=1e-5)


def test_other_channels_share_what_the_three_had(build):
    backbone, file, _ = build("resnet50")
    five = unet((None, None, 5), encoder="resnet50", filters=2, depth=1, weights=str(file))
    kernel = five.get_layer("encoder_conv1_conv").kernel.numpy()
    learnt = backbone.get_layer("conv1_conv").kernel.numpy()
    assert kernel.shape == (7, 7, 5, 64)
    np.testing.assert_allclose(kernel.sum(axis=2), learnt.sum(axis=2), atol=1e-5)
    np.testing.assert_array_equal(kernel[:, :, 0], kernel[:, :, 4])
    assert five.get_layer("image_norm").mean.shape == (1, 1, 1, 5)


def test_numbers_of_the_user_replace_those_of_the_family():
    own = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 4.0]}
    model = unet(encoder="mobilenetv3small", filters=2, depth=1, **own)
    first = keras.Model(model.input, model.get_layer("image_norm").output)
    np.testing.assert_allclose(
        first(IMAGES / 255), (IMAGES / 255 - own["mean"]) / own["std"], rtol=1e-4, atol=1e-6
    )


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """Keras' cache in a folder of its own, and no network; what was asked of it."""
    asked = []

    def get_file(fname, origin, **options):
        asked.append(fname)
        raise Exception(f"URL fetch failure on {origin}: None -- no route to host")

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    return asked


@pytest.mark.parametrize("name", FILES)
def test_offline_says_which_file_is_missing(name, offline, tmp_path):
    with pytest.raises(ValueError) as caught:
        unet(encoder=name, weights="imagenet")
    words, folder = str(caught.value), tmp_path / "models"
    assert offline == [FILES[name]]
    assert (
        f"ImageNet weights of {name} could not be had: {folder / FILES[name]} was missing" in words
    )
    assert f"no route to host. Put the file {FILES[name]} into the folder {folder} " in words
    assert "model.weights to the path of the file, or model.weights=null" in words


def test_offline_says_that_the_file_in_the_cache_is_damaged(offline, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / FILES["mobilenetv3small"]).write_bytes(b"half")
    with pytest.raises(ValueError, match="top_v2.h5 was incomplete or of another version, and the"):
        unet(encoder="mobilenetv3small", weights="imagenet")


def test_imagenet_weights_come_from_keras(build, monkeypatch):
    _, file, expected = build("mobilenetv3small")
    monkeypatch.setattr(file_utils, "get_file", lambda *given, **options: str(file))
    model = unet(encoder="mobilenetv3small", filters=2, depth=5, weights="imagenet")
    np.testing.assert_array_equal(
        through(model, "up4", IMAGES / 255), through(expected, "up4", IMAGES / 255)
    )


def test_files_that_hold_no_such_weights(build, tmp_path):
    file = build("mobilenetv3small")[1]
    half = tmp_path / "half.weights.h5"
    half.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="half.weights.h5 does not hold weights of mobile.*trunc"):
        unet(encoder="mobilenetv3small", weights=str(half))
    with pytest.raises(
        ValueError, match="file.weights.h5 does not hold weights of efficientnetv2b0"
    ):
        unet(encoder="efficientnetv2b0", weights=str(file))
    with pytest.raises(ValueError, match="null, imagenet, or the path.*'x.h5'; no file"):
        unet(encoder="mobilenetv3small", weights="x.h5")
    with pytest.raises(ValueError, match="ends in none of .h5, .hdf5, .keras"):
        unet(encoder="mobilenetv3small", weights=__file__)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"encoder": "vgg16"}, "null, for the plain U-Net, or one of efficientnetv2b0, .*'vgg16'"),
        ({"encoder": 50}, "one of .*convnextxlarge. Received: 50"),
        ({"encoder": "mobilenetv3small", "depth": 6}, "from 1 to 5: .* 2, 4, 8, 16, 32, .*: 6"),
        ({"encoder": "convnexttiny", "depth": 1}, "from 2 to 5: .* strides 4, 8, 16, 32, .*: 1"),
        ({"weights": "imagenet"}, "the plain U-Net has none. .*weights='imagenet'.*model.encoder"),
        (
            {"encoder": "resnet50", "weights": "imagenet", "mean": [0] * 3, "std": [1] * 3},
            r"normalised its own way.*mean \[0, 0, 0\].*Set normalization=none, or model.weights=n",
        ),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        unet(**options)


@pytest.mark.parametrize("choice", ["efficientnetv2", "resnet50", "mobilenetv3", "convnext"])
def test_presets_ask_for_what_there_is(choice):
    node = compose("train", [f"model=unet_{choice}"]).model
    assert node.encoder in ENCODERS and node.weights == "imagenet"
    assert set(node) == set(compose("train").model)

"""Freezing layers, and starting from the weights of another run."""

import logging
import shutil

import keras
import numpy as np
import pytest
import yaml

from segkit import models, transfer
from segkit.labels import LabelSpace

NAMES = ["background", "ellipse", "rectangle"]
SMALL = {"filters": 4, "depth": 1}


def unet(names=NAMES, channels=3, seed=0, **changes):
    keras.utils.set_random_seed(seed)
    options = {**SMALL, **changes}
    return models.unet(input_shape=(None, None, channels), num_classes=len(names), **options)


def images(channels=3):
    return np.random.default_rng(0).random((2, 8, 8, channels)).astype("float32")


def logits(model, x):
    return np.asarray(model(x, training=False))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run folder, and the model in it: with weights that are no first ones."""
    folder, model, rng = tmp_path_factory.mktemp("run"), unet(seed=7), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(np.asarray(weight) + rng.uniform(0.1, 0.5, weight.shape))
    model.save(folder / "model.keras")
    LabelSpace(NAMES).to_json(folder / "labels.json")
    settings = {"model": {"_target_": "segkit.models.unet", **SMALL}, "seed": 0}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return folder, model


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


# Starting from a run


def test_the_same_classes_give_the_same_model(finished, said):
    folder, old = finished
    model = unet()
    taken = transfer.start_from(model, folder, LabelSpace(NAMES))
    np.testing.assert_array_equal(logits(model, images()), logits(old, images()))
    assert taken.classes == tuple(NAMES) and taken.anew == taken.adapted == ()
    assert "logits" not in taken.layers and "down0_norm_a" in taken.layers
    count = sum(weight.shape.num_elements() for weight in (k.value for k in old.weights))
    count -= old.get_layer("logits").count_params()
    assert f"layers with {count:,} of {count:,} parameters taken over\n" in said.text
    assert "head: taken over: background, ellipse, rectangle\n" in said.text


def test_classes_are_kept_by_name(finished, said):
    """Another order, one class less, one more: each channel knows what its class knew."""
    folder, old = finished
    names = ["rectangle", "circle", "background"]
    model, fresh = unet(names), unet(names)
    taken = transfer.start_from(model, folder / "model.keras", LabelSpace(names, background=2))
    found, expected = logits(model, images()), logits(old, images())
    np.testing.assert_array_equal(found[..., [0, 2]], expected[..., [2, 0]])
    head, untouched = model.get_layer("logits"), fresh.get_layer("logits")
    np.testing.assert_array_equal(head.kernel[..., 1], untouched.kernel[..., 1])
    assert taken.classes == ("rectangle", "background")
    assert "head: taken over: rectangle, background; anew: circle; given up: ellipse" in said.text


def test_classes_that_share_no_name_begin_anew(finished, said):
    names = ["a", "b", "c"]  # as many as in the run
    model, fresh = unet(names), unet(names)
    assert transfer.start_from(model, finished[0], LabelSpace(names)).classes == ()
    heads = [each.get_layer("logits").kernel for each in (model, fresh)]
    np.testing.assert_array_equal(*heads)
    assert "head: anew: a, b, c; given up: background, ellipse, rectangle" in said.text


def test_without_labels_the_head_begins_anew(finished, tmp_path, said):
    shutil.copy(finished[0] / "model.keras", tmp_path / "other.keras")
    taken = transfer.start_from(unet(), tmp_path / "other.keras", LabelSpace(NAMES))
    assert taken.classes == () and len(taken.layers) > 5
    assert "head: anew, as no labels.json beside the model says what its classes" in said.text


def test_grey_images_after_colour(finished, said):
    folder, old = finished
    model, grey = unet(channels=1), images(1)
    taken = transfer.start_from(model, folder, LabelSpace(NAMES))
    assert taken.adapted == ("down0_conv_a",) and taken.anew == ()
    np.testing.assert_allclose(
        logits(model, grey), logits(old, grey.repeat(3, axis=-1)), rtol=1e-4, atol=1e-4
    )
    assert "down0_conv_a: images have 1 channels, and had 3: each channel takes the" in said.text


def test_what_does_not_fit_begins_anew_if_it_is_little(finished, said):
    folder, old = finished
    model = unet()
    x = keras.layers.Conv2D(3, 3, padding="same", name="extra")(model.layers[-2].output)
    model = keras.Model(model.input, keras.layers.Conv2D(3, 1, name="logits")(x))
    taken = transfer.start_from(model, folder, LabelSpace(NAMES))
    assert taken.anew == ("extra",) and taken.classes == ()
    assert "parameters taken over; anew: extra\n" in said.text
    kernels = [each.get_layer("bottom_conv_a").kernel for each in (model, old)]
    np.testing.assert_array_equal(*kernels)


def test_another_network_is_refused_with_the_keys_that_differ(finished):
    folder, _ = finished
    settings = {"model": {"_target_": "segkit.models.unet", "filters": 6, "depth": 1}, "seed": 3}
    words = r"fit 0 of 13 layers \(0% of the param.* model.filters is 4 there and 6 here. Set the"
    before = unet(filters=6)
    with pytest.raises(ValueError, match=words) as error:
        transfer.start_from(before, folder, LabelSpace(NAMES), settings)
    assert "seed" not in str(error.value) and "depth" not in str(error.value)
    np.testing.assert_array_equal(logits(before, images()), logits(unet(filters=6), images()))
    with pytest.raises(ValueError, match=r"fit 0 of 13 layers \(0% of the parameters\).$"):
        transfer.start_from(before, folder, LabelSpace(NAMES))


def test_another_normalisation_inside_is_refused(finished):
    settings = {"model": {**SMALL, "_target_": "segkit.models.unet", "normalization": "none"}}
    with pytest.raises(ValueError, match="model.normalization is None there and none here"):
        transfer.start_from(unet(normalization="none"), finished[0], LabelSpace(NAMES), settings)


def test_what_is_not_there_is_named(finished, tmp_path):
    model, labels = unet(), LabelSpace(NAMES)
    with pytest.raises(FileNotFoundError, match="nowhere/model.keras, it is not there"):
        transfer.start_from(model, tmp_path / "nowhere", labels)
    with pytest.raises(FileNotFoundError, match="a.keras, it is not there"):
        transfer.start_from(model, tmp_path / "a.keras", labels)
    shutil.copy(finished[0] / "config.yaml", tmp_path)
    with pytest.raises(FileNotFoundError, match="that run did not finish an epoch"):
        transfer.start_from(model, tmp_path, labels)
    with pytest.raises(ValueError, match="a run folder or a .keras file. Received: .*config.yaml"):
        transfer.start_from(model, tmp_path / "config.yaml", labels)


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "no weights"])
def test_a_damaged_file_is_named(finished, tmp_path, damage):
    whole = (finished[0] / "model.keras").read_bytes()
    content = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "text": b"not a model",
        "no weights": whole.replace(b"model.weights.h5", b"model.weights.h6"),
    }[damage]
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*model.keras as a model \(.*It is damaged"):
        transfer.start_from(unet(), tmp_path, LabelSpace(NAMES))


def test_damaged_labels_are_named(finished, tmp_path):
    shutil.copy(finished[0] / "model.keras", tmp_path)
    (tmp_path / "labels.json").write_text("{")
    with pytest.raises(ValueError, match="labels.json"):
        transfer.start_from(unet(), tmp_path, LabelSpace(NAMES))


def test_no_code_of_a_file_is_run(tmp_path):
    image = keras.Input((None, None, 3))
    hidden = keras.layers.Lambda(lambda x: x + 1, output_shape=(None, None, 3))(image)
    keras.Model(image, keras.layers.Conv2D(3, 1, name="logits")(hidden)).save(
        tmp_path / "model.keras"
    )
    with pytest.raises(ValueError, match="cannot read .*model.keras as a model .*[Ll]ambda"):
        transfer.start_from(unet(), tmp_path, LabelSpace(NAMES))


def test_weights_that_are_no_numbers_are_refused(finished, tmp_path):
    model = unet()
    model.get_layer("up0_norm_a").gamma.assign([1, np.nan, 1, 1])
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="the weights of up0_norm_a in .* are not all numbers"):
        transfer.start_from(unet(), tmp_path, LabelSpace(NAMES))


def normalised(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)):
    return unet(mean=list(mean), std=list(std))


@pytest.mark.parametrize(
    "new, words",
    [
        (
            lambda: normalised(mean=(0.2, 0.2, 0.3)),
            "this run's own mean and std are used; that run had others. To keep those: "
            "normalization=fixed normalization.mean=[0.1,0.2,0.3] normalization.std=[0.4,0.5,0.6]",
        ),
        (unet, "normalization: that run normalised its images, and this one does not."),
        (normalised, None),
    ],
)
def test_another_normalization_of_images_is_told(tmp_path, said, new, words):
    normalised().save(tmp_path / "model.keras")
    LabelSpace(NAMES).to_json(tmp_path / "labels.json")
    transfer.start_from(new(), tmp_path, LabelSpace(NAMES))
    assert words in said.text if words else "normalization:" not in said.text


def test_a_run_that_did_not_normalise_is_told(finished, said):
    transfer.start_from(normalised(), finished[0], LabelSpace(NAMES))
    assert "this run normalises its images, and that one did not." in said.text


# Freezing


def test_frozen_layers_stay_as_they_are_and_the_others_learn(said):
    model = unet()
    frozen = transfer.freeze(model, ["down", "bottom_(conv|norm)_a$"])
    assert frozen == [f"down0_{kind}_{step}" for step in "ab" for kind in ("conv", "norm")] + [
        "bottom_conv_a",
        "bottom_norm_a",
    ]
    before = {weight.path: np.array(weight) for weight in model.weights}
    model.compile("sgd", "mse", jit_compile=False)
    model.fit(images(), np.ones((2, 8, 8, 3)), epochs=2, verbose=0)
    same = {k.path.split("/")[-2] for k in model.weights if np.array_equal(k, before[k.path])}
    assert same == set(frozen)
    share = sum(model.get_layer(name).count_params() for name in frozen)
    assert (
        f"frozen: 6 of 14 layers with weights, {share:,} of {model.count_params():,}" in said.text
    )
    assert "(down0_conv_a, down0_norm_a, down0_conv_b, down0_norm_b and 2 more)" in said.text


def test_frozen_normalisations_use_what_they_remember():
    model = unet()
    transfer.freeze(model, "down")
    part = keras.Model(model.input, model.get_layer("down0_relu_b").output)
    training, running = (np.asarray(part(images(), training=mode)) for mode in (True, False))
    np.testing.assert_array_equal(training, running)


def test_an_encoder_is_frozen_by_its_name():
    """Layers of a model inside the model, too."""
    image = keras.Input((4, 4, 3))
    inner = keras.Sequential([keras.layers.Conv2D(2, 1, name="encoder_inner")], name="stem")
    x = keras.layers.Conv2D(2, 1, name="encoder_conv")(inner(image))
    x = keras.layers.Conv2D(2, 1, name="decoder_of_encoder")(x)
    model = keras.Model(image, x)
    assert transfer.freeze(model, ["encoder"]) == ["encoder_inner", "encoder_conv"]
    assert {v.path.split("/")[-2] for v in model.trainable_variables} == {"decoder_of_encoder"}


def test_freezing_nothing_changes_nothing(said):
    model = unet()
    assert transfer.freeze(model, []) == [] and said.text == ""


@pytest.mark.parametrize(
    "patterns, words",
    [
        (["encoder"], "Received: 'encoder', which fits none of 14, such as "),
        (["down0_conv_c$"], "such as down0_conv_b, down0_conv_a,"),
        (["down0_pool"], "needs the beginning of the name of a layer with weights"),
        (["onv_a"], "fits none of 14"),
        (["down("], r"takes regular expressions. Received: 'down\(' \(missing \)"),
        ([3], "takes regular expressions. Received: 3"),
        (
            [""],
            r"leaves nothing to train. Received: \[''\], which fits all 14.* Let at least logits",
        ),
        (["down", "bottom", "up", "logits"], "leaves nothing to train"),
    ],
)
def test_what_cannot_be_frozen_is_named(patterns, words):
    model = unet()
    with pytest.raises(ValueError, match=words):
        transfer.freeze(model, patterns)
    assert all(layer.trainable for layer in model.layers)

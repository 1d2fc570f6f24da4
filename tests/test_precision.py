"""The same weights in another precision: equal to what is built there in the first place."""

import keras
import numpy as np
import pytest
from keras import layers

from segkit.models import fold, recast, unet
from segkit.models.precision import PRECISIONS

IMAGES = np.random.default_rng(0).random((1, 21, 34, 3), "float32")
MODELS = {
    "gates": {"attention": True, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "dropout": 0.1},
    "mobilenetv3small": {"encoder": "mobilenetv3small"},
    "convnexttiny": {"encoder": "convnexttiny"},  # with a Sequential inside
}


def built(precision, options):
    """The same model for every precision: weights are drawn in float32."""
    keras.config.set_dtype_policy(PRECISIONS[precision])
    keras.utils.set_random_seed(3)
    model = unet(num_classes=3, filters=4, **{"depth": 2, **options})
    rng = np.random.default_rng(3)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("options", MODELS.values(), ids=MODELS)
def test_it_is_what_would_have_been_built(options):
    models = {precision: built(precision, options) for precision in PRECISIONS}
    answers = {precision: np.asarray(model(IMAGES)) for precision, model in models.items()}
    assert 1e-5 < np.abs(answers["float32"] - answers["bfloat16"]).max() < 0.2
    for there, wanted in (("float32", "bfloat16"), ("bfloat16", "float32")):
        keras.config.set_dtype_policy(PRECISIONS[there])  # that of the process does not matter
        before = models[there].get_weights()
        copy = recast(models[there], wanted)
        np.testing.assert_array_equal(copy(IMAGES), answers[wanted])
        np.testing.assert_array_equal(models[there](IMAGES), answers[there])
        for one, other in zip(before, copy.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_layers_that_need_it_stay_in_float32():
    model = recast(built("float32", MODELS["gates"]), "bfloat16")
    kept = {l.name for l in model.layers if l.compute_dtype == "float32"} - {"image"}  # noqa: E741
    assert kept == {"image_norm", "logits"} and model.output.dtype == "float32"
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert model.get_layer("up0").compute_dtype == "bfloat16"


def test_it_folds_saves_and_comes_back(tmp_path):
    model = built("bfloat16", MODELS["gates"])
    exact = built("float32", MODELS["gates"])(IMAGES)
    model.compile(loss="mse")
    folded = fold(recast(model, "float32"))
    np.testing.assert_allclose(folded(IMAGES), exact, atol=1e-4)
    copy = recast(folded, "bfloat16")
    assert not copy.compiled
    copy.save(tmp_path / "copy.keras")
    again = keras.models.load_model(tmp_path / "copy.keras")
    np.testing.assert_array_equal(again(IMAGES), copy(IMAGES))


def test_adapted_normalization_and_plain_operations_come_along():
    image = keras.Input((None, None, 3))
    norm = layers.Normalization()
    norm.adapt(100 * IMAGES)
    inner = keras.Sequential([layers.Conv2D(4, 3), layers.Conv2D(2, 1)], name="inner")
    model = keras.Model(image, inner(keras.ops.relu(norm(image) * 2.0)))
    copy = recast(recast(model, "bfloat16"), "float32")
    np.testing.assert_array_equal(copy(IMAGES), model(IMAGES))
    half = recast(model, "bfloat16")
    assert half.output.dtype == "float32"
    kinds = [layer.compute_dtype for layer in half.get_layer("inner").layers[1:]]
    assert kinds == ["bfloat16", "float32"]


def test_what_cannot_be_recast_is_refused():
    model = built("float32", {})
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16. Received: 'half'"):
        recast(model, "half")
    with pytest.raises(ValueError, match="needs a functional model.* Received: Sequential"):
        recast(keras.Sequential([layers.Dense(1)]), "float32")
    with pytest.raises(ValueError, match="needs a functional model.* Received: Model"):
        recast(type("Model", (keras.Model,), {})(), "float32")
    image = keras.Input((4, 3))
    wrapped = keras.Model(image, layers.TimeDistributed(layers.Dense(2), name="each")(image))
    with pytest.raises(ValueError, match="Received: each, a TimeDistributed that is quantized or"):
        recast(wrapped, "bfloat16")

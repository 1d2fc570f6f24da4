"""Center loss: its layer against loops, the models it makes, in the loop, and from the config."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segkit import loop as loops
from segkit.averaging import Average
from segkit.contract import LABELLED, UNKNOWN, Sample
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace
from segkit.loop import Loop
from segkit.losses import CrossEntropy
from segkit.metrics import MeanIoU, scatter_ratio
from segkit.models import CenterLoss, unet, with_center_loss
from segkit.models.centers import certain_labels

NAMES = ["background", "cell", "rim"]


def certain_at(t):
    """The label of a pixel with the target t (C,) if it is beyond doubt, else None."""
    labels = np.flatnonzero(t == LABELLED)
    return labels[0] if len(labels) == 1 and not (t == UNKNOWN).any() else None


def twin(target, features, centers):
    """The loss of each image, from the formula, with loops and in float64."""
    values = []
    for t, x in zip(target, np.asarray(features, "float64")):
        total, judged = 0.0, 0
        for at in np.ndindex(t.shape[:2]):
            judged += bool((t[at] != UNKNOWN).any())
            if (c := certain_at(t[at])) is not None:
                total += ((x[at] - centers[c]) ** 2).sum() / 2
        values.append(total / max(judged, 1))
    return np.array(values)


def moved(target, features, centers, alpha=0.5, shares=None):
    """The centres after a batch, from the rule of the article."""
    new = np.array(centers, "float64")
    for c in range(len(centers)):
        difference, count = 0.0, 0
        for b, at in ((b, at) for b in range(len(target)) for at in np.ndindex(target.shape[1:3])):
            if certain_at(target[b][at]) == c and (shares is None or shares[b] > 0):
                difference, count = difference + centers[c] - features[b][at], count + 1
        new[c] -= alpha * difference / (1 + count)
    return new


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(4).normal(size=(4, 6, 5, 3)).astype("float32")


def placed(layer, target, features, centers=None):
    """The layer, built, with its centres somewhere."""
    layer.build(target.shape, features.shape, target.shape)
    if centers is None:
        centers = np.random.default_rng(5).normal(size=layer.centers.shape)
    layer.centers.assign(centers)
    return np.array(layer.centers, "float64")


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_it_equals_its_twin(batch, features, alpha):
    target, logits = batch
    layer = CenterLoss(weight=0.3, alpha=alpha)
    before = placed(layer, target, features)
    out, values = layer(logits, features, target, training=True)
    expected = twin(target, features, before)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    np.testing.assert_allclose(layer.losses, [0.3 * expected.mean()], rtol=1e-5)
    np.testing.assert_allclose(layer.centers, moved(target, features, before, alpha), atol=1e-5)
    np.testing.assert_array_equal(out, logits)
    assert expected[3] == 0 < expected[0]  # of an image that nobody judged


def test_a_case_by_hand():
    """Three pixels, and one that is in doubt: 1/(2*4) (1 + 4 + 1), and c_0 moves by 2/(1 + 2)."""
    target = np.array([[1, 0], [1, 0], [0, 1], [1, -1]], "int8").reshape(1, 1, 4, 2)
    features = np.array([1.0, 3.0, 5.0, 100.0], "float32").reshape(1, 1, 4, 1)
    layer = CenterLoss(weight=2, alpha=1)
    placed(layer, target, features, [[1.0], [4.0]])
    _, values = layer(target, features, target, training=True)
    assert values.numpy().tolist() == [5 / 8] and layer.losses[0].numpy() == 5 / 4
    np.testing.assert_allclose(layer.centers, [[1 + 2 / 3], [4 + 1 / 2]], rtol=1e-6)


def test_what_is_certain():
    target = np.array([[1, 0, 0], [1, -1, 0], [0, -1, -1], [-1, -1, -1], [1, 1, 0], [0, 0, 0]])
    found = np.asarray(certain_labels(target.astype("int8")[None, None]))[0, 0]
    assert found.any(-1).tolist() == [True, False, False, False, False, False]
    assert found[0].tolist() == [True, False, False]


def test_centres_stay_without_training_when_frozen_and_where_a_class_is_not_there(batch, features):
    target, logits = batch
    for training, trainable in ((False, True), (None, True), (True, False)):
        layer = CenterLoss(trainable=trainable)
        before = placed(layer, target, features)
        _, values = layer(logits, features, target, training=training)
        np.testing.assert_allclose(layer.centers, before, rtol=1e-6)
        np.testing.assert_allclose(values, twin(target, features, before), rtol=1e-5)
    layer, absent = CenterLoss(), np.where(target[..., 2:3] == LABELLED, -1, target)
    before = placed(layer, target, features)
    layer(logits, features, absent.astype("int8"), training=True)
    change = np.abs(np.asarray(layer.centers) - before).max(axis=1) > 1e-6
    assert change.tolist() == [True, True, False, True]


def test_shares_of_images_in_the_loss(batch, features):
    """An image of share 0 neither counts nor moves a centre; others move them alike."""
    target, logits = batch
    shares = np.array([0.5, 0.0, 2.0, 0.1], "float32")
    layer = CenterLoss(weight=0.2)
    before = placed(layer, target, features)
    layer(logits, features, target, shares, training=True)
    values = twin(target, features, before)
    np.testing.assert_allclose(layer.losses, [0.2 * (values * shares).sum()], rtol=1e-5)
    np.testing.assert_allclose(
        layer.centers, moved(target, features, before, shares=shares), atol=1e-5
    )


def test_in_parts_the_centres_move_once(batch, features):
    target, logits = batch
    layer = CenterLoss(accumulate=2)
    before = placed(layer, target, features)
    for _ in range(2):  # whatever waited is gone after a step
        start = np.array(layer.centers)
        layer(logits[:3], features[:3], target[:3], training=True)
        np.testing.assert_array_equal(layer.centers, start)
        layer(logits[3:], features[3:], target[3:], training=True)
        before = moved(target, features, before)
        np.testing.assert_allclose(layer.centers, before, atol=1e-5)


def test_the_gradient_pulls_and_is_no_nan(batch, features):
    """d loss[b] / dx = (x - c) / N at certain pixels, 0 elsewhere, NaN nowhere."""
    target, logits = batch
    layer = CenterLoss(weight=1)
    before = placed(layer, target, features)
    spoilt = np.where((target == UNKNOWN).all(-1)[..., None], np.nan, features)
    x = tf.constant(spoilt)
    with tf.GradientTape() as tape:
        tape.watch(x)
        layer(logits, x, target, training=True)
        loss = layer.losses[0]
    found = tape.gradient(loss, x).numpy()
    at = (0, 3, 2)
    judged = (target[0] != UNKNOWN).any(-1).sum()
    pull = (features[at] - before[certain_at(target[at])]) / judged / len(target)
    np.testing.assert_allclose(found[at], pull, rtol=1e-4)
    certain = np.asarray(certain_labels(target)).any(-1)
    assert np.isfinite(found).all() and not found[~certain].any()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"weight": -1}, "weight of CenterLoss must be a number from 0 on. Received: -1"),
        (
            {"weight": float("nan")},
            "weight of CenterLoss must be a number from 0 on. Received: nan",
        ),
        ({"alpha": 2}, "alpha of CenterLoss must be a number from 0 to 1. Received: 2"),
        ({"accumulate": 0}, "accumulate of CenterLoss must be a whole number from 1 on. Received"),
    ],
)
def test_numbers_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        CenterLoss(**options)


def test_shapes_that_do_not_fit(batch, features):
    target, logits = batch
    with pytest.raises(ValueError, match=r"features of each pixel of the target. Received: featu"):
        CenterLoss()(logits, features[:, :3], target)
    with pytest.raises(ValueError, match=r"needs logits and a target \(B, H, W, C\), and features"):
        CenterLoss()(logits, features[..., 0], target)


class Listed(list):
    labels = LabelSpace(NAMES)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (7, 8, 8, 3), dtype=np.uint8)
    annotated = rng.random((7, 3)) < 0.8
    annotated[:, 0] = True
    return Listed(
        Sample(image, np.where(looked, 1, 0)[rng.integers(0, 3, (8, 8))] * 1, looked, weight=weight)
        for image, looked, weight in zip(images, annotated, [1.0, 0.0, 2.5, 1.0, 0.5, 3.0, 1.0])
    )


@pytest.fixture(scope="module")
def fitted(source):
    """A network, and the model it was trained in by Keras, with what was logged."""
    keras.utils.set_random_seed(1)
    network = unet(num_classes=3, filters=4, depth=0)
    model = with_center_loss(network)
    model.compile("adam", CrossEntropy())
    data = batches(source, 4).map(lambda image, target: ((image, target), target))
    log = model.fit(data, validation_data=data, epochs=2, shuffle=False, verbose=0).history
    return network, model, log


def test_keras_fit_logs_it_and_adds_it(fitted, source):
    network, model, log = fitted
    assert set(log) == {"loss", "center_loss", "val_loss", "val_center_loss"}
    layer = model.get_layer("center_loss")
    assert np.abs(layer.centers).max() > 0 and layer.trainable_weights == []
    images = np.stack([s.image for s in source]) / np.float32(255)
    (target,) = [t for _, t in batches(source, 7)]
    seen = keras.Model(network.input, network.get_layer("logits").input)
    center = twin(np.asarray(target), seen(images), np.asarray(layer.centers))
    main = np.asarray(CrossEntropy(reduction=None)(target, network(images)))
    assert log["val_center_loss"][-1] == pytest.approx(center.mean(), rel=1e-4)
    # Keras adds to the mean loss of the images the mean over batches, of 4 and 3.
    added = np.average([center[:4].mean(), center[4:].mean()], weights=[4, 3])
    assert log["val_loss"][-1] == pytest.approx(main.mean() + 0.2 * added, rel=1e-3)


def test_it_is_saved_and_loaded(fitted, source, tmp_path):
    network, model, _ = fitted
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    for one, other in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    images, target = next(iter(batches(source, 3)))
    np.testing.assert_array_equal(loaded([images, target]), network(images))
    assert loaded.get_layer("center_loss").get_config() == (
        model.get_layer("center_loss").get_config()
    )


def test_features_of_another_layer_and_networks_that_have_none():
    network = unet((8, 8, 3), num_classes=3, filters=2, depth=1)
    model = with_center_loss(network, features="down0_conv_a")
    assert model.get_layer("center_loss").centers.shape == (3, 2)
    with pytest.raises(ValueError, match="There is no layer 'nose' .* ends with .*logits"):
        with_center_loss(network, features="nose")
    with pytest.raises(ValueError, match="features of each pixel of the target"):
        with_center_loss(network, features="bottom_conv_a")
    with pytest.raises(ValueError, match="a functional model that maps images to logits"):
        with_center_loss(model)
    with pytest.raises(
        ValueError, match="classes must exclude each other. Received.*feature_loss=n"
    ):
        with_center_loss(network, exclusive=False)
    joined = keras.layers.Add()([network.output, network.output])
    with pytest.raises(ValueError, match=r"Features are one tensor \(B, H, W, F\). Received"):
        with_center_loss(keras.Model(network.input, joined))


def made(parts=1, momentum=None, rate=0.1):
    keras.utils.set_random_seed(1)
    model = unet(num_classes=3, filters=4, depth=0, normalization="none")
    model.compile(keras.optimizers.SGD(rate), loss=CrossEntropy())
    extended = with_center_loss(model, weight=0.7, accumulate=parts, weighted=True)
    average = None if momentum is None else Average(extended, momentum)
    return Loop(model, lambda: [MeanIoU(NAMES)], None, parts, average, extended)


def fed(loop, source):
    def make(shards):
        return batches(source, 4, epochs=1, weighted=True, counted=True, shards=shards)

    return iter(loop.feed(make, loop.parts))


def state(loop):
    """Weights and centres; not what waits for the end of a step, nor the sums of scores."""
    names = ("waiting", "calls")
    return [np.array(w) for w in loop.extended.weights if w.name not in names]


@pytest.fixture(scope="module")
def stepped(source):
    """A loop after its two steps, 4 images and 3, of weights that differ."""
    loop = made(momentum=0.5)
    first = state(loop)
    ready = fed(loop, source)
    loop.train(ready)
    second = state(loop)
    loop.train(ready)
    return loop, first, second


def test_a_step_of_the_loop_is_that_of_the_formula(source, stepped):
    """Gradient descent on 1/B sum_b weight[b] (loss[b] + 0.7 center[b]), and the rule of Wen."""
    _, first, second = stepped
    fresh = made()
    model, layer = fresh.model, fresh.extended.get_layer("center_loss")
    images, target, weights, _ = next(
        iter(batches(source, 4, weighted=True, counted=True, shards=((0,), 1)))
    )
    seen = keras.Model(model.input, [model.output, model.get_layer("logits").input])
    certain = tf.cast(certain_labels(target), tf.float32)
    with tf.GradientTape() as tape:
        logits, x = seen(images)
        pulled = tf.reduce_sum(certain * tf.reduce_sum(x**2, -1, keepdims=True), (1, 2, 3)) / 2
        each = CrossEntropy(reduction=None)(target, logits) + 0.7 * pulled / 64  # centres at 0
        loss = tf.reduce_sum(each * weights) / 4
    moves = tape.gradient(loss, model.trainable_variables)
    expected = [w - 0.1 * np.asarray(m) for w, m in zip(first, moves)]
    expected.append(moved(np.asarray(target), x.numpy(), np.array(layer.centers), shares=weights))
    for found, wanted in zip(second, expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=3e-6)


@pytest.mark.parametrize("parts, fused", [(3, False), (1, True)])
def test_in_parts_and_in_one_program_it_is_the_same(
    source, stepped, parts, fused, monkeypatch, without_determinism
):
    """As with trainer.accumulate, and as on a GPU, where XLA compiles all of a step."""
    monkeypatch.setattr(loops, "jit_pays", lambda _: fused)
    loop = made(parts=parts)
    ready = fed(loop, source)
    loop.train(ready)
    loop.train(ready)
    for found, expected in zip(state(loop), state(stepped[0]), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert loop.trained.results() == pytest.approx(stepped[0].trained.results(), abs=1e-4)


def test_the_loop_logs_and_averages_it_and_moves_no_centre_in_validation(source, stepped):
    loop = stepped[0]
    before = state(loop)
    loop.validated.reset()
    ready = iter(loop.feed(lambda shards: batches(source, 4, counted=True, shards=shards)))
    loop.validate(ready)
    loop.validate(ready)
    for found, expected in zip(state(loop), before):
        np.testing.assert_array_equal(found, expected)
    (images, target), *_ = batches(source, 7)
    seen = keras.Model(loop.model.input, loop.model.get_layer("logits").input)
    center = twin(np.asarray(target), seen(images), before[-1])
    main = np.asarray(CrossEntropy(reduction=None)(target, loop.model(images)))
    found = loop.validated.results()
    assert found["center_loss"] == pytest.approx(center.mean(), rel=1e-4)
    assert found["loss"] == pytest.approx(main.mean(), rel=1e-4)  # alone
    with loop.average.in_place():
        assert np.abs(state(loop)[-1] - before[-1]).max() > 1e-3
    np.testing.assert_array_equal(state(loop)[-1], before[-1])


def test_centres_are_float32_whatever_the_features_are():
    keras.config.set_dtype_policy("mixed_bfloat16")
    network = unet(num_classes=3, filters=4, depth=0)
    model = with_center_loss(network)
    layer = model.get_layer("center_loss")
    assert network.get_layer("logits").input.dtype == "bfloat16"
    assert layer.centers.dtype == layer.compute_dtype == model.output.dtype == "float32"


def test_the_scatter_ratio_by_hand():
    """Classes at -1, 1 and at 9, 11: (1 + 1) / 2 within, 25 between; the numbers of pixels do not
    matter, nor does the scale."""
    x, labels = np.array([[-1.0], [1.0], [9.0], [11.0]]), np.array([0, 0, 2, 2])
    assert scatter_ratio(x, labels) == pytest.approx(1 / 25)
    often = np.repeat([0, 1, 2, 3], [5, 5, 1, 1])
    assert scatter_ratio(3 * x[often] + 7, labels[often]) == pytest.approx(1 / 25)
    assert scatter_ratio(x, np.zeros(4)) is None and scatter_ratio(0 * x, labels) is None

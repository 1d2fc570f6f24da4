"""One step of training: against a step written out, in parts, with an average, with validation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from segkit import loop as loops
from segkit.averaging import Average
from segkit.contract import Sample
from segkit.data.pipeline import batches
from segkit.labels import LabelSpace
from segkit.loop import Loop
from segkit.losses import CrossEntropy
from segkit.metrics import MeanIoU
from segkit.models import unet

NAMES = ["background", "cell", "rim"]


class Listed(list):
    labels = LabelSpace(NAMES)


@pytest.fixture(scope="module")
def source():
    rng = np.random.default_rng(3)
    images = rng.integers(0, 255, (7, 8, 8, 3), dtype=np.uint8)
    weights = [1.0, 0.0, 2.5, 1.0, 0.5, 3.0, 1.0]
    return Listed(
        Sample(image, rng.integers(0, 3, (8, 8)), np.ones(3, bool), weight=weight)
        for image, weight in zip(images, weights)
    )


def made(optimizer=None, parts=1, momentum=None, normalization="none"):
    keras.utils.set_random_seed(1)
    model = unet(num_classes=3, filters=4, depth=1, normalization=normalization)
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss=CrossEntropy())
    average = None if momentum is None else Average(model, momentum)
    return Loop(model, lambda: [MeanIoU(NAMES)], parts=parts, average=average)


def fed(loop, source, size=4, epochs=1):
    def make(shards):
        return batches(source, size, epochs=epochs, weighted=True, counted=True, shards=shards)

    return iter(loop.feed(make, loop.parts))


def weights_of(loop):
    return [np.array(w) for w in loop.model.get_weights()]


def by_hand(source, chosen, rate=0.1):
    """One step of gradient descent on 1/B sum_b weight[b] loss[b], without the loop."""
    loop = made()
    model, taken = loop.model, [source[i] for i in chosen]
    images = np.stack([sample.image for sample in taken]) / np.float32(255)
    masks = np.stack([sample.mask for sample in taken])
    target = np.eye(3, dtype="int8")[masks]
    with tf.GradientTape() as tape:
        log_p = tf.nn.log_softmax(model(images))
        each = -tf.reduce_mean(tf.reduce_sum(target * log_p, -1), (1, 2))
        loss = tf.reduce_sum(each * [sample.weight for sample in taken]) / len(taken)
    moves = tape.gradient(loss, model.trainable_variables)
    return [np.array(w) - rate * m.numpy() for w, m in zip(model.get_weights(), moves)]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_step_is_that_of_the_formula(source, parts):
    """In as many parts as one likes, and unequal ones."""
    loop = made(parts=parts)
    loop.train(fed(loop, source))
    for found, expected in zip(weights_of(loop), by_hand(source, range(4))):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_whole_step_in_one_program_is_the_same(source, monkeypatch, without_determinism):
    """As on a GPU, where XLA compiles all of it."""
    monkeypatch.setattr(loops, "jit_pays", lambda _: True)
    loop = made()
    loop.train(fed(loop, source))
    for found, expected in zip(weights_of(loop), by_hand(source, range(4))):
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_last_batch_of_fewer_images_than_parts(source):
    """Its mean is over what it has, and so are the scores."""
    alone, cut = made(), made(parts=4)
    for loop in (alone, cut):
        ready = fed(loop, source, size=4)
        loop.train(ready)
        loop.train(ready)
    for found, expected in zip(weights_of(cut), weights_of(alone)):
        np.testing.assert_allclose(found, expected, atol=3e-6)
    assert cut.trained.results() == pytest.approx(alone.trained.results(), abs=1e-5)


def test_the_parts_are_computed_one_after_another(source):
    """The order in which images reach the model, in one step of 4 parts."""
    loop, seen = made(parts=4), []

    @tf.autograph.experimental.do_not_convert
    def watch(values):
        seen.append(float(values.numpy().mean()))
        return values

    usual = loop.model.call

    def call(images, **more):
        spied = tf.py_function(watch, [images], tf.float32)
        return usual(tf.ensure_shape(spied, images.shape), **more)

    loop.model.call = call
    loop.train(fed(loop, source))
    assert seen == [pytest.approx(source[i].image.mean() / 255, rel=1e-5) for i in range(4)]


def test_the_average_follows_the_weights(source):
    """a_t = d a_(t-1) + (1 - d) w_t with d = min(momentum, (1 + t) / (10 + t))."""
    loop = made(momentum=0.25, normalization="batch")
    followed, ready = weights_of(loop), fed(loop, source, size=2)
    for step in (1, 2, 3):
        loop.train(ready)
        share = min(0.25, (1 + step) / (10 + step))
        pairs = zip(followed, weights_of(loop))
        followed = [share * a + (1 - share) * w for a, w in pairs]
    trained = weights_of(loop)
    with loop.average.in_place():
        for found, expected in zip(weights_of(loop), followed):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    for found, expected in zip(weights_of(loop), trained):
        np.testing.assert_array_equal(found, expected)  # bit for bit
    assert max(np.abs(a - b).max() for a, b in zip(followed, trained)) > 1e-3


def test_a_loss_by_name_is_refused():
    model = unet(num_classes=3, filters=4, depth=1)
    model.compile("sgd", loss="categorical_crossentropy")
    with pytest.raises(ValueError, match="with a loss object.*Received: 'categorical_crossentr"):
        Loop(model, lambda: [])


def test_the_weights_come_back_after_an_error(source):
    loop = made(momentum=0.9)
    loop.train(fed(loop, source))
    before = weights_of(loop)
    with pytest.raises(RuntimeError, match="in between"), loop.average.in_place():
        raise RuntimeError("in between")
    assert all((a == b).all() for a, b in zip(weights_of(loop), before))


@pytest.mark.parametrize("momentum", [1.0, -0.1, 1, "much", float("nan")])
def test_a_momentum_out_of_range(momentum):
    with pytest.raises(ValueError, match="trainer.ema must be in \\[0, 1\\), or null. Received:"):
        Average(unet(num_classes=2, filters=4, depth=1), momentum)


def test_validation_changes_nothing_and_counts_images_alike(source):
    loop = made(normalization="batch")
    before = weights_of(loop)
    watched = loop.feed(lambda shards: batches(source, 4, counted=True, shards=shards))
    ready = iter(watched)
    loop.validate(ready)
    loop.validate(ready)
    assert all((a == b).all() for a, b in zip(weights_of(loop), before))
    logits = loop.model(np.stack([s.image for s in source]) / np.float32(255))
    target = np.eye(3, dtype="int8")[np.stack([s.mask for s in source])]
    expected = float(np.mean(CrossEntropy(reduction=None)(target, logits)))
    found = loop.validated.results()
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert set(found) == {"loss", "mean_iou", *(f"iou_{name}" for name in NAMES)}
    loop.validated.reset()
    assert loop.validated.loss() == 0


def test_what_layers_add_to_the_loss_is_added(source):
    """Once, in however many parts the batch is computed."""
    moved = []
    for parts in (1, 2):
        keras.utils.set_random_seed(1)
        image = keras.Input((8, 8, 3))
        head = keras.layers.Conv2D(3, 1, kernel_regularizer=keras.regularizers.L2(0.5))
        model = keras.Model(image, head(image))
        start = np.array(model.get_weights()[0])
        model.compile(keras.optimizers.SGD(1.0), loss=CrossEntropy())
        loop = Loop(model, lambda: [], parts=parts)
        dark = Listed(sample._replace(weight=0.0) for sample in source)
        loop.train(fed(loop, dark))
        moved.append(np.array(model.get_weights()[0]))
        np.testing.assert_allclose(moved[-1], start - start, atol=1e-6)  # d/dw 0.5 w^2 = w
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-7)

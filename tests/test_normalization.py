"""Batch normalisation by one kernel, and over two replicas as over one.

python THIS OUT.json compares the two: devices must be split before TensorFlow starts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from segkit.models import unet
from segkit.models.normalization import BatchNormalization

RNG = np.random.default_rng(0)
# Images on the first of two replicas, of 6.
CUTS = (3, 5, 0)
FOUND = ("outputs", "inputs'", "gamma'", "beta'", "mean", "variance", "replicas")


def layer_and_batch(dtype="float32", mean=100.0, **options):
    """A layer, a batch whose mean is far from zero, and weights of the outputs."""
    x = RNG.normal(mean, 2, (6, 5, 4, 3)).astype("float32")
    layer = BatchNormalization(momentum=0.9, dtype=dtype, **options)
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(RNG.uniform(0.5, 2, weight.shape))
    return layer, x, RNG.normal(size=x.shape).astype("float32")


def by_hand(layer, x, weights):
    """Outputs, gradients of sum(weights * outputs), moving statistics; in float64."""
    gamma, beta, moving_mean, moving_variance = (np.asarray(w, "float64") for w in layer.weights)
    x, axes = x.astype("float64"), (0, 1, 2)
    pixels, mean, variance = x[..., 0].size, x.mean(axes), x.var(axes)
    normal = (x - mean) / np.sqrt(variance + layer.epsilon)
    back = weights - weights.mean(axes) - normal * (weights * normal).mean(axes)
    return {
        "outputs": gamma * normal + beta,
        "inputs'": gamma / np.sqrt(variance + layer.epsilon) * back,
        "gamma'": (weights * normal).sum(axes),
        "beta'": weights.sum(axes),
        "mean": 0.9 * moving_mean + 0.1 * mean,
        "variance": 0.9 * moving_variance + 0.1 * variance * pixels / (pixels - 1),
    }


def computed(layer, x, weights, training=True):
    """The same from the layer, in whatever replica this runs."""
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = tf.cast(layer(x, training=training), tf.float32)
        total = tf.reduce_sum(outputs * weights)
    variables = {"inputs'": x, "gamma'": layer.gamma.value, "beta'": layer.beta.value}
    return {"outputs": outputs, **tape.gradient(total, variables)}


def with_statistics(found, layer):
    return {**found, "mean": layer.moving_mean.numpy(), "variance": layer.moving_variance.numpy()}


def test_one_device():
    layer, x, weights = layer_and_batch()
    expected = by_hand(layer, x, weights)
    found = with_statistics(computed(layer, x, weights), layer)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "options", [{"scale": False}, {"center": False}, {"synchronized": True}, {"renorm": True}]
)
@pytest.mark.parametrize("training", [True, False])
def test_options_are_those_of_keras(options, training):
    layer, x, _ = layer_and_batch(**options)
    keras_layer = keras.layers.BatchNormalization.from_config(layer.get_config())
    keras_layer.build(x.shape)
    keras_layer.set_weights(layer.get_weights())
    outputs = [each(x, training=training) for each in (layer, keras_layer)]
    np.testing.assert_allclose(*outputs, rtol=1e-3, atol=1e-3)


def test_pure_bfloat16_and_frozen():
    layer, x, weights = layer_and_batch("bfloat16", mean=0.0)
    means = [np.asarray(layer.moving_mean, "float32").copy()]
    for layer.trainable in (True, False):
        outputs = layer(x, training=True)
        means.append(np.asarray(layer.moving_mean, "float32").copy())
    assert outputs.dtype == "bfloat16" and np.array_equal(outputs, layer(x, training=False))
    assert not np.array_equal(means[1], means[0]) and np.array_equal(means[2], means[1])


@pytest.fixture(scope="module")
def on_two(tmp_path_factory):
    """What the comparison below wrote."""
    out = tmp_path_factory.mktemp("replicas") / "out.json"
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, __file__, out]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("what", FOUND)
def test_two_replicas_compute_what_one_does(on_two, cut, what):
    # The mean of 100 costs gamma' two digits, as it does on one device.
    limit = {"replicas": 1e-9, "gamma'": 1e-3}.get(what, 1e-4)
    assert on_two[f"float32, {cut}"][what] < limit


def test_statistics_are_float32_in_bfloat16(on_two):
    # Their inputs have eight bits: a mean of 100 comes out to half a unit, were it one of them.
    assert max(on_two["bfloat16, 5"][what] for what in ("mean", "variance")) < 1e-3
    assert max(on_two["bfloat16, 5"][what] for what in ("outputs", "inputs'")) < 0.05


def test_statistics_stay(on_two):
    assert on_two["no pixels"] == on_two["frozen"] == on_two["inference"] == 0
    assert on_two["learning"] > 0.1


def test_what_replicas_cannot_do_together_is_refused(on_two):
    assert "2 replicas together only for (B, H, W, K)" in on_two["refused"]
    assert "Received: (3, 5, 4, 3) in float32, axis=1" in on_two["refused"]
    assert "Set synchronized=True" in on_two["refused"]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
def test_two_replicas_train_as_one_does(on_two, optimizer):
    """Larger networks need not, nor do they with the images of each batch in another order: where
    a ReLU is within roundoff of zero, or a maximum of another, the gradient jumps."""
    assert on_two[f"{optimizer}, difference"] < 1e-5 < 1e-3 < on_two[f"{optimizer}, learnt"]


def distributed(strategy, parts):
    """One part for each replica."""
    return strategy.experimental_distribute_values_from_function(
        lambda replica: tuple(
            map(keras.ops.convert_to_tensor, parts[replica.replica_id_in_sync_group])
        )
    )


def on_replicas(strategy, parts, compute):
    """compute(*part) on each replica; [results]."""
    import tensorflow as tf

    run = tf.function(lambda held: strategy.run(compute, args=held))
    results = run(distributed(strategy, parts))
    return [
        keras.tree.map_structure(lambda v: strategy.experimental_local_results(v)[i], results)
        for i in range(len(parts))
    ]


def compared(strategy, cut, dtype):
    """Largest differences between two replicas and the formulas."""
    with strategy.scope():
        layer, x, weights = layer_and_batch(dtype)
    x = np.asarray(keras.ops.cast(keras.ops.cast(x, layer.compute_dtype), "float32"))
    expected = by_hand(layer, x, weights)
    parts = [(x[:cut], weights[:cut]), (x[cut:], weights[cut:])]
    one, two = on_replicas(strategy, parts, lambda x, w: computed(layer, x, w))
    found = {name: np.concatenate([one[name], two[name]]) for name in ("outputs", "inputs'")}
    found |= {name: np.add(one[name], two[name]) for name in ("gamma'", "beta'")}
    found, apart = with_statistics(found, layer), 0.0
    for moving in (layer.moving_mean, layer.moving_variance):
        first, second = strategy.experimental_local_results(moving.value)
        apart = max(apart, float(np.abs(first.numpy() - second.numpy()).max()))
    return {k: float(np.abs(v - expected[k]).max()) for k, v in found.items()} | {"replicas": apart}


def moved(strategy, parts=(3, 3), training=True, trainable=True):
    """How far the moving mean goes."""
    with strategy.scope():
        layer, x, _ = layer_and_batch()
    layer.trainable = trainable
    before = layer.moving_mean.numpy()
    on_replicas(strategy, [(x[:n],) for n in parts], lambda x: layer(x, training=training))
    return float(np.abs(layer.moving_mean.numpy() - before).max())


def refusal(strategy):
    """What an input of another layout is told."""
    with strategy.scope():
        layer, x, _ = layer_and_batch(axis=1)
    with pytest.raises(ValueError) as caught:
        on_replicas(strategy, [(x[:3],), (x[3:],)], lambda x: layer(x, training=True))
    return str(caught.value)


def trained(strategy, cuts, optimizer):
    """Weights of a small U-Net before and after eight steps."""
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 4, 16, 16, 3)).astype("float32")
    classes = rng.integers(0, 3, (8, 4, 16, 16)).astype("int32")
    with strategy.scope():
        model = unet(num_classes=3, filters=4, depth=1)
        optimizer = getattr(keras.optimizers, optimizer)(0.002)
        optimizer.build(model.trainable_variables)

    def learn(images, classes):
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            loss = tf.reduce_sum(loss) / (4 * 16 * 16)
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    step = tf.function(lambda held: strategy.run(learn, args=held))
    before = [v.numpy() for v in model.variables]
    for batch in zip(images, classes):
        step(distributed(strategy, list(zip(*(np.split(a, cuts) for a in batch)))))
    return before, [v.numpy() for v in model.variables]


def compare(out):
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    one, two = (tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(n)]) for n in (1, 2))
    found = {f"float32, {cut}": compared(two, cut, "float32") for cut in CUTS}
    found["bfloat16, 5"] = compared(two, 5, "mixed_bfloat16")
    found["learning"], found["no pixels"] = moved(two), moved(two, parts=(0, 0))
    found["frozen"], found["inference"] = moved(two, trainable=False), moved(two, training=False)
    found["refused"] = refusal(two)
    for optimizer in ("SGD", "Adam"):
        (before, alone), (_, together) = (
            trained(strategy, cuts, optimizer) for strategy, cuts in ((one, []), (two, [1]))
        )
        for what, others in (("difference", together), ("learnt", before)):
            apart = max(float(np.abs(a - b).max()) for a, b in zip(alone, others))
            found[f"{optimizer}, {what}"] = apart
    Path(out).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    compare(sys.argv[1])

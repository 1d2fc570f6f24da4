"""One table of properties over all losses."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradients import gradient
from loss_table import TABLE, WEIGHTS, make, values

from segkit import losses
from segkit.contract import LABELLED, RULED_OUT, UNKNOWN, candidates
from segkit.labels import LabelSpace
from segkit.losses import reference
from segkit.targets import encode

every_loss = pytest.mark.parametrize("name", TABLE)


@pytest.fixture(scope="module")
def mixed():
    """Coarse labels (7: rectangle or circle), and single objects of classes nobody looked for."""
    coarse = [{"name": "angular", "id": 7, "members": ["b", "c"]}]
    space = LabelSpace(["background", "a", "b", "c"], coarse=coarse)
    rng = np.random.default_rng(8)
    masks = rng.choice([0, 0, 1, 2, 3, 7, 255], (3, 6, 5))
    annotated = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [1, 0, 0, 0]], bool)
    logits = (2 * rng.normal(size=(3, 6, 5, 4))).astype("float32")
    return encode(masks, annotated, space), logits


@pytest.fixture(scope="module")
def complete():
    """Everything judged and annotated; in the second image the last class is absent."""
    rng = np.random.default_rng(9)
    masks = rng.integers(0, 4, (2, 6, 5))
    masks[1] %= 3
    logits = (2 * rng.normal(size=(2, 6, 5, 4))).astype("float32")
    return np.eye(4, dtype="int8")[masks], logits


def test_no_loss_is_left_out():
    public = {getattr(losses, name) for name in losses.__all__}
    tested = {type(make(name)) for name in TABLE}
    assert public - {losses.SegmentationLoss, reference} == tested
    twins = [name for name in reference.__all__ if "softmax" not in name]
    assert len(twins) == len(tested)


@every_loss
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("data", ["batch", "mixed"])
@pytest.mark.parametrize("scale", [1, 100])  # at 100, probabilities underflow
def test_equals_its_numpy_twin(name, weights, data, scale, request):
    target, logits = request.getfixturevalue(data)
    logits = np.float32(scale) * logits
    expected = TABLE[name].twin(target, logits, class_weights=weights)
    found = values(name, target, logits, class_weights=weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@every_loss
def test_nothing_missing_equals_the_plain_form(name, complete):
    np.testing.assert_allclose(values(name, *complete), TABLE[name].plain(*complete), rtol=1e-5)


@every_loss
def test_twins_take_the_same_arguments(name):
    twin, loss = TABLE[name].twin, type(make(name))
    if loss is losses.WeightedSum:
        return
    own = [*inspect.signature(loss).parameters.values()]
    own = [(p.name, p.default) for p in own if p.name not in ("name", "kwargs")]
    theirs = inspect.signature(getattr(twin, "func", twin)).parameters.values()
    assert own == [(p.name, p.default) for p in theirs if p.name not in ("target", "logits")]


@every_loss
def test_label_set_axiom(name, mixed, batch):
    """Probability that moves among the candidates of a pixel: label-set losses do not see it."""
    rng = np.random.default_rng(10)
    for target, logits in (mixed, batch):
        p = np.exp(logits.astype("float64"))
        inside = candidates(target)
        dealt = inside * rng.random(p.shape)
        dealt *= ((inside * p).sum(-1) / dealt.sum(-1).clip(1e-9))[..., None]
        moved = np.log(np.where(inside, dealt, p)).astype("float32")
        before, after = values(name, target, logits), values(name, target, moved)
        if TABLE[name].label_set:
            np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-7)
        else:
            assert not np.isclose(after[1], before[1], rtol=1e-4)


@every_loss
def test_what_is_not_known_has_no_gradient(name, batch):
    target, logits = batch
    found = gradient(make(name), target, logits)
    assert (found[(target == UNKNOWN).all(-1)] == 0).all() and found.any()
    if TABLE[name].silent is not None:
        silent = TABLE[name].silent(target, logits)
        assert silent[:3].any() and (found[silent] == 0).all() and (found[~silent] != 0).any()


@every_loss
def test_same_inside_tf_data(name, batch):
    loss = make(name, reduction=None)
    inside = next(iter(tf.data.Dataset.from_tensors(batch).map(loss)))
    np.testing.assert_allclose(inside, loss(*batch), rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in TABLE if "smoothed" not in name])
def test_same_compiled_by_xla(name, mixed):
    """Without knowing the sizes beforehand."""
    loss = make(name, reduction=None)
    sizes = [tf.TensorSpec((None, None, None, 4), kind) for kind in ("int8", "float32")]
    compiled = tf.function(loss.call, sizes, jit_compile=True, autograph=False)
    np.testing.assert_allclose(compiled(*mixed), loss(*mixed), rtol=1e-5)
    pulls = [gradient(function, *map(tf.constant, mixed)) for function in (compiled, loss)]
    np.testing.assert_allclose(*pulls, rtol=1e-4, atol=1e-7)


@every_loss
@pytest.mark.parametrize("weights", [None, WEIGHTS, [0, 1, 2, 3]])
def test_shares_of_the_classes_add_up(name, mixed, weights):
    loss = make(name, reduction=None, class_weights=weights)
    shares = np.asarray(loss.per_class(*mixed))
    assert shares.shape == (3, 4)
    np.testing.assert_allclose(shares.sum(-1), loss(*mixed), rtol=1e-5)


@every_loss
def test_batches_may_be_split(name, batch):
    target, logits = batch
    together = values(name, target, logits)
    apart = [values(name, target[i : i + 1], logits[i : i + 1])[0] for i in range(len(target))]
    np.testing.assert_allclose(together, apart, rtol=1e-6)
    assert float(make(name)(target, logits)) == pytest.approx(np.mean(apart), rel=1e-6)


@every_loss
def test_nothing_known_costs_nothing(name, batch):
    """Traps 3 and 8: no constant, no gradient and no NaN where nothing is known."""
    target = np.full_like(batch[0], UNKNOWN)
    for logits in (batch[1], 1e4 * batch[1], np.full_like(batch[1], np.nan)):
        assert (values(name, target, logits) == 0).all()
        assert (gradient(make(name), target, logits) == 0).all()


@every_loss
def test_ignored_pixels_have_no_say(name, batch):
    target, logits = batch
    ignored = (target == UNKNOWN).all(-1)
    changed = np.where(ignored[..., None], 50 * np.random.default_rng(1).normal(size=4), logits)
    np.testing.assert_allclose(
        values(name, target, changed.astype("float32")), values(name, target, logits), rtol=1e-6
    )
    broken = np.where(ignored[..., None], np.float32("nan"), logits)
    np.testing.assert_array_equal(values(name, target, broken), values(name, target, logits))
    pulls = [gradient(make(name), target, z) for z in (broken, logits)]
    np.testing.assert_allclose(*pulls, rtol=1e-5, atol=1e-8)


@every_loss
def test_traps_5_7_and_10_ignored_pixels_are_as_if_cut_off(name):
    """The same pixels twice, once with as many ignored ones beside them."""
    rng = np.random.default_rng(3)
    target = np.eye(4, dtype="int8")[rng.integers(0, 4, (1, 8, 8))]
    logits = rng.normal(size=target.shape).astype("float32")
    beside = np.concatenate([target, np.full_like(target, UNKNOWN)], axis=2)
    wide = np.concatenate([logits, logits], axis=2)
    np.testing.assert_allclose(values(name, beside, wide), values(name, target, logits), rtol=1e-5)


@every_loss
def test_trap_2_declaring_an_ignore_index_changes_nothing(name):
    masks = np.random.default_rng(4).integers(0, 4, (2, 6, 6))
    logits = np.random.default_rng(5).normal(size=(2, 6, 6, 4)).astype("float32")
    with_it, without = (
        encode(masks, np.ones((2, 4), bool), LabelSpace(list("abcd"), ignore_index=ignore))
        for ignore in (255, None)
    )
    np.testing.assert_array_equal(values(name, with_it, logits), values(name, without, logits))


@every_loss
def test_order_of_the_classes_does_not_matter(name, mixed):
    target, logits = mixed
    # Where the order means something, it may be read from either end.
    order = [3, 2, 1, 0] if make(name).ordered else [2, 0, 3, 1]
    weights = np.array(WEIGHTS)
    moved = {"background": order.index(0)} if name == "Exclusion" else {}
    np.testing.assert_allclose(
        values(name, target[..., order], logits[..., order], class_weights=weights[order], **moved),
        values(name, target, logits, class_weights=weights),
        rtol=1e-5,
    )


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_huge_logits_stay_finite(name, mixed, dtype):
    target, logits = mixed
    huge = tf.cast(1e4 * np.sign(logits), dtype)
    assert np.isfinite(float(make(name)(target, huge)))
    found = gradient(make(name), target, huge)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", [name for name in TABLE if "smoothed" not in name])
def test_perfection_costs_nothing_and_its_opposite_does(name):
    target = np.eye(4, dtype="int8")[np.random.default_rng(6).integers(0, 4, (2, 5, 5))]
    right = 40.0 * (2 * target.astype("float32") - 1)
    target[:, 2] = UNKNOWN  # trap 8: what is predicted at ignored pixels costs nothing
    assert values(name, target, right) == pytest.approx([0, 0], abs=1e-6)
    assert (values(name, target, -right) > 0.4).all()


@every_loss
def test_survives_saving(name, batch):
    loss = make(name, class_weights=WEIGHTS)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    np.testing.assert_array_equal(again(*batch), loss(*batch))


@every_loss
def test_takes_sample_weights_as_keras_gives_them(name, batch):
    target, logits = batch
    weight = np.array([1.0, 0.0, 2.0, 0.5], "float32")
    weighted = float(make(name, reduction="sum")(target, logits, sample_weight=weight))
    assert weighted == pytest.approx((values(name, target, logits) * weight).sum(), rel=1e-5)


@every_loss
def test_works_as_the_loss_of_any_keras_model(name, batch, tmp_path):
    target, logits = batch
    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(4, 1)])
    model.compile("sgd", loss=make(name, class_weights=WEIGHTS), jit_compile=False)
    history = model.fit(logits, target, epochs=3, batch_size=2, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before, after = (m.evaluate(logits, target, verbose=0) for m in (model, again))
    assert after == pytest.approx(before, rel=1e-6)


@every_loss
def test_independent_classes(name, labels):
    """Planes that overlap: what sigmoid losses are for; the others at least stay in bounds."""
    rng = np.random.default_rng(11)
    planes = (rng.random((2, 5, 5, 4)) < 0.4).astype("uint8")
    annotated = np.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    space = LabelSpace(list("abcd"), background=None, exclusive=False)
    target, logits = encode(planes, annotated, space), rng.normal(size=planes.shape)
    logits = logits.astype("float32")
    assert ((target == LABELLED).sum(-1) > 1).any() and (target == RULED_OUT).all(-1).any()
    found = values(name, target, logits)
    assert (found >= 0).all() and (found < 20).all()
    assert np.isfinite(gradient(make(name), target, logits)).all()
    # To cross-entropy several labels in one pixel mean nothing; sets of classes do.
    if make(name).head == "sigmoid" or name.startswith(("Marginal", "Focal", "Leaf")):
        np.testing.assert_allclose(found, TABLE[name].twin(target, logits), rtol=1e-6)

"""One table of properties over all losses, one worked case each, and the figures of the sources."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from gradients import gradient

from segkit import losses
from segkit.contract import UNKNOWN
from segkit.losses import reference

WEIGHTS = [0.5, 1.0, 2.0, 3.0]


def both_terms():
    return [losses.MarginalCrossEntropy(), losses.SoftDice()]


def weighted_sum_twin(target, logits, class_weights=None):
    terms = [reference.marginal_cross_entropy, reference.soft_dice]
    return reference.weighted_sum(target, logits, terms, [1.0, 0.5], class_weights)


# loss -> (how to make it, its NumPy twin)
TABLE = {
    losses.CrossEntropy: (losses.CrossEntropy, reference.cross_entropy),
    losses.GatedCrossEntropy: (losses.GatedCrossEntropy, reference.gated_cross_entropy),
    losses.MarginalCrossEntropy: (losses.MarginalCrossEntropy, reference.marginal_cross_entropy),
    losses.SoftDice: (losses.SoftDice, reference.soft_dice),
    losses.BCEDice: (losses.BCEDice, reference.bce_dice),
    losses.WeightedSum: (
        lambda **options: losses.WeightedSum(both_terms(), [1.0, 0.5], **options),
        weighted_sum_twin,
    ),
}
every_loss = pytest.mark.parametrize("cls", TABLE, ids=lambda cls: cls.__name__)


def make(cls, **options):
    return TABLE[cls][0](**options)


def values(cls, target, logits, **options):
    return np.asarray(make(cls, reduction=None, **options)(target, logits))


def test_no_loss_is_left_out():
    public = {getattr(losses, name) for name in losses.__all__}
    assert public - {losses.SegmentationLoss, reference} == set(TABLE)


@every_loss
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_equals_its_numpy_twin(cls, batch, weights):
    expected = TABLE[cls][1](*batch, class_weights=weights)
    np.testing.assert_allclose(
        values(cls, *batch, class_weights=weights), expected, rtol=1e-6, atol=1e-6
    )


@every_loss
def test_same_inside_tf_data(cls, batch):
    loss = make(cls, reduction=None)
    inside = next(iter(tf.data.Dataset.from_tensors(batch).map(loss)))
    np.testing.assert_allclose(inside, loss(*batch), rtol=1e-6)


@every_loss
def test_shares_of_the_classes_add_up(cls, batch):
    loss = make(cls, reduction=None, class_weights=WEIGHTS)
    shares = np.asarray(loss.per_class(*batch))
    assert shares.shape == (4, 4)
    np.testing.assert_allclose(shares.sum(-1), loss(*batch), rtol=1e-6)


@every_loss
def test_batches_may_be_split(cls, batch):
    target, logits = batch
    together = values(cls, target, logits)
    apart = [values(cls, target[i : i + 1], logits[i : i + 1])[0] for i in range(len(target))]
    np.testing.assert_allclose(together, apart, rtol=1e-6)
    assert float(make(cls)(target, logits)) == pytest.approx(np.mean(apart), rel=1e-6)


@every_loss
def test_nothing_known_costs_nothing(cls, batch):
    """Traps 3 and 8: no constant, no gradient and no NaN where nothing is known."""
    target, logits = np.full_like(batch[0], UNKNOWN), batch[1]
    assert (values(cls, target, logits) == 0).all()
    assert (gradient(make(cls), target, logits) == 0).all()


@every_loss
def test_ignored_pixels_have_no_say(cls, batch):
    target, logits = batch
    ignored = (target == UNKNOWN).all(-1)
    changed = np.where(ignored[..., None], 50 * np.random.default_rng(1).normal(size=4), logits)
    np.testing.assert_allclose(
        values(cls, target, changed.astype("float32")), values(cls, target, logits), rtol=1e-6
    )
    assert (gradient(make(cls), target, logits)[ignored] == 0).all()
    broken = np.where(ignored[..., None], np.float32("nan"), logits)
    np.testing.assert_array_equal(values(cls, target, broken), values(cls, target, logits))


@every_loss
def test_trap_5_ignoring_pixels_does_not_shrink_the_loss(cls, labels):
    """The same pixels twice, once with as many ignored ones beside them."""
    rng = np.random.default_rng(3)
    target = np.eye(4, dtype="int8")[rng.integers(0, 4, (1, 8, 8))]
    logits = rng.normal(size=target.shape).astype("float32")
    beside = np.concatenate([target, np.full_like(target, UNKNOWN)], axis=2)
    wide = np.concatenate([logits, logits], axis=2)
    np.testing.assert_allclose(values(cls, beside, wide), values(cls, target, logits), rtol=1e-5)


@every_loss
def test_trap_2_declaring_an_ignore_index_changes_nothing(cls):
    from segkit.labels import LabelSpace
    from segkit.targets import encode

    masks = np.random.default_rng(4).integers(0, 4, (2, 6, 6))
    logits = np.random.default_rng(5).normal(size=(2, 6, 6, 4)).astype("float32")
    with_it, without = (
        encode(masks, np.ones((2, 4), bool), LabelSpace(list("abcd"), ignore_index=ignore))
        for ignore in (255, None)
    )
    np.testing.assert_array_equal(values(cls, with_it, logits), values(cls, without, logits))


@every_loss
def test_order_of_the_classes_does_not_matter(cls, batch):
    target, logits = batch
    order = [2, 0, 3, 1]
    weights = np.array(WEIGHTS)
    np.testing.assert_allclose(
        values(cls, target[..., order], logits[..., order], class_weights=weights[order]),
        values(cls, target, logits, class_weights=weights),
        rtol=1e-5,
    )


@every_loss
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_huge_logits_stay_finite(cls, batch, dtype):
    target, logits = batch
    huge = tf.cast(1e4 * np.sign(logits), dtype)
    assert np.isfinite(float(make(cls)(target, huge)))
    assert np.isfinite(gradient(make(cls), target, huge)).all()


@every_loss
def test_perfection_costs_nothing_and_its_opposite_does(cls):
    target = np.eye(4, dtype="int8")[np.random.default_rng(6).integers(0, 4, (2, 5, 5))]
    right = 40.0 * (2 * target.astype("float32") - 1)
    target[:, 2] = UNKNOWN  # trap 8: what is predicted at ignored pixels costs nothing
    assert values(cls, target, right) == pytest.approx([0, 0], abs=1e-6)
    assert (values(cls, target, -right) > 0.5).all()


@every_loss
def test_survives_saving(cls, batch):
    loss = make(cls, class_weights=WEIGHTS)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(again) is cls and again.get_config() == loss.get_config()
    np.testing.assert_array_equal(again(*batch), loss(*batch))


@every_loss
def test_takes_sample_weights_as_keras_gives_them(cls, batch):
    target, logits = batch
    weight = np.array([1.0, 0.0, 2.0, 0.5], "float32")
    weighted = make(cls, reduction="sum")(target, logits, sample_weight=weight)
    assert float(weighted) == pytest.approx((values(cls, target, logits) * weight).sum(), rel=1e-5)


@every_loss
def test_works_as_the_loss_of_any_keras_model(cls, batch, tmp_path):
    target, logits = batch
    model = keras.Sequential([keras.Input((6, 5, 4)), keras.layers.Conv2D(4, 1)])
    model.compile("sgd", loss=make(cls, class_weights=WEIGHTS), jit_compile=False)
    history = model.fit(logits, target, epochs=3, batch_size=2, verbose=0).history["loss"]
    assert history[-1] < history[0]
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before, after = (m.evaluate(logits, target, verbose=0) for m in (model, again))
    assert after == pytest.approx(before, rel=1e-6)


@every_loss
@pytest.mark.parametrize(
    "weights, words",
    [
        ([1, -1, 1, 1], "not negative. Received: .1.0, -1.0"),
        ([1, float("nan"), 1, 1], "finite"),
        ([], "finite"),
    ],
)
def test_bad_weights(cls, weights, words):
    with pytest.raises(ValueError, match=words):
        make(cls, class_weights=weights)


@every_loss
def test_bad_calls(cls, batch):
    target, logits = batch
    with pytest.raises(ValueError, match="signed target.*dtype uint8"):
        make(cls)(target.astype("uint8"), logits)
    with pytest.raises(ValueError, match=r"one shape.*target \(4, 6, 5\), logits \(4, 6, 5, 4\)"):
        make(cls)(target[..., 0], logits)
    with pytest.raises(ValueError, match=r"one sample_weight an image.*shape \(4, 6, 5\)"):
        make(cls)(target, logits, sample_weight=np.ones((4, 6, 5)))
    with pytest.raises(ValueError, match="2 class_weights for 4 classes"):
        make(cls, class_weights=[1, 2])(target, logits)


@pytest.mark.parametrize("cls", [losses.SoftDice, losses.BCEDice])
def test_smooth_must_be_positive(cls):
    with pytest.raises(ValueError, match="smooth > 0 pixels. Received: 0"):
        cls(smooth=0)


def test_other_bad_arguments():
    with pytest.raises(ValueError, match="'label' or 'prediction'. Received: 'pixel'"):
        losses.CrossEntropy(weight_by="pixel")
    with pytest.raises(ValueError, match="class weight above 0"):
        losses.SoftDice(class_weights=[0, 0])
    with pytest.raises(ValueError, match="adds losses of segkit. Received: .'mse'"):
        losses.WeightedSum(["mse"])
    with pytest.raises(ValueError, match="one finite weight a loss, 2 here. Received: .1.0"):
        losses.WeightedSum(both_terms(), weights=[1])


def test_class_weights_of_a_sum_go_to_the_terms_that_have_none(batch):
    own = losses.CrossEntropy(class_weights=[1, 1, 1, 9])
    total = losses.WeightedSum([own, losses.CrossEntropy()], class_weights=WEIGHTS)
    expected = own(*batch) + losses.CrossEntropy(class_weights=WEIGHTS)(*batch)
    np.testing.assert_allclose(total(*batch), expected, rtol=1e-6)

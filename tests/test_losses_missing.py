"""What the losses do where annotations are missing: the article's figures, the marginal's axiom."""

import numpy as np
import pytest
from gradients import gradient

from segkit import losses
from segkit.losses.pixelwise import log_probability
from segkit.synthetic import missing, shapes
from segkit.targets import encode


@pytest.fixture(scope="module")
def article():
    """Eight images of the article; a model that sees every object; one object a image hidden."""
    planes = shapes.article(8, 48, 48, seed=0)
    masks = (planes * np.array([1, 2, 3], "uint8")[None, :, None, None]).max(1)
    rng = np.random.default_rng(0)
    logits = 3.0 * np.eye(4)[masks] + rng.normal(size=(*masks.shape, 4))
    return masks, logits.astype("float32")


def all_looked(masks):
    return np.ones((len(masks), 4), bool)


def value(loss, masks, annotated, logits, labels):
    return float(loss(encode(masks, annotated, labels), logits))


def test_source_3_gated_below_plain_on_complete_below_plain_on_incomplete(article, labels):
    masks, logits = article
    hidden, annotated = missing.hide(masks, labels, rate=0.6, seed=1)
    assert (hidden != masks).any()
    complete = value(losses.CrossEntropy(), masks, all_looked(masks), logits, labels)
    plain = value(losses.CrossEntropy(), hidden, annotated, logits, labels)
    gated = value(losses.GatedCrossEntropy(), hidden, annotated, logits, labels)
    assert gated < complete < plain


AWARE = [losses.MarginalCrossEntropy()]
AWARE += [losses.GatedCrossEntropy(gate=gate) for gate in ("predicted", "everywhere", "soft")]


@pytest.mark.parametrize("loss", AWARE, ids=lambda loss: getattr(loss, "gate", loss.name))
@pytest.mark.parametrize("weights", [None, [0.3, 4.5, 4.7, 6.6]])
def test_source_3_equals_plain_bit_for_bit_when_nothing_is_missing(article, labels, loss, weights):
    masks, logits = article
    target = encode(masks, all_looked(masks), labels)
    options = {"class_weights": weights, "reduction": None}
    plain = losses.CrossEntropy(**options)
    aware = type(loss).from_config({**loss.get_config(), **options})
    np.testing.assert_array_equal(plain(target, logits), aware(target, logits))
    np.testing.assert_array_equal(*(gradient(k, target, logits) for k in (plain, aware)))


def test_gate_by_hand(labels):
    """Four background pixels, circle unannotated; the model says background, circle, ellipse,
    circle: the two circles are forgiven, and the mean still runs over four pixels."""
    target = encode(np.zeros((1, 2, 2), int), np.array([[1, 1, 1, 0]], bool), labels)
    logits = np.log([[0.7, 0.1, 0.1, 0.1], [0.2, 0.1, 0.1, 0.6], [0.3, 0.5, 0.1, 0.1]])
    logits = np.vstack([logits, logits[1:2]]).reshape(1, 2, 2, 4)
    loss = float(losses.GatedCrossEntropy()(target, logits))
    assert loss == pytest.approx(-(np.log(0.7) + np.log(0.3)) / 4, rel=1e-6)


@pytest.mark.parametrize("gate, weight", [("everywhere", 0), ("soft", 0.2 / (0.2 + 0.6))])
def test_other_gates_by_hand(labels, gate, weight):
    """A background pixel that may be a circle, p = 0.2 and 0.6; and a labelled one, always in."""
    target = encode(np.array([[[0, 1]]]), np.array([[1, 1, 1, 0]], bool), labels)
    logits = np.log([[[[0.2, 0.1, 0.1, 0.6], [0.2, 0.1, 0.1, 0.6]]]])
    loss = float(losses.GatedCrossEntropy(gate=gate)(target, logits))
    assert loss == pytest.approx(-(weight * np.log(0.2) + np.log(0.1)) / 2, rel=1e-6)


def test_soft_gate_keeps_the_label_s_part_of_the_marginal_gradient(labels):
    """marginal = sum over candidates k of belief_k (p - e_k); the gate keeps k = label."""
    target = encode(np.zeros((1, 1, 1), int), np.array([[1, 1, 0, 0]], bool), labels)
    p = np.array([0.3, 0.1, 0.2, 0.4])
    logits = np.log(p).astype("float32").reshape(1, 1, 1, 4)
    belief = {k: p[k] / 0.9 for k in (0, 2, 3)}
    part = {k: belief[k] * (p - np.eye(4)[k]) for k in belief}
    soft = gradient(losses.GatedCrossEntropy(gate="soft"), target, logits).ravel()
    marginal = gradient(losses.MarginalCrossEntropy(), target, logits).ravel()
    np.testing.assert_allclose(soft, part[0], atol=1e-6)
    np.testing.assert_allclose(marginal, sum(part.values()), atol=1e-6)


def test_trap_1_probabilities_are_summed_not_logits():
    """Five equal logits, background and three unannotated classes: 4/5, where the published code
    of the formula, which sums logits, gives 1/2. A confident background pixel: 0.9933."""
    target = np.array([[[[1, 0, -1, -1, -1]]]], "int8")
    equal = float(losses.MarginalCrossEntropy()(target, np.zeros((1, 1, 1, 5), "float32")))
    assert np.exp(-equal) == pytest.approx(0.8, rel=1e-6)
    sure = np.array([[[[3, -2, -4, -4, -4]]]], "float32")
    assert np.exp(-float(losses.MarginalCrossEntropy()(target, sure))) == pytest.approx(
        0.9933, abs=1e-4
    )


def test_marginal_cannot_tell_background_from_an_unannotated_class(labels):
    """The label-set axiom: moving probability within the candidates changes nothing."""
    target = encode(np.zeros((1, 1, 1), int), np.array([[1, 1, 1, 0]], bool), labels)
    p = np.array([[0.5, 0.1, 0.1, 0.3], [0.2, 0.1, 0.1, 0.6], [0.0001, 0.1, 0.1, 0.7999]])
    found = [
        float(losses.MarginalCrossEntropy()(target, np.log(row).reshape(1, 1, 1, 4))) for row in p
    ]
    assert found == pytest.approx([-np.log(0.8)] * 3, rel=1e-5)


def test_marginal_of_a_coarse_label_takes_the_mean_weight_of_the_members():
    target = np.array([[[[0, -1, -1]]]], "int8")
    logits = np.log([0.5, 0.3, 0.2]).reshape(1, 1, 1, 3)
    loss = losses.MarginalCrossEntropy(class_weights=[1, 2, 4])
    assert float(loss(target, logits)) == pytest.approx(-3 * np.log(0.5), rel=1e-6)


def test_naive_loss_punishes_what_nobody_outlined(article, labels):
    """On hidden objects the naive loss pulls to background, the marginal one does not."""
    masks, logits = article
    hidden, annotated = missing.hide(masks, labels, rate=1.0, seed=0)
    target, pull = encode(hidden, annotated, labels), {}
    for loss in (losses.CrossEntropy(), losses.MarginalCrossEntropy()):
        pull[loss.name] = gradient(loss, target, logits)[masks > 0][:, 0].mean()
    assert pull["cross_entropy"] < 0  # a step against it raises the background logit
    assert abs(pull["marginal_cross_entropy"]) < 1e-3 * abs(pull["cross_entropy"])


@pytest.mark.parametrize("far", [0, 300])  # apart, so that probabilities underflow
def test_log_probability_of_a_set(far):
    """Members may belong to a set in part; some rows count, one of the others is NaN."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(1, 1, 6, 4)) + far * np.array([0, 0, 1, 0])
    parts = np.array([1, 0.3, 0, 0]) * np.ones((1, 1, 6, 1))
    counted = np.array([[[True] * 4 + [False] * 2]])
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    inside = parts * p / (parts * p).sum(-1, keepdims=True)
    expected = np.where(counted, np.log((parts * p).sum(-1)), 0)
    logits[0, 0, 5] = np.nan
    parts, logits = (a.astype("float32") for a in (parts, logits))
    np.testing.assert_allclose(log_probability(parts, logits, counted), expected, rtol=1e-5)
    found = gradient(lambda v, z: log_probability(v, z, counted), parts, logits)
    np.testing.assert_allclose(found, np.where(counted[..., None], inside - p, 0), atol=1e-6)

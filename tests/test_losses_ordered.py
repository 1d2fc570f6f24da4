"""The distance of cumulative distributions, on classes in an order."""

import numpy as np
import pytest
from gradients import gradient
from scipy.optimize import minimize

from segkit import losses
from segkit.contract import UNKNOWN
from segkit.labels import LabelSpace
from segkit.losses import reference
from segkit.targets import encode


def cell(*states):
    """The target of one pixel."""
    return np.array(states, "int8").reshape(1, 1, 1, -1)


def logits_of(*p):
    return np.log(np.maximum(p, 1e-30)).astype("float32").reshape(1, 1, 1, -1)


def cost(target, p):
    return float(losses.EarthMovers()(target, logits_of(*p)))


def test_source_11_one_tenth_three_classes_away():
    """True class 4 of 10, prediction 0.1 at class 1 and 0.9 at class 4: three of ten terms are
    0.1^2."""
    p = 0.1 * np.eye(10)[1] + 0.9 * np.eye(10)[4]
    target = cell(*np.eye(10)[4])
    assert cost(target, p) == pytest.approx(0.054772, abs=1e-6)
    assert reference.earth_movers(target, logits_of(*p)) == pytest.approx(0.054772, abs=1e-6)


def test_far_misses_cost_more_than_near_ones():
    """All of it d classes away: d terms are 1. Cross-entropy cannot tell these apart."""
    found = [cost(cell(*np.eye(5)[1]), np.eye(5)[1 + d]) for d in range(4)]
    assert found == pytest.approx([np.sqrt(d / 5) for d in range(4)])


@pytest.mark.parametrize(
    "states, differences",
    [
        ((0, -1, -1, 0), [0.1, 0, -0.4]),  # grade 1 or 2: 0.1 lies below, 0.4 above
        ((0, 0, -1, -1), [0.1, 0.3, 0]),  # grade 2 or 3
        ((-1, -1, 0, 0), [0, -0.7, -0.4]),
        ((-1, 0, 0, -1), [0.1 - 1 / 3, 0.3 - 1 / 3, 0.6 - 1 / 3]),  # either end, not between
        ((1, 0, -1, 0), [-0.1, 0.1, -0.4]),  # grade 0, or 2, which nobody looked for
        ((-1, -1, -1, -1), [0, 0, 0]),
        ((0, 0, 0, 0), [0, 0, 0]),  # independent classes: none of them, so there is no order
    ],
)
def test_sets_of_classes_by_hand(states, differences):
    """F is 0.1, 0.3, 0.6, 1."""
    expected = np.sqrt(np.square(differences).sum() / 4)
    assert cost(cell(*states), [0.1, 0.2, 0.3, 0.4]) == pytest.approx(expected, rel=1e-5)


def test_coarse_grades_of_a_label_space():
    coarse = [{"name": "severe", "id": 9, "members": ["2", "3"]}]
    space = LabelSpace(list("0123"), background=None, coarse=coarse)
    target = encode(np.array([[[9, 1, 255]]]), np.ones((1, 4), bool), space)
    p = np.tile([0.1, 0.2, 0.3, 0.4], (1, 1, 3, 1))
    found = float(losses.EarthMovers()(target, np.log(p)))
    expected = np.sqrt((0.01 + 0.09) / 4) + np.sqrt((0.01 + 0.49 + 0.16) / 4)
    assert found == pytest.approx(expected / 2, rel=1e-6)


@pytest.mark.parametrize(
    "states", [(0, -1, 0, 0, -1, 0), (-1, 0, 1, -1, 0, 0), (-1, 0, 0, 0, 0, -1)]
)
def test_it_is_the_distance_to_the_nearest_distribution_on_the_candidates(states):
    p = np.random.default_rng(0).dirichlet(np.ones(6))
    open_to = np.flatnonzero(states)

    def distance(some):
        label = np.zeros(6)
        label[open_to] = some
        return np.mean(np.cumsum(p - label) ** 2)

    nearest = minimize(
        distance,
        np.full(len(open_to), 1 / len(open_to)),
        bounds=[(0, 1)] * len(open_to),
        constraints={"type": "eq", "fun": lambda some: some.sum() - 1},
        options={"ftol": 1e-12},
    )
    assert cost(cell(*states), p) == pytest.approx(np.sqrt(nearest.fun), abs=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(
    "states", [(0, 1, 0, 0), (0, -1, -1, 0), (-1, 0, 0, -1), (1, -1, -1, -1), (-1, -1, -1, 0)]
)
def test_no_loss_no_gradient(states, dtype):
    """The root has none at 0: where all is right, the gradient is 0 and not NaN."""
    target = cell(*states)
    anything = np.random.default_rng(2).normal(size=target.shape)
    right = np.where(target != 0, anything, -200).astype(dtype)
    assert float(losses.EarthMovers()(target, right)) == 0
    assert (gradient(losses.EarthMovers(), target, right) == 0).all()
    wrong = gradient(losses.EarthMovers(), target, np.zeros(target.shape, dtype))
    assert np.isfinite(wrong).all()
    assert wrong[target != 0].sum() < 0 or (target != 0).all()


def test_rounding_is_no_direction():
    """A hair's breadth from right, the gradient still points where the twin says."""
    target, z = cell(-1, 0, -1, -1), np.array([0.3, -30, 0.9, 0.1]).reshape(1, 1, 1, 4)
    found = gradient(losses.EarthMovers(), target, z.astype("float32"))
    step = 1e-3 * np.eye(4)[1]
    before, after = (reference.earth_movers(target, z + s)[0] for s in (-step, step))
    assert found[..., 1] == pytest.approx((after - before) / 2e-3, rel=1e-2)
    np.testing.assert_allclose(found.sum(), 0, atol=1e-3 * found.max())


def test_gradient_by_differences():
    rng = np.random.default_rng(1)
    target = encode(
        rng.choice([0, 0, 1, 2, 3, 255], (1, 3, 3)),
        np.array([[1, 1, 0, 0]], bool),
        LabelSpace(list("0123")),
    )
    logits, ahead = rng.normal(size=(2, *target.shape))
    step = 1e-4 * ahead
    before, after = (
        reference.earth_movers(target, z, [1, 2, 3, 4])[0] for z in (logits - step, logits + step)
    )
    loss = losses.EarthMovers(class_weights=[1, 2, 3, 4])
    found = gradient(loss, target, logits.astype("float32"))
    assert (found * ahead).sum() == pytest.approx((after - before) / 2e-4, rel=1e-3)
    assert (found[(target == UNKNOWN).all(-1)] == 0).all()

"""Estimating how often annotators skip a class: from evidence, and from a model that sees all."""

import keras
import numpy as np
import pytest

from segkit import losses
from segkit.contract import Sample
from segkit.estimation import AnnotatedShare
from segkit.losses.estimated import estimate_share, estimated_terms, evidence
from segkit.synthetic.missing import HiddenAnnotations

SHARES = (0.1, 0.3, 0.5, 0.8, 1.0)


class Shown:
    """Images that are their own truth, one channel a class, for a model that reads them."""

    def __init__(self, labels, count=600, presence=0.6):
        rng = np.random.default_rng(0)
        self.labels = labels
        self.masks = np.zeros((count, 4, 4), np.uint8)
        for c in labels.foreground:
            self.masks[rng.random(count) < presence, c - 1, :2] = c

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        mask = self.masks[index]
        image = (mask[..., None] == np.arange(self.labels.num_classes)).astype("float32")
        return Sample(image, mask, np.ones(self.labels.num_classes, bool), None, str(index))

    def annotation(self, index):
        return self.masks[index], np.ones(self.labels.num_classes, bool)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("noise", [0, 0.1])
def test_share_is_found_from_what_the_model_sees(share, noise):
    """1,000 images, 600 hold the class, a share of these is labelled."""
    rng = np.random.default_rng(0)
    there, labelled = np.arange(1000) < 600, rng.random(1000) < share
    seen = np.where(there, 0.9, 0.02) + noise * rng.uniform(-1, 1, 1000)
    found = estimate_share(seen[there & labelled], np.clip(seen[~(there & labelled)], 0, 1))
    assert found == pytest.approx((there & labelled).sum() / 600, abs=0.05)


def test_by_hand():
    """Two labelled images, two in doubt, of which one surely holds the class: a = 2 / 3."""
    assert estimate_share(np.array([0.8, 0.8]), np.array([0.8, 0.0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("labelled", [[], [0.1, 0.2]])
def test_without_knowledge_nothing_is_taken_for_absent(labelled):
    assert estimate_share(np.array(labelled), np.array([0.0, 0.0])) == 0


def test_evidence_by_hand():
    """Probabilities 1/2 and 1/2 at one pixel of doubt: 0.25 / (0.5 + 0.001)."""
    where = np.array([[1.0, 0.0], [0.0, 0.0]], "float32").reshape(1, 1, 2, 2)
    found = np.asarray(evidence(where, np.zeros((1, 1, 2, 2), "float32")))
    np.testing.assert_allclose(found, [[0.25 / 0.501, 0]], rtol=1e-5)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_callback_sets_the_losses_and_the_log(labels, share):
    source = HiddenAnnotations(Shown(labels), rate=1 - share, declared=False)
    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Rescaling(12.0)])
    start = {"annotated_share": [0.0] * 4}
    loss = losses.WeightedSum(
        [losses.EstimatedCrossEntropy(**start), losses.EstimatedDice(**start)]
    )
    callback = AnnotatedShare(loss, source, images=600)
    callback.set_model(model)
    logs = {}
    callback.on_epoch_end(0, logs)
    for term in estimated_terms(loss):
        found = np.asarray(term.annotated_share)
        assert found[0] == 0 and found[1:] == pytest.approx(share, abs=0.06)
    assert set(logs) == {f"annotated_share_{labels.names[c]}" for c in labels.foreground}
    restored = keras.losses.deserialize(keras.losses.serialize(loss))
    kept = [np.asarray(term.annotated_share).tolist() for term in estimated_terms(restored)]
    assert kept == [found.tolist()] * 2


def test_other_losses_are_left_alone(labels):
    callback = AnnotatedShare(losses.MarginalCrossEntropy(), Shown(labels, count=8))
    callback.on_epoch_end(0, logs := {})  # needs no model
    assert logs == {}


def test_a_backend_that_would_not_see_the_estimate(labels, monkeypatch):
    source, loss = Shown(labels, count=8), losses.EstimatedDice(annotated_share=[0.0] * 4)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="Received: jax. Set KERAS_BACKEND=tensorflow"):
        AnnotatedShare(loss, source)
    AnnotatedShare(losses.SoftDice(), source)  # has nothing to estimate


def test_one_share_for_all_cannot_be_estimated(labels):
    with pytest.raises(ValueError, match=r"needs one annotated_share a class .* 4 here"):
        AnnotatedShare(losses.EstimatedCrossEntropy(), Shown(labels, count=8))


@pytest.mark.parametrize(
    "share, received",
    [(-0.1, "-0.1"), ([0.0, 2.0], "2.0"), (float("nan"), "nan"), ([0.5, "x"], "'x'"), (None, None)],
)
def test_shares_out_of_range(share, received):
    words = f"annotated_share of EstimatedDice must be a number from 0 to 1. Received: {received}"
    with pytest.raises(ValueError, match=words):
        losses.EstimatedDice(annotated_share=share)


def test_shares_and_weights_of_different_numbers():
    with pytest.raises(ValueError, match="one annotated_share .* 4 here. Received: .0.1, 0.2"):
        losses.EstimatedCrossEntropy(class_weights=[1] * 4, annotated_share=[0.1, 0.2])


def test_a_class_that_was_not_drawn_keeps_its_estimate(labels):
    source = Shown(labels, count=8, presence=0.0)
    loss = losses.EstimatedCrossEntropy(annotated_share=[0.0, 0.3, 0.4, 0.5])
    callback = AnnotatedShare(loss, source)
    callback.set_model(keras.Sequential([keras.Input((None, None, 4)), keras.layers.Rescaling(9)]))
    callback.on_epoch_end(0, {})
    np.testing.assert_allclose(np.asarray(loss.annotated_share), [0.0, 0.3, 0.4, 0.5], rtol=1e-6)

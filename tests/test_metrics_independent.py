"""Scores of independent classes: each on its own, and nothing is gained by predicting nothing."""

import numpy as np
import pytest

from segkit import metrics
from segkit.contract import LABELLED, RULED_OUT, UNKNOWN
from segkit.labels import LabelSpace
from segkit.metrics.cells import unsettled
from segkit.targets import encode

SPACE = LabelSpace(["cell", "nucleus", "debris"], background=None, exclusive=False)


def planes(*rows):
    """One row of pixels a class -> (1, 1, W, C)."""
    return np.array(rows).T[None, None]


def coded(rows, annotated):
    return encode(planes(*rows), np.array([annotated], bool), SPACE)


def random_case(seed, images=6, classes=5):
    rng = np.random.default_rng(seed)
    target = rng.choice([RULED_OUT, LABELLED, UNKNOWN], (images, 4, 5, classes), p=[0.6, 0.3, 0.1])
    for cell in np.argwhere(rng.random((images, classes)) < 0.3):
        plane = target[cell[0], :, :, cell[1]]
        plane[plane == RULED_OUT] = UNKNOWN  # nobody looked
    return target.astype("int8"), rng.normal(size=target.shape).astype("float32")


def test_each_class_on_its_own_by_hand():
    """Cell: TP 2, FP 1, FN 1, one pixel ignored. Nucleus: nobody looked. Debris: absent, FP 1."""
    target = coded([[1, 1, 1, 0, 255], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]], [1, 0, 1])
    prediction = planes([1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1])
    found = metrics.count(target, prediction)
    assert found.true_positives.tolist() == [2, 0, 0]
    assert found.false_positives.tolist() == [1, 0, 1]
    assert found.false_negatives.tolist() == [1, 0, 0]
    assert found.true_negatives.tolist() == [0, 0, 4]
    assert found.images.tolist() == [1, 0, 1]
    cell, nucleus, debris = found.to_dict(SPACE.names)["per_class"]
    assert (cell["iou"], nucleus["iou"], debris["iou"]) == (0.5, None, 0)


def test_confusion_counts_what_comes_together():
    """The nucleus lies in the cell: both are right, and both stand in the table."""
    target = coded([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], [1, 1, 0])
    prediction = planes([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1])
    assert metrics.count(target, prediction).confusion.tolist() == [[2, 2, 0], [1, 1, 0], [0] * 3]


@pytest.mark.parametrize("seed", range(3))
def test_complete_scores_equal_scikit_learn(seed):
    from sklearn.metrics import jaccard_score, precision_score, recall_score

    rng = np.random.default_rng(seed)
    masks, prediction = rng.random((2, 3, 6, 6, 3)) < 0.4
    target = encode(masks.astype("uint8"), np.ones((3, 3), bool), SPACE)
    found = metrics.count(target, prediction)
    flat = masks.reshape(-1, 3), prediction.reshape(-1, 3)
    np.testing.assert_allclose(found.iou, jaccard_score(*flat, average=None))
    np.testing.assert_allclose(found.precision, precision_score(*flat, average=None))
    np.testing.assert_allclose(found.recall, recall_score(*flat, average=None))


@pytest.mark.parametrize("seed", range(4))
def test_a_class_scores_as_with_its_background_alone(seed):
    """Channel c is a label space of "not c" and c, where a pixel of the class is beyond doubt."""
    target, logits = random_case(seed)
    found = metrics.count(target, logits >= 0)
    known = metrics.known_cells(target, exclusive=False)
    for c in range(target.shape[-1]):
        one = target[known[:, c], :, :, c]
        inside = np.where(one == UNKNOWN, UNKNOWN, one == LABELLED)
        pair = np.stack([np.where(one == UNKNOWN, UNKNOWN, one == RULED_OUT), inside], -1)
        alone = metrics.count(pair.astype("int8"), (logits[known[:, c], :, :, c] >= 0).astype(int))
        for name in ("true_positives", "false_positives", "false_negatives", "true_negatives"):
            assert getattr(alone, name)[1] == getattr(found, name)[c]


def test_a_cell_with_outlined_objects_only_is_not_known():
    """Somebody outlined one cell by chance: a model that finds another is not wrong there."""
    target = coded([[1, 0, 0], [0, 0, 0], [255, 255, 255]], [0, 1, 1])
    assert metrics.known_cells(target, exclusive=False).tolist() == [[False, True, False]]
    assert unsettled(target, exclusive=False)[0, 0].T.tolist()[0] == [False, True, True]


def test_ignored_pixels_leave_the_cell_known():
    target = coded([[1, 255, 0], [255, 255, 1], [1, 1, 1]], [1, 1, 1])
    assert metrics.known_cells(target, exclusive=False).tolist() == [[True, False, True]]
    target = coded([[1, 255, 0], [255, 0, 1], [1, 1, 1]], [1, 1, 1])
    assert metrics.known_cells(target, exclusive=False).all()
    assert not unsettled(target, exclusive=False).any()


def test_predicting_nothing_pleases_no_score():
    """1,000 labels, 1-10 on: the share of right pixels is 99 %, and every score is 0."""
    rng = np.random.default_rng(0)
    names = [f"tag_{n:03d}" for n in range(1000)]
    masks = np.zeros((20, 2, 2, 1000), np.uint8)
    for image in masks:
        image[..., rng.choice(1000, rng.integers(1, 11), replace=False)] = 1
    space = LabelSpace(names, background=None, exclusive=False)
    target = encode(masks, np.ones((20, 1000), bool), space)
    nothing = np.zeros(masks.shape, bool)
    assert (nothing == masks).mean() > 0.99
    found = metrics.count(target, nothing).to_dict(names)
    on = masks.any((0, 1, 2))
    rows = found["per_class"]
    assert {row["iou"] for row, labelled in zip(rows, on) if labelled} == {0}
    assert {row["recall"] for row, labelled in zip(rows, on) if labelled} == {0}
    assert {row["iou"] for row, labelled in zip(rows, on) if not labelled} == {None}
    assert found["mean_iou"] == found["mean_dice"] == 0


def test_counts_and_bounds_add_up_over_images():
    target, logits = random_case(0)
    for counting in (metrics.count, metrics.bounds):
        parts = [counting(t[None], (z >= 0)[None]) for t, z in zip(target, logits)]
        total = sum(parts[1:], parts[0])
        for name, value in vars(counting(target, logits >= 0)).items():
            np.testing.assert_array_equal(value, getattr(total, name))


@pytest.mark.parametrize("seed", range(4))
def test_bounds_hold_every_completion(seed):
    target, logits = random_case(seed)
    found, rng = metrics.bounds(target, logits >= 0), np.random.default_rng(seed)
    open_ = unsettled(target, exclusive=False)
    assert open_.any()
    best, worst = logits >= 0, logits < 0
    for filled in (best, worst, rng.random(target.shape) < 0.5):
        full = np.where(open_, filled, target).astype("int8")
        whole = metrics.bounds(full, logits >= 0)  # nothing is open any more
        np.testing.assert_array_equal(*whole.iou)
        assert (found.iou[0] <= whole.iou[0]).all() and (whole.iou[0] <= found.iou[1]).all()
    np.testing.assert_array_equal(
        metrics.bounds(np.where(open_, worst, target).astype("int8"), best).iou[0], found.iou[0]
    )


@pytest.mark.parametrize("seed", range(2))
def test_mean_iou_while_training_is_the_same(seed):
    target, logits = random_case(seed)
    logits[0, 0, 0] = 0  # a probability of exactly 0.5 is predicted
    names = list("abcde")
    metric = metrics.MeanIoU(names, exclusive=False)
    for i in range(0, len(target), 2):
        metric.update_state(target[i : i + 2], logits[i : i + 2])
    expected = metrics.count(target, logits >= 0).to_dict(names)
    result = {name: float(value) for name, value in metric.result().items()}
    assert result["mean_iou"] == pytest.approx(expected["mean_iou"], rel=1e-6)
    for row in expected["per_class"]:
        assert result[f"iou_{row['name']}"] == pytest.approx(row["iou"], rel=1e-6)
    assert metrics.MeanIoU.from_config(metric.get_config()).exclusive is False


def test_what_is_no_plane_is_named():
    target, logits = random_case(0)
    with pytest.raises(ValueError, match="needs planes of 0 and 1.*Received: float32.*>= 0.5"):
        metrics.count(target, logits)
    with pytest.raises(ValueError, match="metrics.bounds needs a target and logits of one shape"):
        metrics.bounds(target, logits[..., :2] >= 0)

"""What an audit finds in cells: regions, strengths, probabilities, wrong classes and shifts."""

import numpy as np
import pytest
from audited import LABELS, empty, probabilities, sample, square
from scipy.special import expit, logit

from segkit.audit import cells, regions, scores
from segkit.audit.evidence import Place, Seen, shown_size
from segkit.audit.ranking import HEADER, described, rank, summary
from segkit.audit.regions import Drawn
from segkit.labels import LabelSpace


def looked(truth, mask, annotated=(True, True, True), labels=LABELS, sure=0.9):
    found = cells(sample(mask, annotated), probabilities(truth, labels, sure), labels)
    return {labels.names[cell.id]: cell for cell in found}


# ---- regions


def test_found_by_hand():
    p = np.zeros((4, 6))
    p[0, :3], p[3, 4:] = [0.5, 0.75, 0.25], [0.9, 0.9]
    p[0, 5] = 0.2  # too faint for a region, yet expected
    found = regions.found_in(p, np.ones((4, 6), bool))
    assert (found.regions, found.area, found.box) == (2, 2, (3, 4, 1, 2))
    assert found.expected == pytest.approx(3.5)
    assert found.confidence == pytest.approx(0.9)


def test_regions_that_touch_what_is_drawn_belong_to_it():
    p, drawn = np.zeros((5, 9)), np.zeros((5, 9), bool)
    p[1:3, :4], p[1:3, 6:8] = 0.9, 0.8
    drawn[1:3, :3] = True
    found = regions.found_in(p, ~drawn, drawn)
    assert (found.regions, found.box) == (1, (1, 6, 2, 2))
    shown = regions.regions_of(p, ~drawn, drawn)
    assert shown[1:3, 6:8].all() and shown.sum() == 4


@pytest.mark.parametrize("apart", [None, np.eye(3, dtype=bool)])
def test_without_a_region_the_most_probable_pixel_counts(apart):
    p = np.full((3, 3), 0.1)
    p[2, 0] = 0.2
    found = regions.found_in(p, np.ones((3, 3), bool) if apart is None else ~apart, apart)
    assert found.regions == 0 and found.box is None
    assert found.confidence == pytest.approx(0.2)


def test_strength_is_a_probability_averaged_over_a_part_of_an_object():
    p = np.zeros((64, 64))
    p[20:44, 20:44] = 0.8  # so wide that the Gaussian sees nothing else
    found = regions.found_in(p, np.ones(p.shape, bool))
    assert scores.strength(found, 24**2) == pytest.approx(0.8, abs=1e-4)
    speck = np.zeros((64, 64))
    speck[20, 20] = 1.0
    found = regions.found_in(speck, np.ones(p.shape, bool))
    # The centre of a Gaussian of one pixel; and less, the wider it is.
    assert scores.strength(found, 5) == pytest.approx(1 / (2 * np.pi), rel=0.01)
    wider = [scores.strength(found, np.pi * (8 * width) ** 2) for width in (1, 2, 4, 8, 1e6)]
    assert all(a > 2 * b for a, b in zip(wider, wider[1:])) and wider[-1] > 0


def test_what_touches_a_drawn_object_has_no_peak():
    p, drawn = np.zeros((32, 32)), np.zeros((32, 32), bool)
    p[2:12, 2:12], drawn[2:12, 2:7] = 1.0, True
    p[20:30, 20:30] = 0.6
    found = regions.found_in(p, ~drawn, drawn)
    assert found.regions == 1 and scores.strength(found, 100) == pytest.approx(0.6, abs=0.01)


def test_where_a_class_may_hide():
    labels = LabelSpace(
        LABELS.names, coarse=[{"name": "any", "id": 9, "members": LABELS.names[1:]}]
    )
    mask = np.array([[0, 1, 2, 255, 9]], np.uint8)
    drawn = Drawn.of(mask, labels)
    np.testing.assert_array_equal(drawn.open[0, :, 1], [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(drawn.labelled[0, :, 1], [0, 1, 0, 0, 0])
    assert not drawn.open[..., 0].any()
    whole = LabelSpace(["cell", "nucleus"], background=None)  # every pixel has its class
    assert not Drawn.of(np.array([[0, 1]]), whole).open.any()


def test_independent_classes_are_looked_at_plane_by_plane():
    labels = LabelSpace(["cell", "nucleus"], background=None, exclusive=False)
    mask = np.zeros((20, 20, 2), np.uint8)
    mask[2:8, 2:8, 0], mask[0, 0, 1] = 1, 255
    p = np.full((20, 20, 2), 0.02, "float32")
    p[2:8, 2:8] = 0.9
    p[12:18, 12:18, 0] = 0.1
    mask[12:18, 12:18, 0] = 1
    image = np.zeros((20, 20, 3), np.uint8)
    whole = sample(empty())._replace(image=image, mask=mask, annotated=np.ones(2, bool))
    cell, nucleus = cells(whole, p, labels)
    assert nucleus.drawn == 0 and nucleus.found.box == (2, 2, 6, 6)
    assert cell.doubt.says is None and cell.doubt.box == (12, 12, 6, 6)
    assert cell.doubt.confidence == pytest.approx(0.9, abs=0.01)


# ---- cells


def test_an_object_that_nobody_outlined_is_found_where_it_is():
    truth = square(square(empty(), 1, 2, 3), 2, 14, 12)
    cell = looked(truth, square(empty(), 2, 14, 12))["cell"]
    assert cell.drawn == 0 and cell.annotated and cell.as_if is None
    assert cell.found.box == (2, 3, 6, 6) and cell.found.area == 36
    assert cell.outlines["found"].sum() == 36
    nucleus = looked(truth, square(empty(), 2, 14, 12))["nucleus"]
    assert nucleus.drawn == nucleus.area == 36 and nucleus.found.regions == 0
    assert nucleus.as_if.box == (14, 12, 6, 6)  # what would be found had it not been drawn


def test_another_object_of_a_class_that_is_drawn_is_found():
    truth = square(square(empty(), 1, 2, 3), 1, 14, 12)
    cell = looked(truth, square(empty(), 1, 2, 3))["cell"]
    assert cell.drawn == 36 and cell.found.box == (14, 12, 6, 6)


def test_ignored_pixels_hide_nothing():
    mask = empty()
    mask[:12] = 255
    cell = looked(square(empty(), 1, 2, 3), mask)["cell"]
    assert cell.found.regions == 0


def test_a_region_that_is_another_class_is_doubted():
    truth = square(square(empty(), 2, 2, 3), 1, 14, 12)
    mask = square(square(empty(), 1, 2, 3), 1, 14, 12)
    doubt = looked(truth, mask)["cell"].doubt
    assert (doubt.says, doubt.area, doubt.box) == (2, 36, (2, 3, 6, 6))
    assert doubt.confidence == pytest.approx(0.9)
    assert looked(mask, mask)["cell"].doubt is None


@pytest.mark.parametrize("rows, columns", [(3, 2), (-3, 0), (0, -4)])
def test_a_shift_is_measured(rows, columns):
    truth, mask = square(empty(), 1, 9, 9), square(empty(), 1, 9 - rows, 9 - columns)
    shift = looked(truth, mask, sure=1.0)["cell"].shift
    assert (shift.rows, shift.columns) == (rows, columns)
    shared = (6 - abs(rows)) * (6 - abs(columns))
    assert shift.before == pytest.approx(shared / (72 - shared)) and shift.after == pytest.approx(1)


def test_what_fits_is_not_shifted_and_nor_is_what_fits_nowhere():
    truth = square(empty(), 1, 9, 9)
    assert looked(truth, truth)["cell"].shift is None
    assert looked(truth, square(empty(), 1, 1, 20, 2))["cell"].shift is None


def test_large_images_are_shown_small_and_small_regions_stay_visible():
    assert shown_size((100, 150)) == (100, 150) and shown_size((4000, 1000)) == (192, 48)
    assert shown_size((1, 4000)) == (1, 192)
    truth = square(empty((600, 600)), 1, 300, 300, 2)
    outline = looked(truth, empty((600, 600)))["cell"].outlines["found"]
    assert outline.shape == (192, 192) and outline.any()


def test_one_pixel_is_enough():
    cell = looked(np.ones((1, 1), np.uint8), empty((1, 1)))["cell"]
    assert cell.found.box == (0, 0, 1, 1)
    drawn = looked(np.ones((1, 1), np.uint8), np.ones((1, 1), np.uint8))["cell"]
    assert drawn.drawn == 1 and drawn.shift is None and drawn.doubt is None


# ---- probabilities


def drawn_from(rng, centre, count, spread=1.0):
    return expit(rng.normal(centre, spread, count))


@pytest.fixture(scope="module")
def mixture():
    """Strengths of positives, and of a mixture of which 30 % are such."""
    rng = np.random.default_rng(0)
    missed = rng.random(800) < 0.3
    mixed = np.where(missed, drawn_from(rng, 2, 800), drawn_from(rng, -2, 800))
    return drawn_from(rng, 2, 600), mixed, missed


def probability(positive, mixed, groups=None, classes=1):
    zeros = np.zeros(len(mixed), int)
    known = [scores.Reference(len(positive), 10.0, positive)] * classes
    return scores.probabilities(mixed, zeros if groups is None else groups, zeros, known)


def test_probabilities_are_those_of_the_mixture(mixture):
    positive, mixed, missed = mixture
    found = probability(positive, mixed)
    # two normals of one spread: the logarithm of their ratio is 4 z, and the prior is 0.3
    expected = expit(4 * (logit(mixed)) + logit(0.3))
    assert np.abs(found - expected).mean() < 0.03
    assert found.mean() == pytest.approx(missed.mean(), abs=0.03)


def test_order_is_that_of_the_strength(mixture):
    positive, mixed, _ = mixture
    found = probability(positive, mixed)
    assert (np.diff(found[np.argsort(mixed)]) >= 0).all()


def test_groups_have_shares_of_their_own(mixture):
    positive, mixed, missed = mixture
    kept = np.concatenate([np.flatnonzero(missed), np.flatnonzero(~missed)])
    rare = np.arange(800) >= 100  # of the first group all are missed, of the second a quarter
    found = probability(positive, mixed[kept], rare.astype(int))
    assert found[~rare].mean() > 0.9 and found[rare].mean() == pytest.approx(
        missed[kept][rare].mean(), abs=0.04
    )


def test_a_class_that_is_hard_to_tell_is_not_judged_by_the_slope_of_another():
    rng = np.random.default_rng(1)
    missed = rng.random((2, 400)) < 0.4
    centres = np.array([[2.0], [0.4]])  # of those that are there; the others lie at their mirror
    mixed = expit(rng.normal(np.where(missed, centres, -centres), 1))
    known = [scores.Reference(400, 10.0, drawn_from(rng, c, 400)) for c in centres[:, 0]]
    ids = np.repeat([0, 1], 400)
    found = scores.probabilities(mixed.ravel(), ids, ids, known).reshape(2, 400)
    sure = np.abs(found - 0.5).mean(1)
    assert sure[0] > 0.4 > 0.3 > sure[1]


def test_a_class_drawn_nowhere_has_no_probability(mixture):
    positive, mixed, _ = mixture
    known = [scores.Reference(len(positive), 10.0, positive), None]
    classes = np.arange(len(mixed)) % 2
    found = scores.probabilities(mixed, classes, classes, known)
    assert np.isnan(found[1::2]).all() and not np.isnan(found[::2]).any()
    assert np.isnan(scores.probabilities(mixed[:2], classes[:2], classes[:2], [None, None])).all()


def test_one_cell_has_a_probability():
    found = probability(np.array([0.9]), np.array([0.9]))
    assert 0 < found[0] < 1


# ---- the ranking


def seen(number, truth, mask, annotated=(True, True, True)):
    found = cells(sample(mask, annotated), probabilities(truth), LABELS, number)
    return Seen(Place("train", number), f"image_{number}", mask.shape, found)


@pytest.fixture(scope="module")
def ranked():
    """Twelve images with cells, missing in 1 and 2; nobody looked in the odd ones."""
    images = []
    for number in range(12):
        truth = square(empty(), 1, 4, 2 + number) if number % 3 else empty()
        mask = empty() if number in (1, 2) else truth
        images.append(seen(number, truth, mask, (True, number % 2 == 0, True)))
    return rank(images, LABELS)


def test_missing_annotations_come_first(ranked):
    found, _ = ranked
    first = [(row.seen.name, row.declared, row.says) for row in found[:2]]
    assert sorted(first) == [("image_1", "unknown", "present"), ("image_2", "annotated", "present")]
    assert found[1].score > 0.7 > 0.3 > found[2].score
    assert [row.score for row in found[-12:]] == [None] * 12  # nuclei are drawn nowhere
    assert len(found) == 6 + 12


def test_rows_and_summary_say_what_was_found(ranked):
    found, known = ranked
    row = described(found[0], LABELS)
    assert tuple(row) == HEADER
    assert row["kind"] == "missing" and row["regions"] == 1 and row["typical_area"] == 36
    assert (row["top"], row["height"], row["width"]) == (4, 6, 6)
    content = summary(found, known, LABELS, 12)
    cell, nucleus = content["classes"]
    assert (cell["drawn"], cell["empty_annotated"], cell["empty_unknown"]) == (6, 3, 3)
    assert 0.5 < cell["expected_missing_annotated"] < 1.5
    assert nucleus["drawn"] == 0 and nucleus["expected_missing_annotated"] is None

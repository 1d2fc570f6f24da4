"""Hiding annotations: what goes, what stays, and on what the draw depends."""

import numpy as np
import pytest

from segkit import sources, targets
from segkit.config import compose
from segkit.contract import Sample
from segkit.labels import LabelSpace
from segkit.synthetic import HiddenAnnotations, Scenes, hide
from segkit.synthetic.missing import hidden_by_source

LABELS = LabelSpace(["background", "ellipse", "rectangle", "circle"])
NO_BACKGROUND = LabelSpace(["a", "b", "c"], background=None)
PLANES = LabelSpace(["a", "b", "c"], background=None, exclusive=False)


def random_masks(count=200, labels=LABELS, dtype=np.uint8):
    rng = np.random.default_rng(7)
    if not labels.exclusive:
        return rng.integers(0, 2, (count, 5, 6, labels.num_classes)).astype(dtype)
    masks = rng.integers(0, labels.num_classes, (count, 5, 6)).astype(dtype)
    masks[:, 0, 0] = labels.ignore_index
    return masks


def test_hiding_by_hand():
    """Everything of the circle goes, nothing else: one image that has it, and one that has not."""
    masks = np.array([[[0, 1, 3], [2, 3, 255]], [[0, 1, 1], [2, 2, 0]]], np.uint8)
    hidden, annotated = hide(masks, LABELS, rate={"circle": 1.0})
    np.testing.assert_array_equal(hidden, [[[0, 1, 0], [2, 0, 255]], [[0, 1, 1], [2, 2, 0]]])
    np.testing.assert_array_equal(annotated, [[True, True, True, False]] * 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_only_hidden_classes_change(dtype):
    masks = random_masks(dtype=dtype)
    before = masks.copy()
    hidden, annotated = hide(masks, LABELS, seed=3)
    np.testing.assert_array_equal(masks, before)
    assert hidden.dtype == dtype and annotated.dtype == bool and annotated.shape == (200, 4)
    gone = ~np.take_along_axis(annotated, np.where(masks == 255, 0, masks).reshape(200, -1), 1)
    np.testing.assert_array_equal(hidden, np.where(gone.reshape(masks.shape), 0, masks))
    assert annotated[:, 0].all()
    targets.encode(hidden, annotated, LABELS)


@pytest.mark.parametrize("labels, left", [(NO_BACKGROUND, 255), (PLANES, 0)])
def test_without_a_background(labels, left):
    """Hidden pixels are nobody's: ignored, or 0 in their own plane."""
    masks = random_masks(labels=labels)
    hidden, annotated = hide(masks, labels, rate={"b": 1.0})
    where = masks == 1 if labels.exclusive else (masks == 1) & (np.arange(3) == 1)
    np.testing.assert_array_equal(hidden, np.where(where, left, masks))
    assert annotated.tolist() == [[True, False, True]] * 200


def test_a_coarse_label_goes_with_the_last_of_its_members():
    labels = LabelSpace(
        ["background", "car", "truck"],
        coarse=[{"name": "vehicle", "id": 9, "members": ["car", "truck"]}],
    )
    masks = np.array([[[9, 1, 2]]], np.uint8)
    assert hide(masks, labels, rate={"car": 1.0})[0].tolist() == [[[9, 0, 2]]]
    assert hide(masks, labels, rate=1.0)[0].tolist() == [[[0, 0, 0]]]


def test_rate_is_the_share_of_cells_and_cells_are_independent():
    rate = {"ellipse": 0.2, "circle": 0.7}
    annotated = hide(random_masks(4000), LABELS, rate=rate)[1]
    shares = 1 - annotated.mean(axis=0)
    np.testing.assert_allclose(shares, [0, 0.2, 0, 0.7], atol=4 * np.sqrt(0.25 / 4000))
    assert abs(np.corrcoef(annotated[:, 1], annotated[:, 3])[0, 1]) < 4 / np.sqrt(4000)


def test_absent_classes_are_hidden_as_often_as_present_ones():
    """Nobody looked: whether there was anything to find makes no difference."""
    empty, full = np.zeros((50, 4, 4), np.uint8), random_masks(50)[:, :4, :4]
    np.testing.assert_array_equal(hide(empty, LABELS)[1], hide(full, LABELS)[1])


@pytest.mark.parametrize("rate, annotated", [(0.0, True), (1.0, False)])
def test_the_ends_of_the_rate(rate, annotated):
    masks = random_masks()
    hidden, known = hide(masks, LABELS, rate=rate)
    assert (known[:, 1:] == annotated).all()
    np.testing.assert_array_equal(hidden, np.where((masks == 255) | annotated, masks, 0))


def test_an_image_depends_on_seed_and_index_alone():
    masks = random_masks(50)
    few, many = hide(masks[:10], LABELS, seed=5), hide(masks, LABELS, seed=5)
    for a, b in zip(few, many):
        np.testing.assert_array_equal(a, b[:10])
    assert (hide(masks, LABELS, seed=6)[1] != many[1]).any()


def test_a_higher_rate_hides_all_that_a_lower_one_hides():
    low, high = (hide(random_masks(), LABELS, rate=rate)[1] for rate in (0.3, 0.6))
    assert (high <= low).all() and (high < low).any()


def test_hiding_only_takes_away():
    before = np.random.default_rng(0).random((200, 4)) < 0.5
    before[:, 0] = True
    alone, after = (hide(random_masks(), LABELS, annotated=a)[1] for a in (None, before))
    np.testing.assert_array_equal(after, alone & before)


def test_no_images():
    hidden, annotated = hide(np.zeros((0, 4, 4), np.uint8), LABELS)
    assert hidden.shape == (0, 4, 4) and annotated.shape == (0, 4)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("sources", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.67, 0.9])
def test_sources_lose_whole_classes_evenly(rate, sources, seed):
    hidden = hidden_by_source(np.array([0, rate, rate, rate]), sources, seed)
    expected = min(round(rate * sources), sources - 1)
    assert hidden.sum(axis=0).tolist() == [0] + [expected] * 3
    lost, avoidable = hidden.sum(axis=1), 3 * expected <= 2 * sources
    assert np.ptp(lost) <= 1 and (lost.max() < 3 or not avoidable)


def test_a_rate_of_one_hides_a_class_in_every_source():
    assert hidden_by_source(np.array([0, 1, 0.5]), 4, seed=0).sum(axis=0).tolist() == [0, 4, 2]


def test_the_sources_of_a_class_are_random():
    """All six pairs out of four sources occur."""
    chosen = {hidden_by_source(np.array([0, 0.5]), 4, seed).tobytes() for seed in range(60)}
    assert len(chosen) == 6


def test_groups_hide_by_source():
    masks = random_masks(60)
    groups = np.arange(60) % 3 * 10 + 7  # any whole numbers will do
    hidden, annotated = hide(masks, LABELS, rate=0.34, groups=groups)
    for source in (7, 17, 27):
        assert len(np.unique(annotated[groups == source], axis=0)) == 1
    assert annotated[:3].sum(axis=0).tolist() == [3, 2, 2, 2]
    assert not (hidden == 1)[~annotated[:, 1]].any()


@pytest.mark.parametrize("rate", [0.5, {"circle": 0.8}])
def test_wrapped_source_draws_as_hide_does(rate):
    scenes = Scenes(12, 16, 16)
    hidden = HiddenAnnotations(scenes, rate=rate, seed=9)
    masks = np.stack([sample.mask for sample in scenes])
    expected_masks, expected = hide(masks, LABELS, rate=rate, seed=9)
    assert len(hidden) == 12 and hidden.labels == scenes.labels
    np.testing.assert_array_equal([sample.mask for sample in hidden], expected_masks)
    np.testing.assert_array_equal([sample.annotated for sample in hidden], expected)
    np.testing.assert_array_equal([sample.truth for sample in hidden], masks)
    for full, sample in zip(scenes, hidden):
        np.testing.assert_array_equal(sample.image, full.image)
        assert sample.name == full.name
    np.testing.assert_array_equal(hidden[-1].annotated, expected[11])
    with pytest.raises(IndexError, match="has 12 images. Received: index 12"):
        hidden[12]


def test_wrapped_source_deals_images_to_groups():
    scenes = Scenes(40, 8, 8)
    hidden = HiddenAnnotations(scenes, rate=0.5, seed=1, groups=2)
    groups = np.array([hidden.group(i) for i in range(40)])
    assert 8 < groups.sum() < 32
    masks = np.stack([sample.mask for sample in scenes])
    expected = hide(masks, LABELS, rate=0.5, seed=1, groups=groups)
    np.testing.assert_array_equal([sample.mask for sample in hidden], expected[0])
    np.testing.assert_array_equal([sample.annotated for sample in hidden], expected[1])


def test_dealing_depends_on_the_seed_and_reaches_every_source():
    sources = [HiddenAnnotations(Scenes(60), seed=seed, groups=3) for seed in (0, 0, 1)]
    dealt = [[source.group(i) for i in range(60)] for source in sources]
    assert dealt[0] == dealt[1] != dealt[2]
    assert set(dealt[0]) == set(dealt[2]) == {0, 1, 2}


def lost(rate=0.5, groups=0, split="", count=300):
    source = HiddenAnnotations(Scenes(count), rate=rate, seed=2, groups=groups, split=split)
    return np.array([source.hidden(i) for i in range(count)])


def test_splits_lose_cells_of_their_own():
    """Image i of train and image i of val have no more in common than chance has it."""
    unnamed, train, val = (lost(split=split)[:, 1:] for split in ("", "train", "val"))
    np.testing.assert_array_equal(lost(split="train")[:, 1:], train)
    for one, other in ((train, val), (train, unnamed), (val, unnamed)):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


def test_sources_lose_the_same_classes_in_every_split():
    """A source is a source; only which images come from it differs."""
    splits = [
        HiddenAnnotations(Scenes(60), seed=4, groups=3, split=name) for name in ("train", "val")
    ]
    dealt = [[split.group(i) for i in range(60)] for split in splits]
    assert dealt[0] != dealt[1]
    for source in range(3):
        rows = [
            tuple(split.hidden(i))
            for split, groups in zip(splits, dealt)
            for i in range(60)
            if groups[i] == source
        ]
        assert len(set(rows)) == 1


def test_training_hides_by_split():
    """`segkit train` hands the name of the split on."""
    config = compose("train", ["data.sizes={train: 40, val: 40}"]).data
    drawn = sources.open_splits(config)
    for name, source in drawn.items():
        alone = HiddenAnnotations(Scenes(40), rate=0.5, seed=0, split=name)
        hidden = [source.hidden(i).tolist() for i in range(40)]
        assert hidden == [alone.hidden(i).tolist() for i in range(40)]


def test_what_was_known_before_is_kept():
    """Two layers: gaps add up, and the truth stays that of the innermost source."""
    scenes = Scenes(20, 16, 16, presence=1.0)
    first = HiddenAnnotations(scenes, rate={"ellipse": 1.0})
    second = HiddenAnnotations(first, rate={"circle": 1.0})
    for full, sample in zip(scenes, second):
        assert sample.annotated.tolist() == [True, False, True, False]
        np.testing.assert_array_equal(sample.truth, full.mask)


class Single:
    """A source of one image with independent classes."""

    labels = PLANES

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return Sample(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8), np.ones(3, bool))


def test_wrapped_source_of_planes():
    sample = HiddenAnnotations(Single(), rate={"b": 1.0})[0]
    assert sample.mask.sum(axis=(0, 1)).tolist() == [4, 0, 4]
    assert sample.truth.sum() == 12


MASKS = np.zeros((2, 4, 4), np.uint8)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"rate": 1.5}, r"rate of 'ellipse' must be a number from 0 to 1. Received: 1.5"),
        ({"rate": float("nan")}, r"Received: nan"),
        ({"rate": {"circle": "all"}}, r"rate of 'circle' must be .* Received: 'all'"),
        ({"rate": {"disc": 0.5}}, r"classes ellipse, rectangle, circle. Received: 'disc'"),
        ({"rate": {"background": 0.5}}, r"Received: 'background'. .* cannot be hidden itself"),
        ({"seed": -1}, r"seed must be a whole number from 0 on. Received: -1"),
        ({"masks": MASKS[0]}, r"integers \(B, H, W\). Received: uint8 \(4, 4\). .* masks\[None\]"),
        ({"masks": MASKS.astype(float)}, r"Received: float64 \(2, 4, 4\)"),
        ({"masks": MASKS, "labels": PLANES}, r"\(B, H, W, 3\). Received: uint8 \(2, 4, 4\)"),
        ({"annotated": np.ones((2, 3), bool)}, r"\(2, 4\). Received: bool \(2, 3\). The classes"),
        ({"annotated": np.ones((2, 4))}, r"booleans, .* Received: float64 \(2, 4\)"),
        ({"groups": [0, 1, 1]}, r"\(2,\). Received: int64 \(3,\). Number the sources"),
        ({"groups": ["a", "b"]}, r"by a whole number: \(2,\). Received: "),
    ],
)
def test_hide_says_what_it_needs(arguments, words):
    with pytest.raises(ValueError, match=words):
        hide(**{"masks": MASKS, "labels": LABELS, **arguments})


def test_hidden_pixels_need_an_id():
    labels = LabelSpace(["a", "b"], background=None, ignore_index=None)
    with pytest.raises(ValueError, match="become the background, .* Received: .* with neither"):
        hide(MASKS, labels)
    source = Single()
    source.labels = labels
    with pytest.raises(ValueError, match="Give LabelSpace one of the two"):
        HiddenAnnotations(source)


def test_wrapped_source_says_what_it_needs():
    with pytest.raises(ValueError, match=r"rate of 'ellipse' must be .* Received: -0.1"):
        HiddenAnnotations(Scenes(1), rate=-0.1)
    with pytest.raises(ValueError, match=r"groups must be a whole number .* Received: -1"):
        HiddenAnnotations(Scenes(1), groups=-1)
    with pytest.raises(ValueError, match=r"declared must be true or false. Received: 'no'"):
        HiddenAnnotations(Scenes(1), declared="no")


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_undeclared_what_the_mask_does_not_show_is_unknown(rate):
    """The masks lose as much as declared ones, and nobody says what."""
    scenes = Scenes(30, 32, 32)
    told, silent = (HiddenAnnotations(scenes, rate, declared=d) for d in (True, False))
    for i in range(len(scenes)):
        sample = silent[i]
        np.testing.assert_array_equal(sample.mask, told[i].mask)
        np.testing.assert_array_equal(sample.truth, scenes[i].mask)
        expected = np.isin(np.arange(4), np.unique(sample.mask)) | (np.arange(4) == 0)
        np.testing.assert_array_equal(sample.annotated, expected)
        np.testing.assert_array_equal(silent.annotation(i)[1], expected)


@pytest.mark.parametrize("options", [["data.missing.rate=0"], []])
def test_undeclared_from_config_is_not_missing_at_random(options):
    config = compose("train", [*options, "data.sizes={train: 20, val: 2}"]).data
    assert sources.survey(sources.open_splits(config)["train"], config).counts.at_random
    config.missing.declared = "no"
    with pytest.raises(ValueError, match="declared must be true or false"):
        sources.open_splits(config)
    config.missing.declared = False
    survey = sources.survey(sources.open_splits(config)["train"], config)
    assert not survey.counts.at_random
    np.testing.assert_array_equal(survey.present, survey.annotated)
    assert survey.present.shape == (20, 3)

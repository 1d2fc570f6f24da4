"""Counts on known cells and the weights they give, by hand and on the data of the sources."""

import json

import numpy as np
import pytest
from PIL import Image

from segkit import class_weights, weighting
from segkit.config import build, compose
from segkit.labels import LabelSpace
from segkit.synthetic import HiddenAnnotations, Scenes, missing

LABELS = LabelSpace(["background", "a", "b"])
IMAGES = 8000  # at rate 0.7, chance then moves the frequency of a class by some 1.3 %


@pytest.fixture
def counts():
    """Two images of 10 pixels: 6 + 4 a, and 8 + 2 b, of which one is ignored."""
    masks = np.array([[[0] * 6 + [1] * 4], [[0] * 7 + [255] + [2] * 2]], "uint8")
    return class_weights.count(masks, np.ones((2, 3), bool), LABELS)


def test_counts_by_hand(counts):
    assert counts.pixels.tolist() == [13, 4, 2]
    assert counts.images.tolist() == [2, 1, 1]
    assert counts.image_pixels.tolist() == [20, 10, 10]
    assert counts.annotated_images.tolist() == [2, 2, 2]
    assert counts.annotated_pixels.tolist() == [19, 19, 19]
    assert counts.stored_pixels.tolist() == [13, 4, 2]
    assert counts.total_images == counts.complete_images == 2


def test_unknown_cells_do_not_count():
    """b was annotated only in the second image, where it covers 2 of 10 pixels, so that 2 of the
    8 background pixels of the first are expected to be b."""
    masks = np.array([[[0] * 8 + [1] * 2], [[0] * 8 + [2] * 2]])
    annotated = np.array([[True, True, False], [True, True, True]])
    counts = class_weights.count(masks, annotated, LABELS)
    assert counts.pixels.tolist() == [8 + 8 - 2, 2, 2]
    assert counts.images.tolist() == [2, 1, 1]
    assert counts.annotated_images.tolist() == [2, 2, 1]
    assert counts.stored_pixels.tolist() == [8 + 8, 2, 2]
    assert (counts.total_images, counts.complete_images) == (2, 1)
    assert counts.expected_images.tolist() == [2, 1, 2]
    row = counts.to_dict()["classes"][2]
    assert (row["annotated"], row["present"], row["verified_absent"], row["unknown"]) == (
        1,
        1,
        0,
        1,
    )
    assert (row["stored_pixels"], row["expected_images"]) == (2, 2)


def test_what_is_outlined_unasked_is_not_expected_a_second_time():
    """As above, but 1 or 3 pixels of the b that nobody looked for are outlined all the same: 1 or
    none of the background is still expected to be b. On known cells there are 2 pixels of it."""
    annotated = np.array([[True, True, False], [True, True, True]])
    for outlined, left in ((1, 7 + 8 - 1), (3, 5 + 8)):
        first = [0] * (8 - outlined) + [2] * outlined + [1] * 2
        counts = class_weights.count(np.array([[first], [[0] * 8 + [2] * 2]]), annotated, LABELS)
        assert counts.pixels.tolist() == [left, 2, 2]
        assert counts.stored_pixels.tolist() == [16 - outlined, 2, 2 + outlined]


def test_a_coarse_label_is_dealt_to_its_members():
    """3 pixels of cars and 1 of trucks, so that of 8 of vehicles 6 and 2 are expected to be; in
    the image of the vehicles nobody knows which of the two there are. Buses are never told apart
    from coaches, so nobody gets their pixel."""
    space = LabelSpace(
        ["background", "car", "truck", "bus", "coach"],
        coarse=[
            {"name": "vehicle", "id": 9, "members": ["car", "truck"]},
            {"name": "large", "id": 7, "members": ["bus", "coach"]},
        ],
    )
    masks = np.array([[[0] * 6 + [1] * 3 + [2]], [[0] + [9] * 8 + [7]], [[0] * 10]])
    counts = class_weights.count(masks, np.ones((3, 5), bool), space)
    assert counts.pixels.tolist() == [17, 3 + 6, 1 + 2, 0, 0]
    assert counts.stored_pixels.tolist() == [17, 3, 1, 0, 0]
    assert counts.images.tolist() == [3, 1, 1, 0, 0]
    assert counts.annotated_images.tolist() == [3, 2, 2, 2, 2]
    assert counts.annotated_pixels.tolist() == [30] * 5
    assert counts.image_pixels.tolist() == [30, 10 + 8, 10 + 2, 0, 0]


def test_an_image_with_a_class_and_a_coarse_label_of_it_counts_once():
    """A car and a vehicle in one image of 4 pixels: two cars in 4 pixels, not in 8."""
    vehicle = {"name": "vehicle", "id": 7, "members": ["car", "truck"]}
    space = LabelSpace(["background", "car", "truck"], coarse=[vehicle])
    counts = class_weights.count(np.array([[[0, 0, 1, 7]]]), np.ones((1, 3), bool), space)
    assert counts.pixels.tolist() == [2, 2, 0]
    assert counts.image_pixels.tolist() == [4, 4, 0]


def test_what_the_masks_show_says_nothing_about_the_rest():
    """Ten outlined images, a in two of them, annotated read off the masks: nothing to correct."""
    masks = np.zeros((10, 1, 10), int)
    masks[:2, 0, :6] = 1
    annotated = np.ones((10, 3), bool)
    annotated[:, 1:] = masks.any((1, 2))[:, None] * [True, False]
    counts = class_weights.count(masks, annotated, LABELS, at_random=False)
    assert counts.pixels.tolist() == [88, 12, 0]
    assert counts.expected_images.tolist() == [10, 2, 0]
    assert class_weights.count(masks, annotated, LABELS).pixels[0] == 88 - 48


def test_the_table_says_what_was_corrected(caplog):
    """`segkit weights`: both counts of the background, and what is between them."""
    caplog.set_level("INFO")
    sizes = ["data=scenes", "data.sizes={train: 30}", "data.height=16", "data.width=16"]
    result = weighting.run(compose("weights", sizes))
    row = result["classes"][0]
    assert row["stored_pixels"] > row["pixels"] > 0
    assert (
        f"{row['stored_pixels'] - row['pixels']:,} of the {row['stored_pixels']:,}" in caplog.text
    )
    assert set(result["weights"]) == {scheme.__name__ for scheme in SCHEMES}
    weighting.run(compose("weights", [*sizes, "data.missing.rate=0"]))
    assert caplog.text.count("do not count") == 1
    read_off = class_weights.count([[[1]]], [[True] * 3], LABELS, at_random=False)
    (note,) = weighting.notes(read_off, LABELS)
    assert "nobody knows how often a class was there and skipped" in note


def test_streams_give_the_same(counts):
    masks = [np.array([[0] * 6 + [1] * 4]), np.array([[0] * 7 + [255] + [2] * 2])]
    annotated = [np.ones(3, bool)] * 2
    for streamed in (
        class_weights.count(iter(masks), iter(annotated), LABELS),
        class_weights.count(zip(masks, annotated), None, LABELS),
    ):
        assert streamed.to_dict() == counts.to_dict()


def test_independent_classes():
    labels = LabelSpace(["organ", "tumour"], background=None, exclusive=False)
    planes = np.array([[[[1, 0], [1, 1], [0, 0], [255, 255]]]])
    counts = class_weights.count(planes, np.ones((1, 2), bool), labels)
    assert counts.pixels.tolist() == [2, 1] and counts.image_pixels.tolist() == [4, 4]


def test_nothing_to_count():
    with pytest.raises(ValueError, match="no mask to count classes in"):
        class_weights.count([], [], LABELS)
    with pytest.raises(ValueError, match="shorter"):
        class_weights.count(np.zeros((2, 1, 1), int), np.ones((1, 3), bool), LABELS)
    with pytest.raises(ValueError, match=r"ids of 3 classes.*Received: \[77\]"):
        class_weights.count(np.full((1, 1, 1), 77), np.ones((1, 3), bool), LABELS)


def test_schemes_by_hand(counts):
    """f = 13/20, 4/10, 2/10: the median is 0.4."""
    median = class_weights.median_frequency(counts)
    assert median == pytest.approx([0.4 * 20 / 13, 1.0, 2.0])
    assert class_weights.inverse_frequency(counts) == pytest.approx([19 / 39, 19 / 12, 19 / 6])
    assert class_weights.none(counts).tolist() == [1, 1, 1]


def test_normalised_weights_average_one_over_labelled_pixels(counts):
    weights = class_weights.normalise(np.array([1.0, 2.0, 7.0]), counts)
    assert (weights * counts.pixels).sum() == pytest.approx(counts.pixels.sum())
    assert weights[2] / weights[1] == pytest.approx(3.5)
    ones = class_weights.normalise(np.ones(3), counts)
    assert ones.tolist() == [1, 1, 1]  # exactly, so that "none" is no weighting at all


def frequencies(counts):
    return counts.pixels / counts.annotated_pixels


def naive_frequencies(counts):
    """As if what nobody outlined were background."""
    return counts.stored_pixels / counts.annotated_pixels[0]


@pytest.fixture(scope="module")
def full_masks():
    scenes = Scenes(IMAGES, 16, 16, seed=3, objects=(1, 1))
    return np.stack([scenes.annotation(i)[0] for i in range(IMAGES)])


@pytest.fixture(scope="module")
def full_counts(full_masks, labels):
    return class_weights.count(full_masks, np.ones((IMAGES, 4), bool), labels)


@pytest.mark.parametrize("sources", [None, 40])
@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.7])
def test_frequencies_survive_hiding(full_masks, full_counts, labels, rate, sources):
    """Within 5 % of those of the full annotation, the background's too; naive ones are not."""
    truth = frequencies(full_counts)
    for seed in range(3):
        dealt = sources and np.random.default_rng(seed).integers(sources, size=IMAGES)
        hidden = missing.hide(full_masks, labels, rate=rate, seed=seed, groups=dealt)
        counts = class_weights.count(*hidden, labels)
        np.testing.assert_allclose(frequencies(counts), truth, rtol=0.05)
        off = naive_frequencies(counts) / truth - 1
        assert (off[1:] < -0.8 * rate).all() and off[0] > 0.15 * rate


@pytest.mark.parametrize("groups", [0, 12])
def test_frequencies_of_a_wrapped_source(labels, groups):
    """The same by the way that training takes, streamed from a source."""
    scenes = Scenes(4000, 12, 12, objects=(1, 1), presence={"circle": 0.4})
    hidden = HiddenAnnotations(scenes, rate=0.5, groups=groups, split="train")
    full, partial = (
        class_weights.count((source.annotation(i) for i in range(len(source))), None, labels)
        for source in (scenes, hidden)
    )
    np.testing.assert_allclose(frequencies(partial), frequencies(full), rtol=0.05)
    np.testing.assert_allclose(partial.expected_images, full.images, rtol=0.05)


SCHEMES = [
    class_weights.median_frequency,
    class_weights.inverse_frequency,
    class_weights.effective_number,
]


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda scheme: scheme.__name__)
def test_hiding_at_random_hardly_moves_the_weights(full_masks, full_counts, labels, scheme):
    hidden = class_weights.count(*missing.hide(full_masks, labels, rate=0.7, seed=0), labels)
    np.testing.assert_allclose(scheme(hidden), scheme(full_counts), rtol=0.05)


def test_effective_number_by_hand(counts):
    """n = 2, 1, 1, beta = 1/2: 1 - beta^n = 3/4, 1/2, 1/2; inverse 4/3, 2, 2 with mean 16/9."""
    weights = class_weights.effective_number(counts, beta=0.5)
    assert weights == pytest.approx([3 / 4, 9 / 8, 9 / 8])


def test_ends_of_the_effective_number(counts):
    """All alike at 0; one over the number of images, 2, 1, 1, towards 1."""
    assert class_weights.effective_number(counts, beta=0).tolist() == [1, 1, 1]
    nearly = class_weights.effective_number(counts, beta=1 - 1e-9)
    assert nearly == pytest.approx([0.6, 1.2, 1.2], rel=1e-6)


@pytest.mark.parametrize("beta", [-0.1, 1, 1.5, float("nan"), "x", None])
def test_bad_beta(counts, beta):
    with pytest.raises(ValueError, match=f"from 0 to below 1. Received: {beta!r}. For example"):
        class_weights.effective_number(counts, beta=beta)


def test_a_class_without_a_pixel_is_named():
    counts = class_weights.count(np.zeros((1, 2, 2), int), np.ones((1, 3), bool), LABELS)
    for scheme in SCHEMES:
        with pytest.warns(UserWarning, match="No labelled pixel of a, b in the training data"):
            assert scheme(counts)[1:].tolist() == [1, 1]
    with pytest.raises(ValueError, match="has weight 0.*nothing to learn from"):
        class_weights.normalise(np.array([0, 1, 1]), counts)


def test_fixed(counts, tmp_path):
    by_name = {"b": 3.0, "background": 0.5, "a": 0.0}
    assert class_weights.fixed(counts, values=[0.5, 0, 3]).tolist() == [0.5, 0, 3]
    assert class_weights.fixed(counts, values=by_name).tolist() == [0.5, 0, 3]
    (tmp_path / "w.json").write_text(json.dumps(by_name))
    (tmp_path / "w.yaml").write_text("[0.5, 0, 3]")
    for name in ("w.json", "w.yaml"):
        assert class_weights.fixed(counts, file=tmp_path / name).tolist() == [0.5, 0, 3]


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "either values or file.*class_weights.values="),
        ({"values": [1, 2]}, r"must be 3 finite weights.*background, a, b. Received: \[1, 2\]"),
        ({"values": [1, 2, -3]}, "from 0 up.*Received"),
        ({"values": [1, 2, float("inf")]}, "finite"),
        ({"values": [0, 0, 0]}, "not all 0"),
        ({"values": ["x", 1, 2]}, "finite weights.*Received: .'x'"),
        (
            {"values": {"a": 1, "b": 2, "c": 3}},
            "name each class once: background, a, b. Received: a",
        ),
    ],
)
def test_bad_fixed_weights(counts, options, words):
    with pytest.raises(ValueError, match=words):
        class_weights.fixed(counts, **options)


def test_bad_files_of_weights(counts, tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of class weights .*w.json"):
        class_weights.fixed(counts, file=tmp_path / "w.json")
    (tmp_path / "w.json").write_text("[1,")
    with pytest.raises(ValueError, match="w.json is not valid JSON or YAML"):
        class_weights.fixed(counts, file=tmp_path / "w.json")


def test_source_5_median_frequency_of_camvid(real_data):
    """From the masks themselves, to the four digits of the sources."""
    labels = LabelSpace.from_json(real_data / "camvid/classes.json")
    paths = sorted((real_data / "camvid/train/masks").glob("*.png"))
    masks = (np.asarray(Image.open(path)) for path in paths)
    everything = np.ones((len(paths), labels.num_classes), bool)
    weights = class_weights.median_frequency(class_weights.count(masks, everything, labels))
    expected = "0.2793 0.2017 4.7865 0.1490 1.0000 0.4217 3.8467 1.9736 0.7889 6.3747 8.8587"
    assert [f"{weight:.4f}" for weight in weights] == expected.split()


def test_source_5_published_camvid_weights_are_a_choice(real_data):
    labels = LabelSpace.from_json(real_data / "camvid/classes.json")
    masks = np.arange(11).reshape(1, 1, 11)
    counts = class_weights.count(masks, np.ones((1, 11), bool), labels)
    node = compose("train", ["class_weights=camvid"]).class_weights
    published = "0.2595 0.1826 4.564 0.1417 0.9051 0.3826 9.6446 1.8418 0.6823 6.2478 7.3614"
    assert build(node, counts=counts).tolist() == [float(w) for w in published.split()]

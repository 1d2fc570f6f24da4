"""What is said of files that can be read: each kind once, and silence about what is in order."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from segkit import class_weights
from segkit.data.checks.balance import imbalance, percent
from segkit.data.checks.coverage import coverage
from segkit.data.checks.suspicions import suspicions
from segkit.data.folder.dataset import DataSet
from segkit.data.folder.inspection import Facts, Values
from segkit.data.layout import Pair
from segkit.findings import mixed_sizes
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"])


def values(low=0, high=255, dtype="uint8", channels=3):
    rows = [np.full(channels, value, "float64") for value in (low, high, (low + high) / 2)]
    return Values(dtype, *rows)


def facts(pixels, key, ignored=0, value=None, mask_key=None, size=(10, 10), labels=LABELS):
    present = np.array([pixels.get(c, 0) > 0 for c in range(labels.num_classes)])
    mask_key = f"mask {key}" if mask_key is None else mask_key
    return Facts(size, pixels, ignored, present, key, mask_key, value or values())


def data_set(rows, annotated=None, splits=None, labels=LABELS):
    pairs = [Pair(f"i{n}", Path(f"i{n}.png"), Path(f"m{n}.png")) for n in range(len(rows))]
    table = np.ones((len(rows), labels.num_classes), bool)
    if annotated is not None:
        table = np.array(annotated, bool)
    reader = SimpleNamespace(stored=labels)
    indices = {"train": list(range(len(rows)))} if splits is None else splits
    root = Path("somewhere")
    return DataSet(root, labels, reader, pairs, indices, table, np.ones(len(rows)), [], rows, [])


def good(number=4):
    return [facts({0: 50, 1: 30 + n, 2: 20 - n}, str(n)) for n in range(number)]


def said(rows, value_range=None, **options):
    return suspicions(data_set(rows, **options), value_range)


def test_nothing_is_said_of_data_in_order():
    empty = facts({0: 100}, "empty", mask_key="mask 0")  # nothing there, verified
    assert said([*good(), empty]) == []
    assert said([facts({0: 100}, str(n), mask_key="one") for n in range(4)]) == []


ODD = {
    "one colour": (
        [facts({0: 50, 1: 50}, "a", value=values(7, 7))],
        "image of one colour",
        r"^i4\.png shows nothing: every pixel is \(7, 7, 7\)",
    ),
    "all ignored": (
        [facts({}, "a", ignored=100)],
        "mask that is all ignored",
        r"The mask of i4\.png is the ignore index all over",
    ),
    "one class": (
        [facts({0: 0, 2: 100}, "a")],
        "mask of one class",
        r"The mask of i4\.png is nucleus all over",
    ),
    "copy": (
        [good()[1]],
        "duplicate image",
        r"in train 2 times: i1\.png, i4\.png\. It counts as often; keep one",
    ),
    "copy, other mask": (
        [facts({0: 60, 1: 40}, "1")],
        "copy with another mask",
        r"in train 2 times with different masks: i1\.png, i4\.png",
    ),
    "dtypes": (
        [facts({0: 50, 1: 50}, "a", value=values(0, 65535, "uint16"))],
        "images of several dtypes",
        r"stored as uint8 \(4\), uint16 \(1\), and each is scaled",
    ),
}


@pytest.mark.parametrize("rows, kind, words", ODD.values(), ids=ODD)
def test_what_looks_wrong_is_a_warning(rows, kind, words):
    (problem,) = said([*good(), *rows])
    assert (problem.kind, problem.fatal) == (kind, False)
    pytest.raises(ValueError, _raise, problem.text).match(words)


def _raise(text):
    raise ValueError(text)


def test_a_mask_that_is_its_image_is_fatal():
    (problem,) = said([*good(), facts({0: 50, 1: 50}, "a", mask_key="a")])
    assert problem.fatal and problem.path == "i4.png"
    assert "i4.png and m4.png are the same file, byte for byte" in problem.text


def test_a_single_pixel_is_tiny_and_no_constant():
    pixel = facts({1: 1}, "a", size=(1, 1), value=values(7, 7))
    (problem,) = said([*good(), pixel])
    assert problem.kind == "tiny image" and not problem.fatal
    assert "i4.png is only 1x1 pixels" in problem.text


def test_binary_masks_whose_yes_is_ignored_are_fatal():
    rows = [facts({0: 60}, f"b{n}", ignored=40) for n in range(3)]
    (problem,) = said(rows)
    assert problem.fatal and problem.kind == "binary masks"
    assert "hold 0 and 255 and no other id" in problem.text
    assert said([*rows, *good()]) == []
    other = LabelSpace(["background", "cell", "nucleus"], ignore_index=9)
    assert said(rows, labels=other) == []


def test_masks_that_are_all_one_file():
    rows = [facts({0: 50, 1: 50}, f"b{n}", mask_key="same") for n in range(3)]
    (problem,) = said(rows)
    assert problem.text.startswith("All 3 masks in somewhere are one file, byte for byte")
    assert said(rows[:2]) == []  # two are no pattern
    assert said([*rows, *good()]) == []


@pytest.mark.parametrize(
    "high, dtype, wanted",
    [
        (4095, "uint16", "[0,4095]"),
        (3000, "uint16", "[0,4095]"),
        (1023, "uint16", "[0,1023]"),
        (40000, "uint16", None),
        (32768, "uint16", None),
        (1, "uint8", "[0,1]"),
        (31, "uint8", "[0,31]"),
        (100, "uint8", None),
        (0.5, "float32", None),
    ],
)
def test_a_range_that_is_hardly_used(high, dtype, wanted):
    rows = [facts({0: 50, 1: 50}, str(n), value=values(0, high, dtype)) for n in range(3)]
    texts = [problem.text for problem in said(rows)]
    assert len(texts) == (wanted is not None)
    if wanted:
        assert f"data.value_range={wanted}" in texts[0]
    assert said(rows, value_range=[0, high]) == []


def test_a_channel_without_content():
    value = Values("uint8", np.array([0, 7.0, 0]), np.array([255, 7.0, 255]), np.zeros(3))
    (problem,) = said([facts({0: 50, 1: 50}, str(n), value=value) for n in range(3)])
    assert problem.text.startswith("Channel 1 is 7 in every pixel of every image in somewhere")


def test_different_sizes_matter_only_if_they_are_kept():
    rows = [facts({0: 50, 1: 50}, str(n), size=(10, 10 + n // 2)) for n in range(3)]
    assert mixed_sizes(data_set(rows), 128) == [] == mixed_sizes(data_set(rows[:1]), None)
    (problem,) = mixed_sizes(data_set(rows), None)
    assert "2 sizes, 10x10 (2), 10x11 (1) among them" in problem.text and not problem.fatal


COUNTED = ("stored_pixels", "images", "image_pixels", "annotated_images", "annotated_pixels")


def random_masks(labels, rng, images=7):
    ids = [*range(labels.num_classes), *(entry.id for entry in labels.coarse)]
    ids += [] if labels.ignore_index is None else [labels.ignore_index]
    for n in range(images):
        some = rng.choice(ids, size=3)
        yield rng.choice(some, size=(5 + n, 4))


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LabelSpace(["a", "b", "c"], background=None, ignore_index=None),
        LabelSpace(
            ["background", "car", "truck", "tree"],
            coarse=[{"name": "vehicle", "id": 9, "members": ["car", "truck"]}],
        ),
    ],
    ids=["background", "no background", "coarse"],
)
def test_coverage_is_what_counting_the_masks_gives(labels):
    rng = np.random.default_rng(3)
    masks = list(random_masks(labels, rng))
    looked = rng.random((len(masks), labels.num_classes)) < 0.6
    if labels.background is not None:
        looked[:, labels.background] = True
    rows = []
    for n, mask in enumerate(masks):
        ids, numbers = np.unique(mask, return_counts=True)
        pixels = dict(zip(ids.tolist(), numbers.tolist()))
        ignored = pixels.pop(labels.ignore_index, 0)
        rows.append(facts(pixels, str(n), ignored, size=mask.shape, labels=labels))
    found = coverage(data_set(rows, looked, labels=labels))["train"]
    counted = class_weights.count(masks, looked, labels)
    for part in COUNTED:
        if part != "image_pixels" or not labels.coarse:  # which count deals out
            assert (getattr(found, part) == getattr(counted, part)).all(), part
    assert (found.total_images, found.complete_images) == (7, looked.all(1).sum())
    assert 0 < found.pixels[1] <= found.stored_pixels[1]


def test_coverage_of_independent_classes():
    labels = LabelSpace(["a", "b"], background=None, exclusive=False)
    rows = [facts({0: 30, 1: 90}, "x", 10, labels=labels), facts({0: 0, 1: 5}, "y", labels=labels)]
    looked = [[True, True], [True, False]]
    found = coverage(data_set(rows, looked, labels=labels))["train"]
    assert found.pixels.tolist() == [30, 90] and found.stored_pixels.tolist() == [30, 95]
    assert found.annotated_pixels.tolist() == [190, 90] and found.images.tolist() == [1, 1]


def balance_of(train, val, annotated=None):
    rows = [facts(pixels, str(n)) for n, pixels in enumerate([*train, *val])]
    parts = {"train": list(range(len(train))), "val": list(range(len(train), len(rows)))}
    found = imbalance(coverage(data_set(rows, annotated, parts)), LABELS)
    assert not any(problem.fatal for problem in found)
    return [(problem.kind, problem.text) for problem in found]


EVEN = {0: 50, 1: 30, 2: 20}


def test_balanced_data_need_no_words():
    assert balance_of([EVEN] * 12, [EVEN] * 2) == []
    assert balance_of([EVEN] * 3, [EVEN] * 2) == []  # few images, yet each shows everything


def test_rare_classes_are_named_with_a_way_out():
    ((kind, text),) = balance_of([EVEN] * 3 + [{0: 50, 1: 50}] * 17, [{0: 50, 1: 45, 2: 5}])
    assert kind == "rare class"
    assert text.startswith("nucleus is in 3 of 20 training images, 3 % of the pixels")
    assert "data.size=null patches=centred" in text
    assert "class_weights=median_frequency" in text


def test_a_thin_class_is_rare_however_many_images_show_it():
    thin = facts({0: 9_989, 1: 10_000, 2: 11}, "0", size=(100, 200))
    rows = [thin._replace(image_key=str(n)) for n in range(20)]
    (problem,) = imbalance(coverage(data_set(rows)), LABELS)
    assert "nucleus is in 20 of 20 training images, 0.055 % of the pixels" in problem.text


def test_a_shift_between_the_splits():
    ((kind, text),) = balance_of([EVEN] * 10, [{0: 65, 1: 30, 2: 5}] * 10)
    assert kind == "shift between splits"
    assert text.endswith("data.split.by=drawn and, for videos or patients, data.split.group.")
    assert text.startswith("nucleus covers 20 % of the pixels in train and 5 % in val, 4.0 times")
    assert balance_of([EVEN] * 10, [{0: 60, 1: 30, 2: 10}] * 10) == []


def test_what_a_test_split_cannot_tell():
    rows = [facts(EVEN, str(n)) for n in range(12)] + [facts({0: 70, 1: 30}, "t")]
    looked = np.ones((13, 3), bool)
    parts = {"train": list(range(12)), "test": [12]}
    (problem,) = imbalance(coverage(data_set(rows, looked, parts)), LABELS)
    assert "test shows no pixel of nucleus where it was looked for" in problem.text
    looked[12, 2] = False
    (problem,) = imbalance(coverage(data_set(rows, looked, parts)), LABELS)
    assert "Nobody looked for nucleus in the images of test" in problem.text


@pytest.mark.parametrize(
    "share, text",
    [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.0123, "1.2 %"), (1e-6, "0.0001 %")],
)
def test_shares_are_never_rounded_away(share, text):
    assert percent(share) == text

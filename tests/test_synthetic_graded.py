"""Graded scenes: pure functions of their address, exact masks, darkness that tells the grade."""

import numpy as np
import pytest

from segkit import sources
from segkit.config import compose
from segkit.synthetic import Graded, graded


def alike(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one[:3], other[:3]))


def test_a_scene_depends_on_seed_split_and_index_alone():
    few, many = Graded(2, seed=3, split="val"), Graded(9, seed=3, split="val")
    many[5]
    assert alike(few[1], many[1])
    others = Graded(2, seed=4, split="val"), Graded(2, seed=3, split="train")
    assert not any(alike(few[1], other[1]) for other in others)


def test_an_annotation_is_that_of_the_sample():
    source = Graded(3, coarse=0.5)
    for index in range(3):
        mask, annotated = source.annotation(index)
        np.testing.assert_array_equal(mask, source[index].mask)
        assert annotated.all()


def test_classes_are_the_ground_and_the_grades_in_order():
    labels = Graded(1, grades=5).labels
    assert labels.names == ("ground", *(f"grade {k}" for k in range(1, 6)))
    assert labels.values == (0, 1, 2, 3, 4, 5) and labels.background == 0 and not labels.coarse


def test_without_jitter_the_picture_tells_the_grade():
    source = Graded(60, grades=6, jitter=0, noise=0, saturation=1e6, channels=1)
    found = {grade: [] for grade in range(7)}
    for sample in source:
        for grade in np.unique(sample.mask):
            found[grade].append(np.median(sample.image[..., 0][sample.mask == grade]))
    means = [np.mean(values) for values in found.values()]
    steps = -np.diff(means)
    # 130 grey levels over six equal steps; the light varies by a few.
    assert steps == pytest.approx([130 / 6] * 6, abs=4)


def test_high_grades_look_alike_and_jitter_mixes_them_up():
    source = Graded(120, grades=8, jitter=0, noise=0, saturation=2, channels=1)
    darkness = {0: [], 1: [], 7: [], 8: []}
    for sample in source:
        for grade in set(darkness) & set(np.unique(sample.mask).tolist()):
            darkness[grade].append(np.median(sample.image[..., 0][sample.mask == grade]))
    ground, first, seventh, last = (np.mean(values) for values in darkness.values())
    assert ground - first > 10 * (seventh - last) > 0


def test_a_coarse_annotation_names_the_grade_and_one_beside_it():
    source = Graded(40, coarse=0.5)
    members = {
        e.id: [source.labels.index(name) for name in e.members] for e in source.labels.coarse
    }
    vague = pixels = 0
    for sample in source:
        assert sample.truth.max() <= 8
        for label in np.unique(sample.mask):
            there = set(np.unique(sample.truth[sample.mask == label]).tolist())
            assert there <= set(members.get(label, [label]))
        pixels += (sample.truth > 0).sum()
        vague += (sample.mask >= 100).sum()
    assert 0.35 < vague / pixels < 0.65
    assert Graded(1)[0].truth is None


@pytest.mark.parametrize(
    "options, words",
    [
        ({"grades": 1}, "grades must be a whole number from 2"),
        ({"grades": 65}, "grades must be 2 to 64. Received: 65"),
        ({"saturation": 0}, "saturation must be above 0"),
        ({"jitter": -1}, "jitter must be a number from 0 on. Received: -1"),
        ({"noise": float("inf")}, "noise must be a number from 0 on"),
        ({"coarse": 2}, "coarse must be a number from 0 to 1"),
        ({"channels": 2}, "channels must be 1"),
        ({"size": [0.3, 0.2]}, "size must be two radii"),
        ({"exclusive": False}, "a pixel has one. Received: labels.exclusive=False"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Graded(1, **options)
    with pytest.raises(ValueError, match="sizes maps the name"):
        graded.splits([1, 2])


def test_the_choice_of_the_config_hides_grades_too():
    config = compose("train", ["data=graded", "data.sizes={train: 3, val: 2}"])
    assert len(sources.open_splits(config.data)["val"]) == 2
    hidden = compose("train", ["data=graded", "data.sizes={train: 9}", "data.missing.rate=0.9"])
    sample = sources.open_splits(hidden.data)["train"][0]
    assert not sample.annotated.all() and sample.truth.max() > 0

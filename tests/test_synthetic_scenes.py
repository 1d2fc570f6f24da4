"""Scenes: exact masks, one sample an index, fair images, independent splits."""

import pickle

import numpy as np
import pytest

from segkit import targets
from segkit.contract import Sample
from segkit.synthetic import Scenes, splits
from segkit.synthetic.shapes import SHAPES, article


def same(first: Sample, second: Sample) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", ["random", "article"])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 2), (64, 64), (33, 70)])
def test_sample_keeps_the_contract(size, layout, channels):
    scenes = Scenes(4, *size, layout=layout, channels=channels, difficulty=1.0)
    for i, sample in enumerate(scenes):
        assert sample.image.shape == (*size, channels) and sample.image.dtype == np.uint8
        assert sample.mask.shape == size and sample.mask.dtype == np.uint8
        assert sample.annotated.dtype == bool and sample.annotated.tolist() == [True] * 4
        assert sample.truth is None and sample.name == f"scene_{i:06d}"
        targets.encode(sample.mask[None], sample.annotated[None], scenes.labels)
    assert scenes.labels.names == ("background", *SHAPES)


@pytest.mark.parametrize("size", [(24, 24), (60, 60), (64, 64), (96, 96), (60, 120), (31, 47)])
def test_article_layout_is_the_article(size):
    """Later planes cover earlier ones; with everything present, the masks are those of article."""
    planes = article(5, *size, seed=3)
    expected = np.zeros((5, *size), np.uint8)
    for c in range(3):
        expected[planes[:, c] == 1] = c + 1
    scenes = Scenes(5, *size, seed=3, layout="article", presence=1.0, difficulty=1.0)
    np.testing.assert_array_equal([sample.mask for sample in scenes], expected)


def test_scene_depends_on_neither_count_nor_order():
    backwards = [Scenes(9, seed=4)[i] for i in reversed(range(5))][::-1]
    assert all(same(a, b) for a, b in zip(Scenes(5, seed=4), backwards))


def test_scenes_differ_by_index_and_seed():
    images = [s.image.tobytes() for seed in (0, 1, 2**40) for s in Scenes(5, 16, 16, seed=seed)]
    assert len(set(images)) == 15


def test_scenes_survive_pickling():
    scenes = Scenes(3, 20, 30, presence={"circle": 1.0}, split="val")
    copy = pickle.loads(pickle.dumps(scenes))
    assert len(copy) == 3 and copy.labels == scenes.labels
    assert all(same(a, b) for a, b in zip(scenes, copy))


def test_indices_count_from_the_end_too_and_stop():
    scenes = Scenes(3, 8, 8)
    assert same(scenes[-1], scenes[2])
    assert len(list(scenes)) == 3
    for index in (3, -4):
        with pytest.raises(IndexError, match=rf"has 3 images. Received: index {index}"):
            scenes[index]


def test_no_scenes():
    assert len(Scenes(0)) == 0 and list(Scenes(0)) == []


def test_difficulty_leaves_the_objects_where_they_are():
    masks = [
        Scenes(6, difficulty=d, distractors=(0, 0))[i].mask for d in (0.0, 1.0) for i in range(6)
    ]
    np.testing.assert_array_equal(masks[:6], masks[6:])


def _separation(difficulty):
    """How far object and background differ, in deviations of the background, on average."""
    values = []
    for sample in Scenes(40, difficulty=difficulty, objects=(1, 1), distractors=(0, 0)):
        grey, inside = sample.image.mean(axis=-1), sample.mask > 0
        for c in np.unique(sample.mask[inside]):
            step = grey[sample.mask == c].mean() - grey[~inside].mean()
            values.append(abs(step) / grey[~inside].std())
    return np.mean(values)


def test_difficulty_makes_objects_harder_to_see():
    easy, medium, hard = (_separation(d) for d in (0.0, 0.5, 1.0))
    assert easy > 2 * medium > 4 * hard > 1


def test_brightness_does_not_give_the_class_away():
    """Mean brightness of visible objects: classes differ by less than chance explains."""
    values = {c: [] for c in (1, 2, 3)}
    for sample in Scenes(400, 32, 32, difficulty=0.5):
        grey = sample.image.mean(axis=-1)
        for c, found in values.items():
            if (sample.mask == c).any():
                found.append(grey[sample.mask == c].mean())
    means = np.array([np.mean(found) for found in values.values()])
    errors = np.array([np.std(found) / np.sqrt(len(found)) for found in values.values()])
    assert np.ptp(means) < 4 * errors.max()
    spreads = [np.std(found) for found in values.values()]
    assert max(spreads) / min(spreads) < 1.25


def test_objects_are_brighter_or_darker_alike():
    """One object an image, drawn over a background that is smooth at difficulty 0."""
    only = {"ellipse": 0.0, "rectangle": 0.0, "circle": 1.0}
    brighter = []
    for sample in Scenes(100, presence=only, objects=(1, 1), difficulty=0.0, distractors=(0, 0)):
        grey = sample.image.mean(axis=-1)
        brighter.append(grey[sample.mask > 0].mean() > grey[sample.mask == 0].mean())
    assert 0.3 < np.mean(brighter) < 0.7


def test_any_class_may_lie_on_top():
    """Objects as large as the image all lie in its middle, where the uppermost one is seen."""
    scenes = Scenes(300, 16, 16, presence=1.0, objects=(1, 1), size=(0.5, 0.5), distractors=(0, 0))
    on_top = np.bincount([sample.mask[8, 8] for sample in scenes], minlength=4)
    np.testing.assert_allclose(on_top, [0, 100, 100, 100], atol=40)


def test_pixels_are_not_clipped():
    """At most a few pixels of noise reach the ends of the grey scale."""
    for difficulty in (0.0, 0.5, 1.0):
        images = np.stack([s.image for s in Scenes(30, difficulty=difficulty)])
        assert np.mean((images == 0) | (images == 255)) < 0.02


def test_distractors_belong_to_no_class():
    """Without objects the mask is empty, and the distractors are still to be seen."""
    options = {"presence": 0.0, "difficulty": 0.0}
    plain = Scenes(10, distractors=(0, 0), **options)
    cluttered = Scenes(10, distractors=(3, 3), **options)
    assert not any(sample.mask.any() for source in (plain, cluttered) for sample in source)
    for before, after in zip(plain, cluttered):
        assert after.image.mean(axis=-1).std() > 2 * before.image.mean(axis=-1).std()


def test_a_distractor_on_top_takes_the_pixels_of_the_object_below():
    options = {"presence": 1.0, "size": (0.4, 0.5), "difficulty": 0.0}
    plain = Scenes(10, distractors=(0, 0), **options)
    cluttered = Scenes(10, distractors=(20, 20), **options)
    pairs = [(a.mask > 0, b.mask > 0) for a, b in zip(plain, cluttered)]
    assert all((b <= a).all() for a, b in pairs)
    assert any((b < a).any() for a, b in pairs)


def test_splits_share_nothing_and_depend_on_their_name_alone():
    two = splits({"train": 4, "val": 3}, seed=1, height=16, width=16)
    three = splits({"test": 2, "val": 5, "train": 9}, seed=1, height=16, width=16)
    for name, source in two.items():
        assert all(same(a, b) for a, b in zip(source, three[name]))
    images = [sample.image.tobytes() for source in three.values() for sample in source]
    assert len(set(images)) == 16


def test_splits_have_defaults():
    assert {name: len(source) for name, source in splits().items()} == {"train": 1000, "val": 200}


@pytest.mark.parametrize(
    "options, words",
    [
        ({"count": -1}, r"count must be a whole number from 0 on. Received: -1"),
        ({"height": -4}, r"height must be a whole number from 1 on. Received: -4"),
        ({"width": 0}, r"width must be a whole number from 1 on. Received: 0"),
        ({"seed": "a"}, r"seed must be a whole number .* Received: 'a'"),
        ({"layout": "grid"}, r"layout must be one of random, article. Received: 'grid'"),
        ({"presence": -0.5}, r"presence must be a number from 0 to 1. Received: -0.5"),
        ({"presence": float("nan")}, r"presence must be .* Received: nan"),
        ({"difficulty": 1.5}, r"difficulty must be a number from 0 to 1. Received: 1.5"),
        ({"difficulty": "hard"}, r"difficulty must be .* Received: 'hard'"),
        ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(colour\). Received: 2"),
        ({"distractors": (-1, 2)}, r"distractors must be two .* Received: \(-1, 2\)"),
        ({"objects": (1, 85)}, r"at most 255 things. Received: up to 255 objects and 1"),
    ],
)
def test_scenes_say_what_they_need(options, words):
    with pytest.raises(ValueError, match=words):
        Scenes(**{"count": 1, **options})


def test_splits_need_a_mapping():
    with pytest.raises(ValueError, match=r"sizes maps the name .* Received: 5. For example"):
        splits(5)

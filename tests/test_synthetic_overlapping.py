"""Scenes of many classes that lie over each other: what is drawn, and that it is the same again."""

import numpy as np
import pytest

from segkit import sources
from segkit.config import compose
from segkit.data import writing
from segkit.data.folder import splits as folder_splits
from segkit.synthetic import HiddenAnnotations, Overlapping, hide, overlapping


def masks(scenes, count):
    return np.stack([scenes.annotation(i)[0] for i in range(count)])


def test_a_scene_is_a_function_of_seed_split_and_index():
    scenes, longer = Overlapping(4, 32, 32), Overlapping(9, 32, 32)
    for index in (3, 0):
        first, again = scenes[index], longer[index]
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.mask, again.mask)
        np.testing.assert_array_equal(scenes.annotation(index)[0], first.mask)
    others = [Overlapping(4, 32, 32, seed=1), Overlapping(4, 32, 32, split="val")]
    assert all((other[0].image != scenes[0].image).any() for other in others)
    assert scenes[-1].name == "scene_000003" and scenes[0].image.dtype == np.uint8


@pytest.mark.parametrize(
    "classes, shapes, hues",
    [
        (6, overlapping.KINDS, [0]),
        (24, overlapping.KINDS, [0, 90, 180, 270]),
        (24, ["ellipse", "star"], range(0, 360, 30)),
        (120, ["circle", "cross"], range(0, 360, 6)),
    ],
)
def test_a_class_is_a_shape_in_a_hue(classes, shapes, hues):
    labels = Overlapping(1, classes=classes, shapes=shapes).labels
    assert labels.num_classes == classes and not labels.exclusive and labels.background is None
    assert set(labels.names) == {f"{shape}_{hue:03d}" for shape in shapes for hue in hues}
    assert len(set(labels.palette)) == classes


def test_as_many_classes_as_asked_for_lie_over_each_other():
    planes = masks(Overlapping(300, 24, 24, classes=120, present=[1, 10]), 300)
    there = planes.any((1, 2)).sum(1)
    assert there.min() == 1 and there.max() == 10
    assert set(np.unique(there)) == set(range(1, 11))
    assert planes.sum(-1).max() >= 3
    assert planes.any((0, 1, 2)).all()  # each class is somewhere


def test_every_object_can_be_seen_through_those_above():
    """Where one object more lies below the top one, the colour is another one."""
    scene = Overlapping(40, 48, 48, classes=24, shapes=overlapping.KINDS, difficulty=0)
    differences = []
    for index in range(40):
        image, planes, *_ = scene[index]
        for c in np.flatnonzero(planes.any((0, 1))):
            inside = (planes[..., c] == 1) & (planes.sum(-1) == 2)
            alone = (planes[..., c] == 1) & (planes.sum(-1) == 1)
            if inside.sum() > 30 and alone.sum() > 30:
                differences.append(np.abs(image[inside].mean(0) - image[alone].mean(0)).max())
    assert len(differences) > 20 and np.median(differences) > 25


def test_annotations_are_hidden_plane_by_plane():
    scenes = Overlapping(50, 24, 24, classes=12, present=[3, 6])
    hidden = HiddenAnnotations(scenes, rate=0.5, seed=1)
    table = np.stack([hidden.annotation(i)[1] for i in range(50)])
    assert 0.4 < table.mean() < 0.6
    for index in range(5):
        sample, whole = hidden[index], scenes[index].mask
        np.testing.assert_array_equal(sample.truth, whole)
        np.testing.assert_array_equal(sample.mask, whole * sample.annotated)
    by_hand = hide(masks(scenes, 50), scenes.labels, rate=0.5, seed=1)
    np.testing.assert_array_equal(by_hand[0], masks(hidden, 50))
    np.testing.assert_array_equal(by_hand[1], table)


@pytest.mark.parametrize("classes", [3, 24])
def test_written_to_a_folder_they_are_read_back_alike(tmp_path, classes):
    for part in ("val", "train"):
        scenes = Overlapping(3, 24, 20, classes=classes, present=[1, 3], split=part)
        source = HiddenAnnotations(scenes, rate=0.5)
        writing.write(source, tmp_path / part)
    writing.write_labels(source.labels, tmp_path)
    found = folder_splits(str(tmp_path), size=None)["train"]
    assert found.labels == source.labels
    for index in range(3):
        for one, other in zip(source[index][:4], found[index][:4]):
            np.testing.assert_array_equal(one, other)


def test_planes_that_do_not_fit_are_not_written(tmp_path):
    class Flat(Overlapping):
        def __getitem__(self, index):
            return super().__getitem__(index)._replace(mask=np.zeros((24, 24), np.uint8))

    with pytest.raises(ValueError, match=r"uint8 planes \(24, 24, 6\).*Received: 'scene_000000'"):
        writing.write(Flat(1, 24, 24, classes=6, present=[1, 2]), tmp_path / "train")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"classes": 1}, "classes must be a whole number from 2 on"),
        ({"classes": 121}, "from 2 to 120: 2 shapes.*Received: 121. More shapes"),
        ({"shapes": ["ellipse", "blob"]}, "some of ellipse, .*star, each once. .*'blob'"),
        ({"shapes": ["star", "star"]}, "each once"),
        ({"classes": 5}, r"at most all 5 classes. Received: present=\[1, 6\]"),
        ({"exclusive": True}, "labels.exclusive=True. Take data=scenes"),
    ],
)
def test_what_does_not_fit_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        Overlapping(1, **options)


def test_the_config_opens_them():
    config = compose("train", ["data=overlapping", "data.sizes={train: 2, val: 1}", "seed=3"])
    splits = sources.open_splits(config.data)
    assert {name: len(split) for name, split in splits.items()} == {"train": 2, "val": 1}
    assert splits["train"].seed == 3 and (splits["train"][0].image != splits["val"][0].image).any()
    with pytest.raises(ValueError, match="sizes maps the name of a split"):
        overlapping.splits(sizes=[1, 2])

"""Scores of a model on a source: what the model is shown, and what cannot be scored."""

import keras
import numpy as np
import pytest

from segkit import evaluation
from segkit.contract import Sample
from segkit.labels import LabelSpace


class Greys:
    """2x2 images of 0.25 and 0.75, the brighter pixels of class 1; every other one in bytes."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return 4

    def __getitem__(self, index):
        mask = np.array([[0, 1], [1, 1]])
        image = (0.25 + 0.5 * mask[..., None]).astype("float32")
        if index % 2:
            image = np.round(255 * image).astype("uint8")
        return Sample(image, mask, np.ones(2, bool), None, str(index))


def test_images_of_two_types_are_scaled_each_in_its_way():
    """Class 1 above 0.5: in bytes taken as they are, every pixel would be."""
    above = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((2, 2, 1)), above])
    above.set_weights([np.array([[0.0, 1.0]]), np.array([0.5, 0.0])])
    labels = LabelSpace(["dark", "bright"])
    found = evaluation.evaluate(model, Greys(labels), batch_size=4, examples=4)
    assert found.known.iou.tolist() == [1, 1]
    assert [sample.name for sample, _ in found.examples] == list("0123")


def test_classes_that_may_overlap_are_not_scored_by_the_most_probable_one():
    labels = LabelSpace(["organ", "tumour"], background=None, exclusive=False)
    with pytest.raises(ValueError, match="exclude each other. Received: exclusive=False. Score"):
        evaluation.evaluate(keras.Sequential(), Greys(labels))

"""Scores of a model on a source: what the model is shown, and what cannot be scored."""

import keras
import numpy as np

from segkit import scoring
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
    found = scoring.evaluate(model, Greys(labels), batch_size=4, examples=4)
    assert found.known.iou.tolist() == [1, 1]
    assert [sample.name for sample, _ in found.examples] == list("0123")


class Planes(Greys):
    """The same images; "bright" as above, and "any" everywhere, in planes."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return sample._replace(mask=np.stack([np.ones_like(sample.mask), sample.mask], -1))


def test_independent_classes_are_scored_each_from_a_probability_of_a_half():
    above = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((None, None, 1)), above])
    above.set_weights([np.array([[0.0, 1.0]]), np.array([0.0, -0.5])])  # a logit of 0 is a half
    labels = LabelSpace(["any", "bright"], background=None, exclusive=False)
    found = scoring.evaluate(model, Planes(labels), batch_size=4, examples=4, bounds=True)
    tiled = scoring.evaluate(model, Planes(labels), batch_size=4, tile=(1, 2))
    assert found.known.iou.tolist() == tiled.known.iou.tolist() == [1, 1]
    assert found.known.confusion.tolist() == [[16, 12], [12, 12]]
    assert found.examples[0][1].shape == (2, 2, 2)
    np.testing.assert_array_equal(found.bounds.iou, 1)


class Large:
    """Images of different sizes, in bytes; the class of a pixel is whether it is bright."""

    labels = LabelSpace(["dark", "bright"])
    sizes = [(40, 31), (16, 16), (5, 50), (3, 3), (40, 31)]

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*self.sizes[index], 1), np.uint8)
        truth = (image[..., 0] > 127).astype("uint8")
        mask = np.where(rng.random(truth.shape) < 0.2, 255, truth)
        return Sample(image, mask, np.ones(2, bool), truth if index else None, f"image {index}")


class Bright(keras.Model):
    """Calls a pixel bright if it is; remembers the shapes it was shown."""

    def predict_on_batch(self, images):
        assert images.dtype == np.float32 and images.max() <= 1
        self.seen = [*getattr(self, "seen", []), images.shape]
        return np.concatenate([np.full_like(images, 0.5), images], axis=-1)


def test_tile_by_tile_every_pixel_is_predicted_once():
    whole = scoring.evaluate(Bright(), Large(), batch_size=4, examples=5)
    model = Bright()
    tiled = scoring.evaluate(model, Large(), batch_size=4, examples=5, tile=(16, 12), bounds=True)
    for key in ("known", "truth"):
        one, other = (getattr(found, key).to_dict(["dark", "bright"]) for found in (whole, tiled))
        assert one == other and one["mean_iou"] == 1
    assert {shape[1:] for shape in model.seen} == {(16, 12, 1)}
    assert max(shape[0] for shape in model.seen) == 4
    for (_, prediction), (sample, again) in zip(whole.examples, tiled.examples):
        assert prediction.shape == sample.image.shape[:2]
        np.testing.assert_array_equal(prediction, again)


def test_tiles_see_what_is_around_a_pixel():
    """A model that looks 2 pixels far predicts the same in overlapping tiles as in whole images,
    but for the pixels around whose edge nothing is: there a tile repeats the image, a model pads.
    """
    keras.utils.set_random_seed(0)
    layers = [keras.Input((None, None, 1)), keras.layers.Conv2D(2, 5, padding="same")]
    model = keras.Sequential(layers)
    found = {}
    for tile in (None, (16, 16)):
        examples = scoring.evaluate(model, Large(), 2, examples=5, tile=tile).examples
        found[tile] = [prediction for _, prediction in examples]
    for whole, tiled in zip(found[None][:2], found[(16, 16)][:2]):
        np.testing.assert_array_equal(whole, tiled)

"""Large images in tiles: every pixel once, whatever the sizes are."""

import numpy as np
import pytest

from segkit import targets
from segkit.contract import Sample
from segkit.data.pipeline import batches
from segkit.data.tiles import Tiles, windows
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"], ignore_index=None)
SIZES = [(10, 7), (4, 4), (3, 9), (8, 8), (1, 1), (9, 13)]


class Made:
    """Images of different sizes; counts how often each was read."""

    def __init__(self, labels=LABELS, sizes=SIZES):
        self.labels, self.sizes = labels, sizes
        self.reads = [0] * len(sizes)

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, index):
        self.reads[index] += 1
        rng = np.random.default_rng(index)
        planes = () if self.labels.exclusive else (self.labels.num_classes,)
        most = 3 if self.labels.exclusive else 2
        mask, truth = rng.integers(0, most, (2, *self.sizes[index], *planes), np.uint8)
        image = rng.integers(0, 256, (*self.sizes[index], 3), np.uint8)
        looked = np.ones(self.labels.num_classes, bool)
        return Sample(image, mask, looked, truth if index % 2 else None, f"image {index}", 0.5)

    def annotation(self, index):
        sample = Made.__getitem__(self, index)
        self.reads[index] -= 1
        return sample.mask, sample.annotated


def known(source, key):
    """Pixels by state and class over a whole source."""
    total = 0
    for sample in (source[index] for index in range(len(source))):
        mask = getattr(sample, key)
        if mask is not None:
            target = targets.encode(mask[None], sample.annotated[None], source.labels)
            total = total + np.array([(target == state).sum((0, 1, 2)) for state in (0, 1)])
    return total


@pytest.mark.parametrize("size", [4, (5, 3), 8, (1, 2), 20])
@pytest.mark.parametrize("key", ["mask", "truth"])
def test_every_pixel_is_judged_once(size, key):
    np.testing.assert_array_equal(known(Tiles(Made(), size), key), known(Made(), key))


def test_planes_of_independent_classes_too():
    labels = LabelSpace(["organ", "tumour"], background=None, exclusive=False)
    expected = known(Made(labels), "mask")
    np.testing.assert_array_equal(known(Tiles(Made(labels), 4), "mask"), expected)


def test_the_last_row_and_column_show_what_is_before_them():
    made = Made()
    tiles = Tiles(made, 4)
    (image, mask), last = made[0][:2], tiles[5]
    np.testing.assert_array_equal(last.image, image[6:10, 3:7])
    np.testing.assert_array_equal(last.mask[2:, 1:], mask[8:, 4:])
    assert (last.mask[:2] == 255).all() and (last.mask[:, :1] == 255).all()
    assert last.name == "image 0 at row 8, column 4" and last.weight == 0.5
    np.testing.assert_array_equal(tiles.annotation(5)[0], last.mask)


def test_tiles_are_batches_of_one_shape():
    tiles = Tiles(Made(), (4, 6))
    shapes = {images.shape[1:] for images, _ in batches(tiles, 3)}
    assert shapes == {(4, 6, 3)} and sum(len(x) for x, _ in batches(tiles, 3)) == len(tiles)


def test_an_image_is_read_once_for_all_its_tiles():
    made = Made()
    tiles = Tiles(made, 2)
    assert made.reads == [0] * len(made)
    for number in range(len(tiles)):
        tiles[number]
    assert made.reads == [1] * len(made)


def test_an_image_that_cannot_be_read_is_tried_again():
    class Shaky(Made):
        broken = True

        def __getitem__(self, index):
            if self.broken:
                raise ValueError("images/a.png cannot be read")
            return super().__getitem__(index)

    made = Shaky()
    tiles = Tiles(made, 4)
    with pytest.raises(ValueError, match="images/a.png cannot be read"):
        tiles[0]
    made.broken = False
    assert tiles[0].image.shape == (4, 4, 3)


@pytest.mark.parametrize("size", [0, None])
def test_tiles_need_a_size(size):
    with pytest.raises(ValueError, match=f"Received: {size}"):
        Tiles(Made(), size)


@pytest.mark.parametrize("size", [*SIZES, (50, 33), (64, 17)])
@pytest.mark.parametrize("tile", [(8, 8), (16, 5), (1, 1), (2, 3)])
def test_windows_take_every_pixel_once_and_far_from_edges(size, tile):
    taken = np.zeros(size, int)
    for place in windows(size, tile):
        taken[place.outer] += 1
        for start, inner, outer, edge, length in zip(
            *place[0:1], place.inner, place.outer, size, tile
        ):
            assert inner.stop - inner.start == outer.stop - outer.start > 0
            assert outer.start == start + inner.start and 0 <= inner.start < inner.stop <= length
            assert start >= 0 and start + length <= max(edge, length)
            margin = length // 8
            assert inner.start >= margin or outer.start == 0
            assert length - inner.stop >= margin or outer.stop == edge
    assert (taken == 1).all()

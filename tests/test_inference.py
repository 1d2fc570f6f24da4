"""Tiles that blend, views that are averaged, temperatures and thresholds."""

import keras
import numpy as np
import pytest
from scipy.special import expit

from segkit import models
from segkit.inference import Tiling, blended, compiled, decide, tempered
from segkit.inference.tiling import spans


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_temperature_is_that_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(4, 5, 3)) * 4
    for temperature in (0.5, 1, 2.5):
        expected = softmax(logits / temperature)
        np.testing.assert_allclose(tempered(softmax(logits), temperature), expected, rtol=1e-5)


def test_temperature_of_certainty_is_no_nan():
    np.testing.assert_array_equal(tempered(np.array([[1.0, 0.0]]), 2.0)[0, 0] > 0.99, True)


def test_even_thresholds_choose_the_most_probable():
    p = softmax(np.random.default_rng(0).normal(size=(50, 4)))
    np.testing.assert_array_equal(decide(p), p.argmax(-1))
    np.testing.assert_array_equal(decide(p, (0.5,) * 4), p.argmax(-1))
    assert decide(p).dtype == np.uint8
    assert decide(np.eye(300)).dtype == np.uint16


def test_a_class_wins_against_the_background_from_its_threshold_on():
    p = np.array([[0.71, 0.29, 0], [0.69, 0.31, 0], [0.25, 0.0, 0.75], [0.15, 0.0, 0.85]])
    assert decide(p, (0.5, 0.3, 0.8)).tolist() == [0, 1, 0, 2]


def test_temperature_of_independent_classes_is_that_of_each_logit():
    logits = np.random.default_rng(0).normal(size=(4, 5, 3)) * 4
    for temperature in (0.5, 1, 2.5):
        found = tempered(expit(logits), temperature, exclusive=False)
        np.testing.assert_allclose(found, expit(logits / temperature), rtol=1e-5)
    certain = tempered(np.array([[1.0, 0.0]], "float32"), 2.0, exclusive=False)
    assert np.isfinite(certain).all() and certain[0, 0] > 0.999 and certain[0, 1] < 1e-6
    assert certain.dtype == np.float32


def test_independent_classes_are_chosen_each_by_itself():
    p = np.array([[0.9, 0.6, 0.2], [0.1, 0.3, 0.4], [0.5, 0.5, 0.49]])
    found = decide(p, exclusive=False)
    assert found.tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 0]] and found.dtype == np.uint8
    tuned = decide(p, (0.95, 0.3, 0.45), exclusive=False)
    assert tuned.tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 1]]


@pytest.mark.parametrize("edge", [1, 33, 64, 65, 100, 127, 128, 129, 500])
@pytest.mark.parametrize("overlap", [0, 0.25, 0.5, 0.75])
def test_spans_cover_an_axis_with_weights_that_sum_to_1(edge, overlap):
    tiling = Tiling(128, overlap)
    total = np.zeros(edge)
    for span in spans(edge, tiling):
        assert span.start % 32 == 0 and len(span.weights) == span.length <= 128
        assert (span.weights >= 0).all()
        total[span.start : span.start + span.length] += span.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_the_edge_of_a_tile_counts_for_nothing_where_another_one_has_the_pixel():
    first, *middle, last = spans(256, Tiling(128, 0.5))
    assert first.weights[0] == 1 and last.weights[-1] == 1
    for span in middle:
        assert not span.weights[:16].any() and not span.weights[-16:].any()
        assert span.weights[63] == 1


@pytest.mark.parametrize("tile", [0, 31, 100, 64.0, None])
def test_tiles_off_the_grid_are_refused(tile):
    with pytest.raises(ValueError, match="tile must be a multiple of 32 pixels.*Received"):
        Tiling(tile)


def test_tiles_closer_than_the_grid_are_refused():
    with pytest.raises(ValueError, match="Tiles of 64 pixels with an overlap of 0.75 lie closer"):
        Tiling(64, 0.75)


def test_a_deeper_model_has_a_wider_grid():
    assert {span.start % 64 for span in spans(500, Tiling(128, 0.25, stride=64))} == {0}
    with pytest.raises(ValueError, match="tile must be a multiple of 64 pixels"):
        Tiling(96, stride=64)


@pytest.mark.parametrize("overlap", [-0.1, 0.8, "a", float("nan")])
def test_overlaps_that_are_none_are_refused(overlap):
    with pytest.raises(ValueError, match="overlap must be a number from 0 to 0.75"):
        Tiling(64, overlap)


@pytest.mark.parametrize("shape", [(1, 1), (40, 200), (201, 33), (130, 131)])
def test_blending_a_pixelwise_function_gives_it_back(shape):
    image = np.random.default_rng(0).random((*shape, 2)).astype("float32")
    seen = []

    def run(tiles):
        seen.append(tiles.shape)
        return np.concatenate([tiles, tiles**2], -1)

    parts = list(blended(lambda r, c: image[r, c], shape, run, Tiling(64, 0.25, 3)))
    rows = [rows for rows, _ in parts]
    assert rows[0].start == 0 and rows[-1].stop == shape[0]
    assert all(a.stop == b.start for a, b in zip(rows, rows[1:]))
    found = np.concatenate([part for _, part in parts])
    np.testing.assert_allclose(found, run(image), atol=1e-6)
    assert max(count for count, *_ in seen[:-1]) <= 3
    assert max(max(height, width) for _, height, width, _ in seen[:-1]) <= 64


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return models.unet((None, None, 3), 3, 4, 2)


@pytest.mark.parametrize("shape", [(160, 224), (161, 203)])
def test_tiles_give_what_the_whole_image_gives(network, shape):
    # Its pixels see 44 pixels far at most, and the margin of a tile is 3/8 of 96.
    image = np.random.default_rng(0).random((*shape, 3)).astype("float32")
    run = compiled(network)
    whole = run(image[None])[0]
    parts = blended(lambda r, c: image[r, c], shape, run, Tiling(128, 0.75))
    np.testing.assert_allclose(np.concatenate([p for _, p in parts]), whole, atol=1e-4)


def test_memory_is_that_of_a_row_of_tiles(network):
    rows = []

    def read(some, columns):
        rows.append(some.stop - some.start)
        return np.zeros((some.stop - some.start, columns.stop, 3), "uint8")

    parts = [p.shape[0] for _, p in blended(read, (600, 64), compiled(network), Tiling(64, 0.5))]
    assert max(rows) == 64 and max(parts) <= 64 and sum(parts) == 600


def test_bytes_are_scaled(network):
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    run = compiled(network)
    np.testing.assert_allclose(run(image), run(image.astype("float32") / 255), atol=1e-6)
    np.testing.assert_allclose(run(image).sum(-1), 1, atol=1e-6)


def test_temperature_is_applied_inside(network):
    image = np.random.default_rng(0).random((1, 32, 32, 3)).astype("float32")
    expected = tempered(compiled(network)(image), 2.5)
    np.testing.assert_allclose(compiled(network, temperature=2.5)(image), expected, atol=1e-5)


@pytest.mark.parametrize("views, turns", [("flips", 2), ("rotations", 1)])
def test_views_make_the_answer_turn_with_the_image(network, views, turns):
    image = np.random.default_rng(0).random((1, 32, 48, 3)).astype("float32")
    run = compiled(network, views)
    turned = run(np.rot90(image, turns, (1, 2)))
    np.testing.assert_allclose(turned, np.rot90(run(image), turns, (1, 2)), atol=1e-5)
    mirrored = run(image[:, :, ::-1])
    np.testing.assert_allclose(mirrored, run(image)[:, :, ::-1], atol=1e-5)
    assert np.abs(compiled(network)(image) - run(image)).max() > 1e-3


def test_views_are_the_mean_of_what_each_says(network):
    image = np.random.default_rng(0).random((1, 32, 48, 3)).astype("float32")
    one = compiled(network)
    axes = [(), (1,), (2,), (1, 2)]
    mean = np.mean([np.flip(one(np.flip(image, a)), a) for a in axes], axis=0)
    np.testing.assert_allclose(compiled(network, "flips")(image), mean, atol=1e-6)


def test_independent_classes_get_a_sigmoid_each(network):
    image = np.random.default_rng(0).random((2, 32, 48, 3)).astype("float32")
    logits = network.predict(image, verbose=0)
    found = compiled(network, temperature=2.5, exclusive=False)(image)
    np.testing.assert_allclose(found, expit(logits / 2.5), atol=1e-5)
    mirrored = compiled(network, "flips", exclusive=False)(image[:, ::-1])
    np.testing.assert_allclose(
        mirrored, compiled(network, "flips", exclusive=False)(image)[:, ::-1], atol=1e-5
    )
    assert np.abs(found.sum(-1) - 1).max() > 0.1


def test_unknown_views_are_refused(network):
    with pytest.raises(ValueError, match="tta must be one of none, flips, rotations. Received: 'x"):
        compiled(network, "x")

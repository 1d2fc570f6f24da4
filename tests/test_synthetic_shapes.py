"""Ellipses, rectangles and circles: the article's masks, exact painting, random layouts."""

import numpy as np
import pytest
from skimage import draw

from segkit.synthetic import streams
from segkit.synthetic.distractors import DISTRACTORS
from segkit.synthetic.distractors import paint as paint_distractor
from segkit.synthetic.layouts import DRAWS, Layout
from segkit.synthetic.shapes import SHAPES, Shape, article, draw_exactly, id_mask, paint

SIZES = [(1, 1), (2, 3), (17, 31), (60, 60), (64, 64), (96, 48)]


@pytest.mark.parametrize("height, width", SIZES)
def test_article_has_planes_of_zeros_and_ones(height, width):
    planes = article(n=3, height=height, width=width, seed=5)
    assert planes.shape == (3, 3, height, width) and planes.dtype == np.uint8
    assert set(np.unique(planes)) <= {0, 1}


def test_article_by_hand():
    """26 x 26 pixels: centres (6.5, 6.5), (19.5, 19.5), (13, 13), and every half axis is 13/3.

    The square spans 15.17..23.83: rows and columns 16-23. Pixels of the circle, by distance of
    the row, 0, 1, 2, 3, 4: columns up to 4, 4, 3, 3, 1 away, so 9 + 2 (9 + 7 + 7 + 3) = 61. With
    equal radii the ellipse is a circle whatever its angle, but its centre lies between pixels:
    rows 0.5, 1.5, 2.5, 3.5 away reach columns 3.5, 3.5, 3.5, 2.5 away, so 2 (8 + 8 + 8 + 6) = 60.
    """
    ellipse, rectangle, circle = article(1, 26, 26)[0]
    expected = np.zeros((26, 26), np.uint8)
    expected[16:24, 16:24] = 1
    np.testing.assert_array_equal(rectangle, expected)
    assert circle.sum(axis=1)[9:18].tolist() == [3, 7, 7, 9, 9, 9, 7, 7, 3]
    assert circle.sum(axis=0)[9:18].tolist() == [3, 7, 7, 9, 9, 9, 7, 7, 3]
    assert ellipse.sum(axis=1)[3:11].tolist() == [6, 8, 8, 8, 8, 8, 8, 6]
    assert (circle.sum(), ellipse.sum()) == (61, 60)


def test_an_outline_on_whole_pixels_belongs_to_the_rectangle_only():
    rectangle, circle = article(1, 24, 24)[0, 1:]
    assert rectangle[14:23, 14:23].all() and rectangle.sum() == 81
    assert circle[12, 15] and not circle[12, 16]


def test_article_follows_its_description():
    """Wider than high: centroids at a quarter, three quarters and half; areas by the formulas."""
    height, width = 120, 160
    planes = article(4, height, width)
    areas = [np.pi * (height / 6) * (width / 6), (height / 3) ** 2, np.pi * (height / 6) ** 2]
    centres = [(0.25, 0.25), (0.75, 0.75), (0.5, 0.5)]
    for sample in planes:
        for plane, area, centre in zip(sample, areas, centres):
            assert plane.sum() == pytest.approx(area, rel=0.06)
            centroid = np.argwhere(plane).mean(axis=0)
            np.testing.assert_allclose(centroid, np.multiply(centre, (height, width)), atol=0.6)


def test_article_turns_the_ellipse_by_whole_angles():
    """Every ellipse is one of the 90 that scikit-image draws, and they vary."""
    height, width = 60, 120
    possible = set()
    for degrees in range(90):
        plane = np.zeros((height, width), np.uint8)
        turned = np.deg2rad(degrees)
        plane[draw.ellipse(15, 30, 10, 20, shape=plane.shape, rotation=turned)] = 1
        possible.add(plane.tobytes())
    drawn = {sample[0].tobytes() for sample in article(30, height, width)}
    assert drawn <= possible and len(drawn) > 10


def test_article_sample_does_not_depend_on_their_number():
    np.testing.assert_array_equal(article(7, 40, 60, seed=2)[:3], article(3, 40, 60, seed=2))


def test_article_depends_on_the_seed_and_on_nothing_else():
    first, again, other = (article(8, 40, 80, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"n": -1}, r"n must be a whole number from 0 on. Received: -1"),
        ({"height": 0}, r"height must be a whole number from 1 on. Received: 0"),
        ({"width": 2.5}, r"width must be a whole number from 1 on. Received: 2.5"),
        ({"seed": -3}, r"seed must be a whole number from 0 on. Received: -3"),
        ({"n": True}, r"n must be a whole number .* Received: True"),
    ],
)
def test_article_says_what_it_needs(options, words):
    with pytest.raises(ValueError, match=words):
        article(**{"n": 1, "height": 8, "width": 8, **options})


def test_article_of_nothing():
    assert article(0, 5, 6).shape == (0, 3, 5, 6)


@pytest.mark.parametrize("kind", SHAPES)
def test_painting_sets_the_pixels_of_scikit_image(kind):
    """Random shapes, also across the border and wholly outside."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        row, col = rng.uniform(-10, 60, 2)
        a, b = rng.uniform(0.3, 25, 2)
        shape = Shape(kind, row, col, a, a if kind == "circle" else b, rng.uniform(0, 2 * np.pi))
        fast, exact = np.zeros((2, 40, 50), np.uint8)
        paint(fast, shape, 3)
        draw_exactly(exact, shape, 3)
        np.testing.assert_array_equal(fast, exact, err_msg=str(shape))


@pytest.mark.parametrize("kind", SHAPES)
def test_painting_follows_the_formula(kind):
    shape = Shape(kind, 20.3, 24.6, 11.2, 11.2 if kind == "circle" else 6.1, 0.7)
    dy, dx = np.mgrid[:45, :50] - np.reshape([shape.row, shape.col], (2, 1, 1))
    u = (dy * np.cos(0.7) + dx * np.sin(0.7)) / shape.row_radius
    v = (dy * np.sin(0.7) - dx * np.cos(0.7)) / shape.col_radius
    inside = np.maximum(abs(u), abs(v)) <= 1 if kind == "rectangle" else u**2 + v**2 < 1
    canvas = np.zeros((45, 50), np.uint8)
    paint(canvas, shape, 1)
    np.testing.assert_array_equal(canvas, inside)


def test_later_shapes_cover_earlier_ones():
    small, large = Shape("circle", 10, 10, 3, 3), Shape("rectangle", 10, 10, 7, 7)
    assert set(np.unique(id_mask([large, small], 21, 21))) == {0, 2, 3}
    assert set(np.unique(id_mask([small, large], 21, 21))) == {0, 2}


def _placed(layout, n, height=64, width=64):
    return [layout.place(height, width, streams.generator(0, "test", i)) for i in range(n)]


def test_layout_keeps_to_its_ranges():
    layout = Layout(objects=(2, 3), size=(0.1, 0.2))
    for shapes in _placed(layout, 300, height=50, width=90):
        for kind in SHAPES:
            assert sum(shape.kind == kind for shape in shapes) in (0, 2, 3)
        for shape in shapes:
            area = 4 if shape.kind == "rectangle" else np.pi
            radius = np.sqrt(area * shape.row_radius * shape.col_radius / np.pi)
            assert 5 <= radius <= 10
            assert radius - 0.5 <= shape.row <= 49.5 - radius
            assert radius - 0.5 <= shape.col <= 89.5 - radius


def test_every_number_of_objects_is_equally_likely():
    counts = [
        sum(shape.kind == "circle" for shape in shapes)
        for shapes in _placed(Layout(presence=1.0, objects=(1, 3)), 900)
    ]
    np.testing.assert_allclose(np.bincount(counts), [0, 300, 300, 300], atol=60)


def test_no_ellipse_is_nearly_a_circle():
    ratios = [
        min(s.row_radius, s.col_radius) / max(s.row_radius, s.col_radius)
        for shapes in _placed(Layout(), 300)
        for s in shapes
        if s.kind == "ellipse"
    ]
    assert 0.3 < min(ratios) and max(ratios) <= 0.7


def test_no_class_is_larger_than_another():
    areas = {kind: [] for kind in SHAPES}
    for shapes in _placed(Layout(presence=1.0), 800):
        for shape in shapes:
            areas[shape.kind].append(id_mask([shape], 64, 64).astype(bool).sum())
    means = [np.mean(values) for values in areas.values()]
    assert max(means) / min(means) < 1.1


@pytest.mark.parametrize("layout", ["random", "article"])
def test_presence_is_a_probability_by_class(layout):
    presence = {"ellipse": 1.0, "rectangle": 0.0, "circle": 0.3}
    placed = _placed(Layout(layout, presence=presence), 1000)
    shares = [np.mean([any(s.kind == k for s in shapes) for shapes in placed]) for k in SHAPES]
    assert shares[:2] == [1.0, 0.0]
    assert shares[2] == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 1000))


def test_without_rotation_sides_are_upright():
    shapes = sum(_placed(Layout(rotation=False), 100), [])
    assert {shape.angle for shape in shapes} == {0.0}
    lying = np.mean([s.col_radius > s.row_radius for s in shapes if s.kind == "ellipse"])
    assert 0.2 < lying < 0.8


@pytest.mark.parametrize(
    "options, words",
    [
        ({"kind": "spiral"}, r"layout must be one of random, article. Received: 'spiral'"),
        ({"presence": 1.2}, r"presence must be a number from 0 to 1. Received: 1.2"),
        ({"presence": "often"}, r"presence must be .* Received: 'often'"),
        ({"presence": {"circle": -0.1}}, r"presence\[circle\] must be .* Received: -0.1"),
        ({"presence": {"disc": 0.5}}, r"ellipse, rectangle, circle\). Received: disc"),
        ({"objects": (2, 1)}, r"objects must be two whole numbers .* Received: \(2, 1\)"),
        ({"objects": (0, 1)}, r"from 1 on. Received: \(0, 1\)"),
        ({"objects": 3}, r"objects must be two .* Received: 3"),
        ({"size": (0.3, 0.2)}, r"size must be two radii .* Received: \(0.3, 0.2\)"),
        ({"size": (0.1, 0.7)}, r"largest <= 0.5"),
        ({"size": 0.2}, r"size must be two radii .* Received: 0.2"),
    ],
)
def test_layout_says_what_it_needs(options, words):
    with pytest.raises(ValueError, match=words):
        Layout(**options)


@pytest.mark.parametrize("kind", DISTRACTORS)
def test_distractors_have_the_area_of_their_disc_and_are_no_disc(kind):
    """The area is that of the disc but for the outline; a tenth of it at least lies elsewhere."""
    draws = [0.5] * (DRAWS - 1) + [0.13]
    shape = Layout(size=(0.2, 0.2)).one(kind, 400, 400, draws)
    canvas, disc = np.zeros((2, 400, 400), np.uint8)
    paint_distractor(canvas, shape, 1)
    draw_exactly(disc, shape._replace(kind="circle"), 1)
    assert int(canvas.sum()) == pytest.approx(int(disc.sum()), rel=0.04)
    assert (canvas & disc).sum() < 0.9 * disc.sum()

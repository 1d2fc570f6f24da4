"""Scenes of many classes that overlap: half transparent shapes, each with its exact plane."""

from __future__ import annotations

import colorsys
from types import MappingProxyType
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np

from segkit.contract import Sample, whole_number
from segkit.labels import LabelSpace
from segkit.synthetic import distractors, streams
from segkit.synthetic.appearance import Appearance
from segkit.synthetic.layouts import DRAWS, Layout, count_range, whole_between
from segkit.synthetic.shapes import SHAPES, Shape, paint

KINDS = (*SHAPES, *distractors.DISTRACTORS)
MOST_HUES = 60  # closer ones than 6 degrees nobody can tell
COVER = 0.6  # of what lies below, a shape hides this share
_SATURATION, _BRIGHTNESS = (0.75, 1.0), (0.7, 0.95)


class Kind(NamedTuple):
    """What makes a class: a shape, and a hue as a share of the colour circle."""

    shape: str
    hue: float

    @property
    def name(self) -> str:
        """As in "ellipse_030", the hue in degrees."""
        return f"{self.shape}_{round(360 * self.hue):03d}"


class Overlapping:
    """Images of half transparent shapes of many colours with a plane a class; a `contract.Source`.

    A class is a shape and a hue, such as "ellipse_030" or "star_240"; a shape in another colour,
    and another shape in this one, are other classes. An image has a few of them, one object each,
    that lie over each other: where they do, both are there, and both can be seen. Scene i is a
    pure function of (seed, split, i) and the options.

    Args:
        count: number of scenes.
        height, width: pixels.
        seed: whole number from 0 on.
        classes: C, from 2 to 60 a shape: each shape in C / shapes hues, rounded up.
        shapes: of ellipse, rectangle, circle, triangle, cross and star. Hues are seen at a glance,
            shapes take longer to learn.
        present: fewest and most classes in an image, each number as likely.
        size: smallest and largest radius of the disc of the same area, as a share of
            min(height, width).
        rotation: whether shapes are turned by a random angle.
        difficulty: 0 (clean) to 1 (faint and noisy).
        exclusive: None or False: the classes are independent.
        split: name of a stream of its own.

    Raises:
        ValueError: naming the option that does not fit.
    """

    def __init__(
        self,
        count: int,
        height: int = 64,
        width: int = 64,
        seed: int = 0,
        classes: int = 24,
        shapes: Sequence[str] = ("ellipse", "star"),
        present: Sequence[int] = (1, 6),
        size: Sequence[float] = (0.12, 0.24),
        rotation: bool = True,
        difficulty: float = 0.1,
        exclusive: bool | None = None,
        *,
        split: str = "",
    ):
        if exclusive not in (None, False):
            raise ValueError(
                "These scenes are of shapes that overlap. Received: "
                f"labels.exclusive={exclusive!r}. Take data=scenes, where one lies on top."
            )
        self.kinds = kinds(classes, shapes)
        self.labels = LabelSpace(
            [kind.name for kind in self.kinds],
            background=None,
            exclusive=False,
            palette=[_shade(kind) for kind in self.kinds],
        )
        self.count = whole_number("count", count)
        self.height = whole_number("height", height, least=1)
        self.width = whole_number("width", width, least=1)
        self.seed, self.split = whole_number("seed", seed), str(split)
        self.present = count_range("present", present)
        if self.present[1] > len(self.kinds):
            raise ValueError(
                f"An image has at most all {len(self.kinds)} classes. Received: "
                f"present={list(self.present)}. Lower it, or raise classes."
            )
        self.layout = Layout(size=size, rotation=rotation)
        self.appearance = Appearance(difficulty)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Scene `index`: uint8 image (H, W, 3), uint8 planes (H, W, C), everything annotated."""
        index, rng, placed = self._placed(index)
        planes = self._planes(placed)
        return Sample(
            image=self._image(planes, [c for c, _ in placed], rng),
            mask=planes,
            annotated=np.ones(self.labels.num_classes, bool),
            name=f"scene_{index:06d}",
        )

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Planes and annotated of scene `index`, without its image."""
        _, _, placed = self._placed(index)
        return self._planes(placed), np.ones(self.labels.num_classes, bool)

    def _placed(self, index: int) -> tuple[int, np.random.Generator, list[tuple[int, Shape]]]:
        """Classes with their object, from the lowest to the one on top."""
        index = streams.position(index, self.count, "This set of scenes")
        rng = streams.generator(self.seed, "overlapping", self.split, index)
        number = whole_between(*self.present, rng.random())
        chosen = rng.choice(len(self.kinds), number, replace=False).tolist()
        draws = rng.random((number, DRAWS)).tolist()
        return (
            index,
            rng,
            [
                (c, self.layout.one(self.kinds[c].shape, self.height, self.width, row))
                for c, row in zip(chosen, draws)
            ],
        )

    def _planes(self, placed: list[tuple[int, Shape]]) -> np.ndarray:
        planes = np.zeros((self.height, self.width, len(self.kinds)), np.uint8)
        for c, shape in placed:
            plane = np.zeros((self.height, self.width), np.uint8)
            (paint if shape.kind in SHAPES else distractors.paint)(plane, shape, 1)
            planes[..., c] = plane
        return planes

    def _image(self, planes: np.ndarray, order: list[int], rng: np.random.Generator) -> np.ndarray:
        level = 128 + self.appearance.levels["background"] * (2 * rng.random() - 1)
        image = np.full((self.height, self.width, 3), level, np.float32)
        for c, (saturation, brightness) in zip(order, rng.random((len(order), 2)).tolist()):
            low, high = _SATURATION
            saturation = low + (high - low) * saturation
            low, high = _BRIGHTNESS
            color = _color(self.kinds[c].hue, saturation, low + (high - low) * brightness)
            there = planes[..., c] == 1
            image[there] += COVER * (np.float32(color) - image[there])
        return self.appearance.taken(image.round().astype(np.uint8), rng)


def kinds(classes: int, shapes: Sequence[str]) -> list[Kind]:
    """The first `classes` pairs of a shape and one of as many hues as that takes, shapes first.

    Raises:
        ValueError: if there are too few or too many, or a shape is none or stands twice.
    """
    count, given = whole_number("classes", classes, least=2), list(shapes)
    if not given or len(set(given)) < len(given) or not set(given) <= set(KINDS):
        raise ValueError(
            f"shapes must be some of {', '.join(KINDS)}, each once. Received: {given!r}."
        )
    most = MOST_HUES * len(given)
    if count > most:
        raise ValueError(
            f"classes must be a whole number from 2 to {most}: {len(given)} shapes in hues that "
            f"can be told apart. Received: {classes!r}. More shapes make room for more."
        )
    hues = -(-count // len(given))
    return [Kind(given[c % len(given)], (c // len(given)) / hues) for c in range(count)]


def splits(
    sizes: Mapping[str, int] = MappingProxyType({"train": 1000, "val": 200}),
    seed: int = 0,
    **options: Any,
) -> dict[str, Overlapping]:
    """Scenes for each split, from streams that share nothing but the seed.

    Args:
        sizes: {name of the split: number of scenes}.
        seed: whole number from 0 on.
        options: those of `Overlapping`, the same for every split.

    Raises:
        ValueError: if `sizes` is no mapping, or an option does not fit.
    """
    return streams.each_split(Overlapping, sizes, seed=seed, **options)


def _shade(kind: Kind) -> list[int]:
    """The hue of a class, in a shade of its own for each shape."""
    place = KINDS.index(kind.shape) / len(KINDS)
    return _color(kind.hue, 1 - 0.5 * place, 0.5 + 0.5 * place)


def _color(hue: float, saturation: float, brightness: float) -> list[int]:
    return [round(255 * part) for part in colorsys.hsv_to_rgb(hue, saturation, brightness)]

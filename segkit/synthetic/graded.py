"""Graded scenes: how dark a shape is tells its grade, ever less surely the higher it is."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Any, Mapping, Sequence

import cv2
import numpy as np

from segkit.contract import Sample, is_number, share, whole_number
from segkit.labels import LabelSpace
from segkit.synthetic import shapes, streams
from segkit.synthetic.layouts import count_range, size_range, whole_between
from segkit.synthetic.shapes import SHAPES, Shape

_GROUND, _DEPTH = 190.0, 130.0  # grey levels of the ground, and how much darker a shape can be
_CELL = 8  # pixels between the values of the uneven light
_FIRST_COARSE = 100  # ids of the labels that stand for two grades
_MOST_GRADES = 64
_DRAWS = 9  # random numbers behind one shape


class Graded:
    """Shapes on a ground, each of a grade, with exact masks; a `contract.Source`.

        darkness = (1 - exp(-grade / saturation)) / (1 - exp(-G / saturation)) + jitter * normal

    as of something that absorbs light: low grades look different, high ones alike, and shapes of
    one grade differ by `jitter` among themselves, so that neighbours are mixed up however well a
    model has learnt. Shape and size say nothing about the grade. Classes are the ground, of grade
    0, and the grades 1 to G; their values are the grades.

    Scene i is a pure function of (seed, split, i) and the options.

    Args:
        count: number of scenes.
        height, width: pixels.
        seed: whole number from 0 on.
        grades: G, 2 to 64.
        objects: fewest and most shapes an image.
        size: smallest and largest radius of a shape, as a share of min(height, width).
        saturation: in grades; large: every step shows as much as the others.
        jitter: standard deviation of the darkness of shapes of one grade, as a share of the range.
        noise: standard deviation of each pixel, grey levels.
        coarse: share of the shapes whose annotation says no more than "grade 2 or 3": the grade
            or one beside it. The full mask is then the truth.
        channels: 3 (RGB, all alike) or 1 (grey).
        exclusive: None or True: a pixel has one grade.
        split: name of a stream of its own; see `splits`.

    Raises:
        ValueError: naming the option that does not fit.
    """

    def __init__(
        self,
        count: int,
        height: int = 64,
        width: int = 64,
        seed: int = 0,
        grades: int = 8,
        objects: Sequence[int] = (2, 4),
        size: Sequence[float] = (0.14, 0.28),
        saturation: float = 3.0,
        jitter: float = 0.15,
        noise: float = 10.0,
        coarse: float = 0.0,
        channels: int = 3,
        exclusive: bool | None = None,
        *,
        split: str = "",
    ):
        if exclusive not in (None, True):
            raise ValueError(
                "Of grades a pixel has one. Received: "
                f"labels.exclusive={exclusive!r}. Take data=overlapping, whose shapes overlap."
            )
        self.count, self.seed = whole_number("count", count), whole_number("seed", seed)
        self.height = whole_number("height", height, least=1)
        self.width = whole_number("width", width, least=1)
        self.grades = whole_number("grades", grades, least=2)
        if self.grades > _MOST_GRADES:
            raise ValueError(f"grades must be 2 to {_MOST_GRADES}. Received: {grades}.")
        self.objects, self.size = count_range("objects", objects, least=1), size_range(size)
        for name, value in (("saturation", saturation), ("jitter", jitter), ("noise", noise)):
            if not is_number(value) or not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a number from 0 on. Received: {value!r}.")
        if not saturation:
            raise ValueError("saturation must be above 0. Received: 0.")
        self.saturation, self.jitter, self.noise = saturation, jitter, noise
        self.coarse, self.channels, self.split = share("coarse", coarse), channels, str(split)
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour). Received: {channels!r}.")
        self.labels = _labels(self.grades, self.coarse > 0)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Scene `index`: uint8 image (H, W, channels), uint8 mask (H, W), everything annotated."""
        index = streams.position(index, self.count, "This set of scenes")
        rng = streams.generator(self.seed, "graded", self.split, index)
        drawn = self._shapes(rng)
        mask, truth, darkness = self._draw(drawn)
        return Sample(
            image=self._render(darkness, rng),
            mask=mask,
            annotated=np.ones(self.labels.num_classes, bool),
            truth=truth if self.coarse else None,
            name=f"graded_{index:06d}",
        )

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of scene `index`, without rendering its image."""
        index = streams.position(index, self.count, "This set of scenes")
        rng = streams.generator(self.seed, "graded", self.split, index)
        return self._draw(self._shapes(rng))[0], np.ones(self.labels.num_classes, bool)

    def _shapes(self, rng: np.random.Generator) -> list[tuple[Shape, int, int, float]]:
        """Shape, grade, id in the mask, and darkness of each, from the lowest to the topmost."""
        fewest, most = self.objects
        draws = rng.random((1 + most, _DRAWS))
        normal = rng.standard_normal(most)
        found = []
        for row, deviation in zip(draws[1:][: whole_between(fewest, most, draws[0, 0])], normal):
            kind, down, right, radius, form, turn, which, vague, side = row.tolist()
            radius = (self.size[0] + (self.size[1] - self.size[0]) * radius) * self._edge
            stretch = math.sqrt(0.6 + 0.4 * form)
            placed = Shape(
                SHAPES[whole_between(0, len(SHAPES) - 1, kind)],
                radius + down * (self.height - 2 * radius) - 0.5,
                radius + right * (self.width - 2 * radius) - 0.5,
                radius,
                radius * stretch,
                math.tau * turn,
            )
            grade = whole_between(1, self.grades, which)
            label = grade
            if vague < self.coarse:
                lower = min(max(grade - (side < 0.5), 1), self.grades - 1)
                label = _FIRST_COARSE + lower
            scale = -math.expm1(-self.grades / self.saturation)
            darkness = -math.expm1(-grade / self.saturation) / scale + self.jitter * deviation
            found.append((placed, grade, label, darkness))
        return found

    @property
    def _edge(self) -> int:
        return min(self.height, self.width)

    def _draw(self, drawn: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mask and truth, uint8 (H, W), and darkness, float32 (H, W)."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        for k, (shape, *_) in enumerate(drawn, start=1):
            shapes.paint(canvas, shape, k)
        tables = np.zeros((3, 1 + len(drawn)), "float32")
        for k, (_, grade, label, darkness) in enumerate(drawn, start=1):
            tables[:, k] = label, grade, darkness
        mask, truth, darkness = tables[:, canvas]
        return mask.astype(np.uint8), truth.astype(np.uint8), darkness

    def _render(self, darkness: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rows, columns = (max(edge // _CELL, 2) for edge in darkness.shape)
        light = cv2.resize(
            rng.normal(0, 4, (rows, columns)).astype("float32"),
            darkness.shape[::-1],
            interpolation=cv2.INTER_LINEAR,
        )
        grey = cv2.GaussianBlur(_GROUND - _DEPTH * darkness, (3, 3), 0.7) + light
        grey = grey + self.noise * rng.standard_normal(grey.shape, "float32")
        image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.repeat(image[..., None], self.channels, axis=-1)


def splits(
    sizes: Mapping[str, int] = MappingProxyType({"train": 1000, "val": 200}),
    seed: int = 0,
    **options: Any,
) -> dict[str, Graded]:
    """Graded scenes for each split, from streams that share nothing but the seed.

    Args:
        sizes: {name of the split: number of scenes}.
        seed: whole number from 0 on.
        options: those of `Graded`, the same for every split.

    Raises:
        ValueError: if `sizes` is no mapping, or an option does not fit.
    """
    return streams.each_split(Graded, sizes, seed=seed, **options)


def _labels(grades: int, coarse: bool) -> LabelSpace:
    names = ["ground", *(f"grade {grade}" for grade in range(1, grades + 1))]
    pairs = [
        {"name": f"grade {c} or {c + 1}", "id": _FIRST_COARSE + c, "members": names[c : c + 2]}
        for c in range(1, grades)
    ]
    return LabelSpace(names, coarse=pairs if coarse else (), values=list(range(grades + 1)))

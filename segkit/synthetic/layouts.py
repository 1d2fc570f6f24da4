"""Which objects a scene holds, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Mapping, Sequence

import numpy as np

from segkit.contract import share, whole_number
from segkit.synthetic.shapes import SHAPES, Shape, article_shapes

LAYOUTS = ("random", "article")
DRAWS = 5  # random numbers behind one object: size, row, column, form, angle

# Short side over long side. Ellipses stay well away from circles, or nobody could tell them.
_RATIOS = {"ellipse": (0.40, 0.65), "rectangle": (0.45, 1.0), "circle": (1.0, 1.0)}
# Half axes of a disc of the same area are multiplied by this: no class is larger than another.
_AREA = {"ellipse": 1.0, "rectangle": math.sqrt(math.pi / 4), "circle": 1.0}


@dataclass(frozen=True)
class Layout:
    """How objects are placed: `random`, or the fixed places of the `article`.

    Args:
        kind: "random" or "article".
        presence: probability that an image holds a class at all, in [0, 1]; one number, or a
            mapping {class name: probability} (classes that it leaves out: 0.75).
        objects: fewest and most objects of a class where it is present (random only).
        size: smallest and largest radius of the disc of the same area, as a share of
            min(height, width) (random only). Areas have the same distribution in every class.
        rotation: whether objects are turned by a random angle (random only).

    Raises:
        ValueError: naming the option that does not fit.
    """

    kind: str = "random"
    presence: float | Mapping[str, float] = 0.75
    objects: Sequence[int] = (1, 2)
    size: Sequence[float] = (0.10, 0.25)
    rotation: bool = True

    def __post_init__(self):
        if self.kind not in LAYOUTS:
            raise ValueError(
                f"layout must be one of {', '.join(LAYOUTS)}. Received: {self.kind!r}."
            )
        object.__setattr__(self, "presence", _probabilities(self.presence))
        object.__setattr__(self, "objects", count_range("objects", self.objects, least=1))
        object.__setattr__(self, "size", size_range(self.size))

    @property
    def most(self) -> int:
        """The largest number of objects in one image."""
        return len(SHAPES) * (1 if self.kind == "article" else self.objects[1])

    def place(self, height: int, width: int, rng: np.random.Generator) -> list[Shape]:
        """The objects of one image of height x width pixels, in the order of `SHAPES`."""
        if self.kind == "article":
            shapes = article_shapes(height, width, rng)
            return [s for s in shapes if rng.random() < self.presence[s.kind]]
        fewest, most = self.objects
        # One call for all draws, which also leaves an object where it is if others come or go.
        draws = iter(rng.random((len(SHAPES) * (1 + most), DRAWS)).tolist())
        placed = []
        for kind in SHAPES:
            chance, number, *_ = next(draws)
            rows = [next(draws) for _ in range(most)]
            if chance < self.presence[kind]:
                rows = rows[: whole_between(fewest, most, number)]
                placed += [self.one(kind, height, width, row) for row in rows]
        return placed

    def one(self, kind: str, height: int, width: int, draws: Sequence[float]) -> Shape:
        """One object of a kind, or of no class, at a random place.

        Args:
            kind: one of `SHAPES`, or any other name, which gives a shape as wide as high.
            height, width: pixels of the image.
            draws: `DRAWS` numbers in [0, 1).
        """
        share, down, right, form, turn = draws
        radius = between(*self.size, share) * min(height, width)
        # The disc of the same area lies inside the image: at most the tips stick out.
        row = between(radius, height - radius, down) - 0.5
        col = between(radius, width - radius, right) - 0.5
        stretch = math.sqrt(between(*_RATIOS.get(kind, (1.0, 1.0)), form))
        radius *= _AREA.get(kind, 1.0)
        if not self.rotation:
            stretch = stretch if turn < 0.5 else 1 / stretch  # lying or upright
            turn = 0.0
        return Shape(kind, row, col, radius * stretch, radius / stretch, math.tau * turn)


def between(low: float, high: float, share: float) -> float:
    """The number that lies this share of the way from low to high."""
    return low + (high - low) * share


def whole_between(low: int, high: int, share: float) -> int:
    """A whole number from low to high, both included, each for an equal part of the shares."""
    return low + int((high - low + 1) * share)


def count_range(name: str, value: Sequence[int], least: int = 0) -> tuple[int, int]:
    """(fewest, most) as two ints.

    Raises:
        ValueError: unless there are two whole numbers with least <= fewest <= most.
    """
    try:
        low, high = (whole_number(name, v, least) for v in value)
        if low <= high:
            return low, high
    except (TypeError, ValueError):
        pass
    raise ValueError(
        f"{name} must be two whole numbers (fewest, most), from {least} on. Received: {value!r}."
    )


def size_range(value: Sequence[float]) -> tuple[float, float]:
    """(smallest, largest) radius as two floats.

    Raises:
        ValueError: unless there are two shares with 0 < smallest <= largest <= 0.5.
    """
    try:
        low, high = (float(v) for v in value)
        if 0 < low <= high <= 0.5:
            return low, high
    except (TypeError, ValueError):
        pass
    raise ValueError(
        "size must be two radii (smallest, largest) with 0 < smallest <= largest <= 0.5, as a "
        f"share of the shorter side of the image. Received: {value!r}."
    )


def _probabilities(presence: float | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(presence, Mapping):
        return dict.fromkeys(SHAPES, share("presence", presence))
    strange = [str(name) for name in presence if name not in SHAPES]
    if strange:
        raise ValueError(
            f"presence is one number, or one by class name ({', '.join(SHAPES)}). "
            f"Received: {', '.join(strange)}."
        )
    given = {name: share(f"presence[{name}]", value) for name, value in presence.items()}
    return dict.fromkeys(SHAPES, Layout.presence) | given

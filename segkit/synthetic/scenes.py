"""Synthetic scenes: an image of simple shapes with its exact mask, drawn when it is asked for."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Mapping, Sequence

import cv2
import numpy as np

from segkit.contract import Sample, whole_number
from segkit.labels import LabelSpace
from segkit.synthetic import distractors as strangers
from segkit.synthetic import shapes, streams
from segkit.synthetic.appearance import Appearance
from segkit.synthetic.layouts import DRAWS, Layout, count_range, whole_between
from segkit.synthetic.shapes import SHAPES, Shape

MOST_THINGS = 255  # a map of things is uint8


class Scenes:
    """Images of ellipses, rectangles and circles with exact masks, as a `contract.Source`.

    Scene i is a pure function of (seed, split, i) and the options: it depends neither on the
    number of scenes nor on the order in which they are drawn. Classes are told by their shape:
    brightness, colour and area have the same distribution in every class and in the distractors.

    Args:
        count: number of scenes.
        height, width: pixels.
        seed: whole number from 0 on.
        layout, presence, objects, size, rotation: see `layouts.Layout`.
        difficulty: 0 (clean) to 1 (hard); scales contrast, texture, illumination, blur, noise
            and the number of distractors.
        distractors: fewest and most shapes of no class (triangles, crosses, stars) an image;
            None: from 0 to 2 x difficulty, rounded.
        channels: 3 (RGB) or 1 (grey).
        exclusive: None or True: a pixel shows one shape.
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
        layout: str = "random",
        presence: float | Mapping[str, float] = 0.75,
        objects: Sequence[int] = (1, 2),
        size: Sequence[float] = (0.10, 0.25),
        rotation: bool = True,
        difficulty: float = 0.5,
        distractors: Sequence[int] | None = None,
        channels: int = 3,
        exclusive: bool | None = None,
        *,
        split: str = "",
    ):
        if exclusive not in (None, True):
            raise ValueError(
                "In these scenes a pixel shows one shape, the one on top. Received: "
                f"labels.exclusive={exclusive!r}. Take data=overlapping, whose shapes overlap."
            )
        self.labels = LabelSpace(["background", *SHAPES])
        self.count = whole_number("count", count)
        self.height = whole_number("height", height, least=1)
        self.width = whole_number("width", width, least=1)
        self.seed = whole_number("seed", seed)
        self.split = str(split)
        self.layout = Layout(layout, presence, objects, size, rotation)
        self.appearance = Appearance(difficulty, channels)
        default = (0, round(2 * difficulty))
        self.distractors = (
            default if distractors is None else count_range("distractors", distractors)
        )
        if self.layout.most + self.distractors[1] > MOST_THINGS:
            raise ValueError(
                f"An image holds at most {MOST_THINGS} things. Received: up to {self.layout.most} "
                f"objects and {self.distractors[1]} distractors. Lower objects or distractors."
            )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        """Scene `index`: uint8 image (H, W, channels), uint8 mask (H, W), everything annotated."""
        index = streams.position(index, self.count, "This set of scenes")
        rng = streams.generator(self.seed, "scenes", self.split, index)
        things = self._things(rng)
        canvas, mask = self._draw(things)
        return Sample(
            image=self.appearance.render(canvas, len(things), rng),
            mask=mask,
            annotated=np.ones(self.labels.num_classes, bool),
            name=f"scene_{index:06d}",
        )

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of scene `index`, without rendering its image."""
        index = streams.position(index, self.count, "This set of scenes")
        things = self._things(streams.generator(self.seed, "scenes", self.split, index))
        return self._draw(things)[1], np.ones(self.labels.num_classes, bool)

    def _draw(self, things: list[Shape]) -> tuple[np.ndarray, np.ndarray]:
        """Which thing is on top, numbered from 1, and the mask; both uint8 (H, W)."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        ids = np.zeros(256, np.uint8)
        # The article's places lie on whole pixels, where `paint` may settle a tie otherwise.
        paint = shapes.paint if self.layout.kind == "random" else shapes.draw_exactly
        for k, thing in enumerate(things, start=1):
            if thing.kind in SHAPES:
                paint(canvas, thing, k)
                ids[k] = 1 + SHAPES.index(thing.kind)
            else:
                strangers.paint(canvas, thing, k)
        return canvas, cv2.LUT(canvas, ids)

    def _things(self, rng: np.random.Generator) -> list[Shape]:
        """Objects and distractors, from the lowest to the one on top."""
        things = self.layout.place(self.height, self.width, rng)
        known = len(things)
        (_, most), kinds = self.distractors, strangers.DISTRACTORS
        number, *draws = rng.random((1 + most, 1 + DRAWS)).tolist()
        for pick, *row in draws[: whole_between(*self.distractors, number[0])]:
            kind = kinds[whole_between(0, len(kinds) - 1, pick)]
            things.append(self.layout.one(kind, self.height, self.width, row))
        if self.layout.kind == "article":
            # The article's objects keep their order, and nothing covers them.
            return things[known:] + things[:known]
        heights = rng.random(len(things)).tolist()
        return [thing for _, thing in sorted(zip(heights, things))]


def splits(
    sizes: Mapping[str, int] = MappingProxyType({"train": 1000, "val": 200}),
    seed: int = 0,
    **options: Any,
) -> dict[str, Scenes]:
    """Scenes for each split, from streams that share nothing but the seed.

    A scene depends on the name of its split, the seed and its index; adding a split or changing
    a size changes no other scene.

    Args:
        sizes: {name of the split: number of scenes}.
        seed: whole number from 0 on.
        options: those of `Scenes`, the same for every split.

    Raises:
        ValueError: if `sizes` is no mapping, or an option does not fit.
    """
    return streams.each_split(Scenes, sizes, seed=seed, **options)

"""How a scene looks: from a map of things to an image with texture, shadow, blur and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import cv2
import numpy as np

from segkit.contract import share

_GREY = 128  # stands for 0 where a signed field is kept in uint8
_UNIT = 32  # grey levels that one standard deviation takes in the table of noise

# Quantiles of the normal distribution at the middle of each 1/256: a random byte looks up a
# normal number, ten times faster than drawing one.
_NOISE = np.array(
    [round(_GREY + _UNIT * NormalDist().inv_cdf((k + 0.5) / 256)) for k in range(256)], np.uint8
)

_CELL = 6  # pixels between the values of the texture

# What each part amounts to at difficulty 0 and at difficulty 1; grey levels unless noted.
_ENDS = {
    "background": (15.0, 30.0),  # its brightness differs from 128 by at most this
    "least_contrast": (40.0, 22.0),  # smallest difference between a thing and the background
    "most_contrast": (90.0, 65.0),  # and the largest
    "tint": (20.0, 10.0),  # each colour channel differs from the brightness by at most this
    "shadow": (4.0, 20.0),  # amplitude of the uneven illumination
    "texture": (6.0, 14.0),  # amplitude of the texture
    "noise": (1.5, 11.0),  # standard deviation of the sensor noise, at most
    "blur": (0.4, 0.85),  # standard deviation in pixels, at most
}


@dataclass(frozen=True)
class Appearance:
    """Colours, texture, illumination, blur and noise of an image, all scaled by one number.

    Every thing gets its colour from one distribution, whatever its class: shape alone tells.

    Args:
        difficulty: 0 (clean, high contrast) to 1 (faint things on strong texture and noise).
        channels: 1 (grey) or 3 (RGB).

    Raises:
        ValueError: if one of them lies outside.
    """

    difficulty: float = 0.5
    channels: int = 3
    levels: dict[str, float] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        share("difficulty", self.difficulty)
        if self.channels not in (1, 3):
            raise ValueError(
                f"channels must be 1 (grey) or 3 (colour). Received: {self.channels!r}."
            )
        levels = {name: low + self.difficulty * (high - low) for name, (low, high) in _ENDS.items()}
        object.__setattr__(self, "levels", levels)

    def render(self, things: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
        """An image of `count` things on a background.

        Args:
            things: uint8 (H, W), 0 the background, 1..count the thing that is on top.
            count: how many things there are, at most 255.
            rng: the stream of this image.

        Returns:
            uint8 (H, W, channels).
        """
        colors = self._colors(count, rng)
        image = cv2.merge([cv2.LUT(things, colors[k]) for k in range(self.channels)])
        return self.taken(image.reshape(*things.shape, self.channels), rng)

    def taken(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What a camera makes of flat colours: blur, uneven light, texture and noise.

        Args:
            image: uint8 (H, W, channels).
            rng: the stream of this image.

        Returns:
            uint8 (H, W, channels).
        """
        shape = image.shape
        blur = self.levels["blur"] * (0.5 + 0.5 * rng.random())
        image = cv2.GaussianBlur(image, (3, 3), blur)
        smooth = cv2.merge([self._smooth(*shape[:2], rng)] * self.channels)
        image = cv2.addWeighted(image, 1.0, smooth, 1.0, -_GREY)
        gain = self.levels["noise"] * (0.5 + 0.5 * rng.random()) / _UNIT
        image = cv2.addWeighted(image, 1.0, self._noise(image.shape, rng), gain, -_GREY * gain)
        return image.reshape(shape)

    def _colors(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """uint8 (channels, 256): the colour of each thing; brighter or darker than entry 0."""
        low, high = self.levels["least_contrast"], self.levels["most_contrast"]
        draws = rng.random((1 + self.channels, 1 + count))
        draws *= 2
        draws -= 1
        level = np.copysign(low, draws[0]) + (high - low) * draws[0]
        base = _GREY + self.levels["background"] * draws[0, 0]
        level += base
        level[0] = base
        # No clipping: the extremes above add up to less than 128.
        colors = np.zeros((self.channels, 256), np.uint8)
        colors[:, : 1 + count] = self.levels["tint"] * draws[1:] + level
        return colors

    def _smooth(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """uint8 (H, W), 128 for 0: shadow and texture, the same in all channels.

        Both are smooth, so they are summed on a coarse grid and enlarged once.
        """
        rows, cols = max(height // _CELL, 2), max(width // _CELL, 2)
        draws = rng.random(4 + rows * cols, np.float32)
        draws -= 0.5
        shadow = cv2.resize(draws[:4].reshape(2, 2), (cols, rows))
        texture = draws[4:].reshape(rows, cols)
        gains = 2 * self.levels["shadow"], 2 * self.levels["texture"]
        small = cv2.addWeighted(shadow, gains[0], texture, gains[1], _GREY, dtype=cv2.CV_8U)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """uint8 of this shape: normal numbers in steps of 1/32 deviation about 128."""
        size = math.prod(shape)
        # Raw 64-bit words: Generator.bytes asks for 32 bits at a time and takes twice as long.
        raw = rng.bit_generator.random_raw(-(-size // 8)).view(np.uint8)[:size]
        return cv2.LUT(raw, _NOISE).reshape(shape)

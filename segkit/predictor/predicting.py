"""A run, or several together, as a function from images to probabilities and decisions."""

from __future__ import annotations

import os
from typing import Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from segkit.data.fitting import fit_image, fit_rows
from segkit.data.places import place
from segkit.data.readers.bands import require_finite
from segkit.data.readers.images import read_image
from segkit.data.scaling import to_unit
from segkit.inference import Tiling, blended, decide
from segkit.inference.tiling import STRIDE, Read
from segkit.inference.tiling import Run as Function
from segkit.inference.views import averaged
from segkit.labels import LabelSpace
from segkit.ordered import decode
from segkit.runs import Decisions, Run

WHOLE = 1024  # pixels: an image with no longer edge is predicted in one piece
LARGEST_RESIZED = 2**28  # pixels of an image that must be in memory, to be made smaller
_STRIP = 2**22  # pixels of probabilities that are brought back to size at once


class Member(NamedTuple):
    """One of the runs that predict together.

    function: images (B, H, W, K) -> probabilities (B, H, W, C).
    size: what its images are resized to; None: as they are.
    """

    function: Function
    size: tuple[int, int] | None


class Predictor:
    """Segments images with a run, or with the mean probability of several.

    `load` makes them. Images are arrays (H, W, K) of any size.

    Attributes:
        labels: the classes.
        runs: what the run folders say.
        decisions: the thresholds that `predict` uses (their means over the runs); None if every
            class is chosen where it is the most probable one; independent: from 0.5 on.
    """

    def __repr__(self) -> str:
        folders = ", ".join(str(run.folder) for run in self.runs)
        return f"<Predictor of {folders}: {', '.join(self.labels.names)}>"

    def __init__(
        self,
        found: Sequence[Run],
        members: Sequence[Member],
        tile: int | None,
        overlap: float,
        batch_size: int,
        decisions: Decisions | None,
    ):
        self.runs, self.decisions = tuple(found), decisions
        self.labels: LabelSpace = found[0].labels
        self._members, self._whole = tuple(members), WHOLE if tile is None else tile
        depths = ((run.config.get("model") or {}).get("depth") or 0 for run in found)
        stride = max(STRIDE, *(2**depth for depth in depths))
        self._tiling = Tiling(512 if tile is None else tile, overlap, batch_size, stride)

    @property
    def resizes(self) -> bool:
        """Whether images are brought to the size of the training, as a whole."""
        return any(member.size is not None for member in self._members)

    def predict(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """The class of each pixel: ids (H, W), uint8, or uint16 with more than 256 classes.

        Independent classes: a plane for each, (H, W, C) of uint8, 0 and 1.

        Args:
            image: as `probabilities` takes it.
        """
        return self.decide(self.probabilities(image))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """What probabilities (..., C) are turned into; see `segkit.inference.decide`."""
        thresholds = self.decisions and self.decisions.thresholds
        return decide(probabilities, thresholds, exclusive=self.labels.exclusive)

    def probabilities(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """The probability of each class at each pixel.

        Args:
            image: (H, W, K), or (H, W) of grey, with the values its file holds: what
                data.value_range of the run says becomes 0 and 1; without one, bytes and uint16
                as their type says, and floats lie in [0, 1]. Or the path or URL of a file.

        Returns:
            float32 (H, W, C); they sum to 1 over the classes, unless those are independent.

        Raises:
            ValueError: if it is no such image.
        """
        channels, name = self.runs[0].channels, "The image"
        if isinstance(image, (str, os.PathLike)):
            name = str(image)
            image = read_image(place(image), channels)
        image = np.asarray(image)
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3 if channels == 3 else 1, axis=-1)
        if image.dtype not in (np.uint8, np.uint16):
            image = image.astype("float32")
        self._check(image)
        require_finite(image, name)
        return next(self.each([to_unit(image, self.runs[0].value_range, name)]))

    def mean(self, image: np.ndarray | str | os.PathLike) -> np.ndarray:
        """Of ordered classes, the mean of their values at each pixel: float32 (H, W)."""
        return self.mean_and_deviation(image)[0]

    def mean_and_deviation(
        self, image: np.ndarray | str | os.PathLike
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the values of ordered classes at each pixel.

            mean = sum over c of p_c v_c,  deviation = sqrt(sum over c of p_c (v_c - mean)^2)

        Thresholds have no say in it. The deviation is how sure the model is, not how right.

        Args:
            image: as `probabilities` takes it.

        Returns:
            both float32 (H, W), in `labels.unit`.

        Raises:
            ValueError: if the classes have no values.
        """
        if self.labels.values is None:
            raise ValueError(
                "A mean needs classes with values, one number a class. Received: "
                f"{', '.join(self.labels.names)}, without. Name them as \"values\" in "
                "classes.json, and train on that."
            )
        return decode(self.probabilities(image), self.labels.values)

    def each(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Probabilities of one image after the other, those of one size some at a time.

        Args:
            images: (H, W, K), uint8 or float32 in [0, 1] as a `contract.Source` gives them:
                data.value_range has been applied.
        """
        batch: list[np.ndarray] = []
        for image in images:
            self._check(image)
            alike = batch and (image.shape, image.dtype) == (batch[0].shape, batch[0].dtype)
            if batch and (len(batch) == self._tiling.batch_size or not alike):
                yield from self._of(batch)
                batch = []
            batch.append(image)
        if batch:
            yield from self._of(batch)

    def stream(self, read: Read, shape: tuple[int, int]) -> Iterator[tuple[slice, np.ndarray]]:
        """Probabilities of an image that need not fit into memory, from top to bottom.

        Args:
            read: (rows, columns) -> that part of the image, as `each` takes it.
            shape: (H, W) of the image.

        Yields:
            rows, and their probabilities, float32 (h, W, C).

        Raises:
            ValueError: if the image has to be resized as a whole, and is too large for that.
        """
        if not self.resizes:
            function = averaged([member.function for member in self._members])
            yield from blended(read, shape, function, self._tiling_of(shape))
            return
        if shape[0] * shape[1] > LARGEST_RESIZED:
            raise ValueError(
                f"In training every image was resized, here to {self.sizes()}, and so is each one "
                f"now. Received: an image of {shape[0]}x{shape[1]}, too large to be resized in "
                "memory. size=null predicts it at full resolution, in tiles; is that the scale "
                "the model learnt?"
            )
        image = read(slice(0, shape[0]), slice(0, shape[1]))
        small = [self._small(member, image) for member in self._members]
        height = max(1, _STRIP // shape[1])
        for top in range(0, shape[0], height):
            rows = slice(top, min(shape[0], top + height))
            parts = [fit_rows(one, rows, shape) for one in small]
            yield rows, sum(parts[1:], parts[0]) / np.float32(len(parts))

    def _of(self, batch: list[np.ndarray]) -> Iterator[np.ndarray]:
        shape = batch[0].shape[:2]
        fitting = all(member.size in (None, shape) for member in self._members)
        if not fitting or (not self.resizes and max(shape) > self._whole):
            for image in batch:
                read = lambda rows, columns, image=image: image[rows, columns]  # noqa: E731
                yield np.concatenate([part for _, part in self.stream(read, shape)])
            return
        yield from averaged([member.function for member in self._members])(np.stack(batch))

    def _small(self, member: Member, image: np.ndarray) -> np.ndarray:
        """Probabilities of an image at the size a member wants."""
        if member.size is not None:
            return member.function(fit_image(image, member.size, "resize")[None])[0]
        read, shape = (lambda rows, columns: image[rows, columns]), image.shape[:2]
        parts = blended(read, shape, member.function, self._tiling_of(shape))
        return np.concatenate([part for _, part in parts])

    def _tiling_of(self, shape: tuple[int, int]) -> Tiling:
        if max(shape) > self._whole:
            return self._tiling
        edge = -(-max(shape) // STRIDE) * STRIDE
        return Tiling(edge, 0, self._tiling.batch_size)

    def _check(self, image: np.ndarray) -> None:
        channels = self.runs[0].channels
        if image.ndim != 3 or image.shape[-1] != channels or 0 in image.shape:
            raise ValueError(
                f"The model sees images (H, W, {channels}), one at a time. Received: "
                f"{image.shape}. Bring it to {channels} channels, which come last."
            )

    def sizes(self) -> str:
        """What images are resized to, in words; "" if they are not."""
        sizes = {member.size for member in self._members if member.size}
        return " and ".join(f"{height}x{width}" for height, width in sorted(sizes))

"""A run, or several together, as a function from images to probabilities and decisions."""

from __future__ import annotations

import os
from typing import Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from segkit import environment, models, runs
from segkit.contract import whole_number
from segkit.data.fitting import fit_image, fit_rows, height_and_width
from segkit.data.scaling import to_unit
from segkit.inference import Tiling, blended, compiled, decide
from segkit.inference.tiling import STRIDE, Read
from segkit.inference.tiling import Run as Function
from segkit.inference.views import averaged
from segkit.labels import LabelSpace
from segkit.runs import EVEN, Decisions, Run

PRECISIONS = ("auto", "float32", "bfloat16")
WHOLE = 1024  # pixels: an image with no longer edge is predicted in one piece
LARGEST_RESIZED = 2**28  # pixels of an image that must be in memory, to be made smaller
_STRIP = 2**22  # pixels of probabilities that are brought back to size at once


class _Member(NamedTuple):
    """size: what its images are resized to; None: as they are."""

    function: Function
    size: tuple[int, int] | None


class Predictor:
    """Segments images with a run, or with the mean probability of several.

    `load` makes them. Images are arrays (H, W, K) of any size.

    Attributes:
        labels: the classes.
        runs: what the run folders say.
        decisions: the thresholds that `predict` uses (their means over the runs); None if every
            class is chosen where it is the most probable one.
    """

    def __init__(
        self,
        found: Sequence[Run],
        members: Sequence[_Member],
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

    def predict(self, image: np.ndarray) -> np.ndarray:
        """The class of each pixel: ids (H, W), uint8, or uint16 with more than 256 classes.

        Args:
            image: as `probabilities` takes it.
        """
        return self.decide(self.probabilities(image))

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """The ids that probabilities (..., C) are turned into; see `segkit.inference.decide`."""
        return decide(probabilities, self.decisions and self.decisions.thresholds)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """The probability of each class at each pixel.

        Args:
            image: (H, W, K), or (H, W) for one channel, with the values its file holds: what
                data.value_range of the run says becomes 0 and 1; without one, bytes and uint16
                as their type says, and floats lie in [0, 1].

        Returns:
            float32 (H, W, C); they sum to 1 over the classes.

        Raises:
            ValueError: if it is no such image.
        """
        image = np.asarray(image)
        image = image[..., None] if image.ndim == 2 else image
        if image.dtype not in (np.uint8, np.uint16):
            image = image.astype("float32")
        self._check(image)
        return next(self.each([to_unit(image, self.runs[0].value_range, "The image")]))

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
                f"In training every image was resized, here to {self._sizes()}, and so is each one "
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

    def _small(self, member: _Member, image: np.ndarray) -> np.ndarray:
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
                f"The model sees images (H, W, {channels}). Received: {image.shape}. Bring it to "
                f"{channels} channels first."
            )

    def _sizes(self) -> str:
        sizes = {member.size for member in self._members if member.size}
        return " and ".join(f"{height}x{width}" for height, width in sorted(sizes))


def load(
    run: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    tta: str = "none",
    tile: int | None = None,
    overlap: float = 0.25,
    batch_size: int = 4,
    precision: str = "auto",
    size: str | int | Sequence[int] | None = "auto",
    decisions: bool = True,
) -> Predictor:
    """The model of a run folder, ready to predict; of several, their mean probability.

    Batch normalisations are folded. Temperature and thresholds of `segkit calibrate` are used
    where a run has them: each run its own temperature, all together the mean thresholds.

    Args:
        run: a run folder, or several with the same classes and channels.
        tta: test-time augmentation: none; flips: 4 views of each image; rotations: 8.
        tile: edge in pixels of the tiles, a multiple of 32, that a large image is cut into; one
            without a longer edge is predicted whole. None: 512, and whole up to 1024.
        overlap: the part of a tile that it shares with its neighbour at least, in [0, 0.75].
        batch_size: images or tiles at once.
        precision: auto (bfloat16 where the device has it in hardware), float32 or bfloat16.
        size: what images are brought to before: auto: what the run did in training; None: they
            stay as they are; or pixels, or (height, width).
        decisions: False: neither temperatures nor thresholds.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong with a run or an argument.
    """
    paths = [run] if isinstance(run, (str, os.PathLike)) else list(run)
    if not paths:
        raise ValueError("A predictor needs a run. Received: none.")
    whole_number("batch_size", batch_size, 1)
    found = [runs.read(path, decisions) for path in paths]
    runs.require_alike(found)
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be {' or '.join(PRECISIONS)}. Received: {precision!r}.")
    if precision == "auto":
        precision = "bfloat16" if environment.fast_bfloat16() else "float32"
    members = []
    for one in found:
        network = models.fold(models.recast(runs.load_model(one), precision))
        temperature = one.decisions.temperature if one.decisions else 1.0
        members.append(_Member(compiled(network, tta, temperature), _size(one, size)))
    return Predictor(found, members, tile, overlap, batch_size, _thresholds(found))


def _size(run: Run, size: str | int | Sequence[int] | None) -> tuple[int, int] | None:
    if size == "auto":
        return run.size if run.fit == "resize" else None
    return height_and_width(size if size is None or isinstance(size, int) else list(size))


def _thresholds(found: Sequence[Run]) -> Decisions | None:
    given = [run.decisions for run in found if run.decisions]
    if not given:
        return None
    even = (EVEN,) * len(found[0].labels.names)
    table = [run.decisions.thresholds if run.decisions else even for run in found]
    temperature = given[0].temperature if len(found) == 1 else 1.0
    return Decisions(temperature, tuple(map(float, np.mean(table, axis=0))), given[0].score)

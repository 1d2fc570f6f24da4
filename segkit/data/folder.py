"""Folder data sets: images and masks on disk, read one sample at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Iterable, Sequence

import numpy as np

from segkit.contract import Sample
from segkit.data.drawing import drawn, with_val
from segkit.data.fitting import FITS, fit_image, fit_mask, height_and_width, with_ignore_index
from segkit.data.layout import Pair, find_pairs, find_splits
from segkit.data.manifest import FILE_NAME, read_annotations
from segkit.data.readers import image_size, read_image, read_mask
from segkit.labels import LabelSpace
from segkit.targets import known_ids

POLICIES = ("all", "manifest", "present")
_SHOWN = 5  # files named in one message


class Folder:
    """One split of a folder data set; a `segkit.contract.Source`.

    Sample i holds the image as uint8 (H, W, 3), the mask as uint8 (H, W) (uint16 if an id needs
    it), annotated as bool (C,), the truth if there is a file of it, and the stem as its name.
    Files are read when they are asked for, and damaged ones are reported then.

    With fit="crop" the label space always has an ignore index (255, if `labels` has none), since
    images smaller than `size` are padded and nobody judged the padding.

    Args:
        pairs: the files of each image.
        labels: the label space of the masks; its classes exclude each other.
        annotated: one bool (C,) an image; None stands for "the classes that its mask shows".
        size: (height, width) in pixels, one number for both, or None to keep each image's size.
        fit: "resize" (image bilinear, mask nearest; the aspect ratio is not kept) or "crop" (the
            middle; padded where too small).

    Raises:
        ValueError: on arguments that do not fit together.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        labels: LabelSpace,
        annotated: Sequence[np.ndarray | None],
        size: int | Sequence[int] | None = None,
        fit: str = "resize",
    ):
        if not labels.exclusive:
            raise ValueError(
                "The masks of a folder data set hold one id a pixel, so its classes exclude each "
                "other. Received: exclusive=False. Set it to true in classes.json."
            )
        if fit not in FITS:
            raise ValueError(f"fit must be one of {', '.join(FITS)}. Received: {fit!r}.")
        if len(pairs) != len(annotated):
            raise ValueError(
                f"annotated needs one row an image, {len(pairs)} here. Received: {len(annotated)}."
            )
        self.labels = with_ignore_index(labels) if fit == "crop" else labels
        self._pairs = list(pairs)
        self._annotated = list(annotated)
        self._size = height_and_width(size)
        self._fit = fit
        self._known = np.array(known_ids(labels))  # before padding claimed an id
        self._dtype = np.uint8 if max(known_ids(self.labels)) < 256 else np.uint16
        self._unwarned = [True]  # popped by the first thread that warns

    @property
    def names(self) -> list[str]:
        """The stems of the images, in order."""
        return [pair.name for pair in self._pairs]

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        pair = self._pairs[index]
        image = read_image(pair.image)
        mask, annotated = self._annotation(index, image.shape[:2])
        truth = None
        if pair.truth is not None:
            truth = self._fitted(self._read_ids(pair, pair.truth, image.shape[:2])[0])
        if self._size is not None:
            image = fit_image(image, self._size, self._fit)
        return Sample(image, mask, annotated, truth, pair.name)

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of sample `index`, without decoding its image."""
        return self._annotation(index, image_size(self._pairs[index].image))

    def validate(self) -> np.ndarray:
        """Reads every mask once, and the header of every image.

        Warns once (UserWarning) if masks show classes that are declared unannotated, naming the
        first images. Their pixels stay labelled, and the rest of the class stays unknown.

        Returns:
            int (C,): how many masks show each class.

        Raises:
            ValueError: listing the first files that cannot be used, and how many there are.
        """
        problems, contradictions = [], []
        shown = np.zeros(self.labels.num_classes, int)
        for index, pair in enumerate(self._pairs):
            try:
                size = image_size(pair.image)
                _, present = self._read_ids(pair, pair.mask, size)
                if pair.truth is not None:
                    self._read_ids(pair, pair.truth, size)
            except (OSError, ValueError) as error:
                problems.append(str(error))
                continue
            shown += present
            unannotated = present & ~self._annotated_in(index, present)
            if unannotated.any():
                contradictions.append(self._contradiction(pair, unannotated))
        if problems:
            listed = "\n".join(problems[:_SHOWN])
            raise ValueError(f"{len(problems)} of {len(self)} images cannot be used:\n{listed}")
        if contradictions:
            self._warn(contradictions)
        return shown

    def _annotation(self, index: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        pair = self._pairs[index]
        mask, present = self._read_ids(pair, pair.mask, size)
        annotated = self._annotated_in(index, present)
        if (present & ~annotated).any():
            self._warn([self._contradiction(pair, present & ~annotated)])
        return self._fitted(mask), annotated

    def _read_ids(
        self, pair: Pair, path: Path, size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a mask file (H, W), and which classes have a pixel in it, bool (C,)."""
        mask = read_mask(path)
        if mask.shape != tuple(size):
            raise ValueError(
                f"{path} must be as large as its image {pair.image}, {size[0]}x{size[1]} "
                f"(height x width). Received: {mask.shape[0]}x{mask.shape[1]}."
            )
        ids = np.flatnonzero(np.bincount(mask.ravel()))
        stray = np.setdiff1d(ids, self._known)
        if stray.size:
            raise ValueError(
                f"{path} may hold the ids {_shortened(self._known)}. "
                f"Received also: {_shortened(stray)}. "
                "Correct the mask, or name the id in classes.json (as ignore_index, for example)."
            )
        return mask.astype(self._dtype), np.isin(np.arange(self.labels.num_classes), ids)

    def _annotated_in(self, index: int, present: np.ndarray) -> np.ndarray:
        declared = self._annotated[index]
        annotated = np.array(present if declared is None else declared, bool)
        if self.labels.background is not None:
            annotated[self.labels.background] = True
        return annotated

    def _fitted(self, mask: np.ndarray) -> np.ndarray:
        if self._size is None:
            return mask
        return fit_mask(mask, self._size, self._fit, self.labels.ignore_index)

    def _contradiction(self, pair: Pair, unannotated: np.ndarray) -> str:
        names = ", ".join(self.labels.names[c] for c in np.flatnonzero(unannotated))
        return f"{pair.mask} ({names})"

    def _warn(self, contradictions: list[str]) -> None:
        try:
            self._unwarned.pop()
        except IndexError:
            return
        more = len(contradictions) - _SHOWN
        warnings.warn(
            "Masks show classes that are declared unannotated: "
            f"{'; '.join(contradictions[:_SHOWN])}{f'; and {more} more' if more > 0 else ''}. "
            "Their pixels count as labelled, the rest of the class as unknown. Where a class was "
            f"outlined completely, say so in {FILE_NAME}; Folder.validate() finds all such masks.",
            stacklevel=3,
        )


def splits(
    root: str | Path,
    annotated: str = "all",
    size: int | Sequence[int] | None = 128,
    fit: str = "resize",
    val_fraction: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
) -> dict[str, Folder]:
    """The splits of a folder data set, by name; quick, as no image or mask is opened.

    `root` holds classes.json and either train/, val/, test/, each with images/ and masks/, or
    images/ and masks/ themselves. Where there is no val/, images are drawn from train (or from
    everything) to be it: whether an image is drawn hangs on its stem, the stems beside it and
    `seed` alone.

    Args:
        root: the data set's folder.
        annotated: what holds for images that annotations.csv leaves out: "all" classes were
            looked for; "manifest": the file must exist and is the whole story, so nothing was;
            "present": the classes that the mask shows.
        size, fit: see `Folder`.
        val_fraction: share of the images drawn for a missing val/, 0 <= f < 1; 0 for none.
        seed: of the draws, from 0 on.
        limit: keep at most this many images a split, drawn at random; a larger limit keeps the
            same ones and adds to them.

    Raises:
        FileNotFoundError: if a folder or file is missing.
        ValueError: naming what is wrong with the files' names, classes.json or annotations.csv.
    """
    if annotated not in POLICIES:
        raise ValueError(
            f"annotated must be one of {', '.join(POLICIES)}. Received: {annotated!r}."
        )
    if not 0 <= val_fraction < 1:
        raise ValueError(f"val_fraction must be in [0, 1). Received: {val_fraction!r}.")
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 image, or None. Received: {limit!r}.")
    root = Path(root)
    pairs = {name: find_pairs(directory) for name, directory in find_splits(root).items()}
    labels = LabelSpace.from_json(root / "classes.json")
    declared = read_annotations(root, pairs, labels)
    if declared is None and annotated == "manifest":
        raise FileNotFoundError(
            f"annotated='manifest' needs {root / FILE_NAME}, with the columns image and annotated. "
            "Write it, or choose 'all' or 'present'."
        )
    pairs = with_val(pairs, val_fraction, seed)
    default = None if annotated == "present" else np.full(labels.num_classes, annotated == "all")
    folders = {}
    for name, found in pairs.items():
        kept = drawn(found, limit or len(found), f"limit:{seed}")
        table = [(declared or {}).get(pair.image, default) for pair in kept]
        folders[name] = Folder(kept, labels, table, size, fit)
    return folders


def _shortened(ids: Iterable[int], most: int = 12) -> str:
    ids = [str(i) for i in ids]
    return ", ".join(ids if len(ids) <= most else [*ids[: most - 1], "...", ids[-1]])

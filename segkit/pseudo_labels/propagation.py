"""Labels that spread from superpixel to superpixel along likeness; needs no model."""

from __future__ import annotations

import warnings
from typing import Iterable, Iterator, NamedTuple

import numpy as np
from scipy.ndimage import mean, standard_deviation
from skimage.color import rgb2gray, rgb2lab
from skimage.filters import sobel
from skimage.segmentation import slic
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import LabelSpreading

from segkit.contract import candidates, judged_pixels, whole_number
from segkit.labels import LabelSpace

UNLABELLED = -1  # of scikit-learn
_NEIGHBOURS = 10  # whose distance is the scale of the kernel
_PURE = 0.6  # share of a superpixel that has its label
_LONE = 0.5  # share of nodes without a neighbour, from which gamma is wrong


class Spreading(NamedTuple):
    """How labels spread.

    segments: superpixels an image, about.
    compactness: of SLIC; large ones are square.
    nodes: superpixels of the graph, at most; the others are told by their likeness to these.
    gamma: of exp(-gamma d^2); None: from the data.
    alpha: how much of its neighbours' labels a node takes, in (0, 1).
    scale: whether features are brought to mean 0 and variance 1.
    seed: of the nodes that are drawn.
    """

    segments: int = 100
    compactness: float = 10.0
    nodes: int = 3000
    gamma: float | None = None
    alpha: float = 0.2
    scale: bool = True
    seed: int = 0


def superpixels(image: np.ndarray, segments: int, compactness: float) -> np.ndarray:
    """The superpixel of each pixel, int (H, W), numbered from 0 on.

    Args:
        image: uint8, or float in [0, 1], (H, W, K).
    """
    height, width = image.shape[:2]
    if height * width <= segments or min(height, width) < 2:
        return np.arange(height * width).reshape(height, width)
    values = _unit(image)
    lab = values.shape[-1] == 3
    found = slic(values, segments, compactness if lab else compactness / 100, start_label=0)
    return np.unique(found, return_inverse=True)[1].reshape(height, width)


def features(
    image: np.ndarray, parts: np.ndarray, probabilities: np.ndarray | None = None
) -> np.ndarray:
    """What superpixels look like, float64 (n, F).

    Mean and deviation of each channel (L*, a*, b* of colours), mean and deviation of the
    gradient, the place of the centre in [0, 1], and the mean probabilities of a model, if given.

    Args:
        image: uint8, or float in [0, 1], (H, W, K).
        parts: as `superpixels` gives them.
        probabilities: (H, W, C), or None.
    """
    values = _unit(image)
    grey = rgb2gray(values) if values.shape[-1] == 3 else values.mean(-1)
    edges = sobel(grey) if min(grey.shape) > 2 else np.zeros_like(grey)
    channels = rgb2lab(values) if values.shape[-1] == 3 else values
    places = [(axis + 0.5) / size for axis, size in zip(np.indices(grey.shape), grey.shape)]
    index = np.arange(parts.max() + 1)
    several = [*np.moveaxis(channels, -1, 0), edges]
    columns = [mean(plane, parts, index) for plane in [*several, *places]]
    columns += [standard_deviation(plane, parts, index) for plane in several]
    if probabilities is not None:
        columns += [mean(plane, parts, index) for plane in np.moveaxis(probabilities, -1, 0)]
    return np.stack(columns, axis=1)


def labels_of(target: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """The label of each superpixel, int (n,): that of most of its pixels; -1 without a majority.

    Only pixels with a single candidate have one.
    """
    possible = candidates(target)
    sure = judged_pixels(target) & (possible.sum(-1) == 1)
    count = parts.max() + 1
    votes = np.zeros((count, target.shape[-1]))
    np.add.at(votes, (parts[sure], np.argmax(possible, -1)[sure]), 1)
    size = np.bincount(parts.ravel(), minlength=count)
    return np.where(votes.max(1) >= _PURE * size, votes.argmax(1), UNLABELLED)


def data_gamma(scaled: np.ndarray) -> float:
    """gamma = 1 / median of the squared distance of a node to its tenth neighbour.

    Args:
        scaled: features (n, F).
    """
    count = min(_NEIGHBOURS, len(scaled) - 1)
    if count < 1:
        return 1.0
    distances, _ = NearestNeighbors(n_neighbors=count).fit(scaled).kneighbors()
    middle = float(np.median(distances[:, -1] ** 2))
    return 1 / middle if middle > 0 else 1.0


class Propagation:
    """Label spreading over the superpixels of many images.

    The affinity of two is exp(-gamma |f - g|^2) with f, g their features. Where there are more than
    `nodes`, those are drawn, half of them labelled; the label distribution of another superpixel is
    the mean of theirs, weighted by affinity.

    Args:
        labels: of the masks; classes exclude each other.
        options: how labels spread.

    Raises:
        ValueError: if classes are independent, or an option is out of range.

    Ref: Zhou et al. 2004, Learning with Local and Global Consistency; Achanta et al. 2012 (SLIC).
    """

    def __init__(self, labels: LabelSpace, options: Spreading = Spreading()):
        if not labels.exclusive:
            raise ValueError(
                "method=propagation gives each superpixel one class, so classes exclude each "
                "other. Received: independent ones. Take method=model."
            )
        _check(options)
        self._labels, self._options = labels, options

    def fit(self, found: Iterable[tuple[np.ndarray, np.ndarray]]) -> Propagation:
        """Spreads the labels.

        Args:
            found: features (n, F) and labels (n,) of each image.

        Raises:
            ValueError: if nothing is labelled, or no label can spread.
        """
        rows, known = (np.concatenate(part) for part in zip(*found))
        if (known == UNLABELLED).all():
            raise ValueError(
                "Labels can only spread from superpixels that have one. Received: none in "
                f"{len(known):,}. Annotate an image, or raise propagation.segments."
            )
        self._scaler = StandardScaler().fit(rows) if self._options.scale else None
        chosen = _drawn(known, self._options)
        scaled, told = self._scaled(rows[chosen]), known[chosen]
        gamma = self._options.gamma
        self.gamma = data_gamma(scaled) if gamma is None else float(gamma)
        require_neighbours(scaled, told, self.gamma)
        model = LabelSpreading(kernel="rbf", gamma=self.gamma, alpha=self._options.alpha)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rows without a neighbour, which are dealt with
            self._model = model.fit(scaled, told)
        return self

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """float32 (n, C) of superpixels with features (n, F); 0 where nothing is alike."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = self._model.predict_proba(self._scaled(rows))
        spread = np.zeros((len(rows), self._labels.num_classes), "float32")
        spread[:, self._model.classes_.astype(int)] = np.nan_to_num(found)
        return spread

    def parts(self, image: np.ndarray) -> np.ndarray:
        """The superpixels of an image."""
        return superpixels(image, self._options.segments, self._options.compactness)

    def each(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The probabilities of each image, float32 (H, W, C)."""
        for image in images:
            parts = self.parts(image)
            yield self.probabilities(features(image, parts))[parts]

    def _scaled(self, rows: np.ndarray) -> np.ndarray:
        return rows if self._scaler is None else self._scaler.transform(rows)


def require_neighbours(scaled: np.ndarray, known: np.ndarray, gamma: float) -> None:
    """Refuses a gamma with which most nodes are alone: labels would not spread, or be one class.

    Raises:
        ValueError: saying how many, and a gamma that suits.
    """
    if len(scaled) < 2:
        return
    nearest, _ = NearestNeighbors(n_neighbors=1).fit(scaled).kneighbors()
    with np.errstate(under="ignore"):
        affinity = np.exp(-gamma * nearest[:, 0] ** 2)
    lone = (affinity < np.finfo("float64").eps) & (known == UNLABELLED)
    unknown = max((known == UNLABELLED).sum(), 1)
    if lone.sum() > _LONE * unknown:
        raise ValueError(
            f"gamma={gamma:g} is too large for these features: exp(-gamma d^2) underflows between "
            f"{lone.sum():,} of {unknown:,} unlabelled superpixels and all others, so no label "
            "could reach them. Take propagation.gamma=null, which takes it from the data (here "
            f"{data_gamma(scaled):.3g}), and propagation.scale=true."
        )


def _drawn(known: np.ndarray, options: Spreading) -> np.ndarray:
    """The nodes of the graph: all, or half labelled and half not, in random order."""
    if len(known) <= options.nodes:
        return np.arange(len(known))
    order = np.random.default_rng(options.seed).permutation(len(known))
    labelled, others = order[known[order] != UNLABELLED], order[known[order] == UNLABELLED]
    half = options.nodes // 2
    count = min(len(labelled), max(half, options.nodes - len(others)))
    return np.concatenate([labelled[:count], others[: options.nodes - count]])


def _unit(image: np.ndarray) -> np.ndarray:
    return image / 255.0 if image.dtype == np.uint8 else image.astype("float64")


def _check(options: Spreading) -> None:
    bounds = {"segments": (1, 1e5), "compactness": (1e-6, 1e6), "nodes": (2, 20_000)}
    bounds |= {"gamma": (1e-300, 1e300), "alpha": (1e-6, 1 - 1e-6)}
    for key, (low, high) in bounds.items():
        value = getattr(options, key)
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (key == "gamma" and value is None) and not (right and low <= value <= high):
            raise ValueError(
                f"propagation.{key} must be a number from {low:g} to {high:g}. Received: {value!r}."
            )
    for key, least in (("segments", 1), ("nodes", 2), ("seed", 0)):
        whole_number(f"propagation.{key}", getattr(options, key), least)
    if not isinstance(options.scale, bool):
        raise ValueError(f"propagation.scale must be true or false. Received: {options.scale!r}.")

"""How often an epoch shows each image: shares of the draws, from what is known about the images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from segkit import contract


class Uniform:
    """Shows every image once an epoch."""

    def __call__(self, present: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        """Shares of the draws, float64 (N,); see `Labelled`."""
        return np.full(len(present), 1 / max(len(present), 1))


class Labelled:
    """Shows images with labelled objects more often, each class as often as the others.

        s_i = (1 - share) / N + share / C' sum_c [c labelled in i] / n_c

    with N images, n_c of which have class c labelled, and C' foreground classes that occur. Where
    most annotations are missing, most images say nothing, and an epoch that shows all of them
    equally often is spent on those; where a class is rare, it is hardly ever seen.

    Args:
        share: of the draws that go by the labels, in [0, 1]; the others show all images alike.

    Raises:
        ValueError: if `share` is out of range.
    """

    def __init__(self, share: float = 0.8):
        self.share = contract.share("share", share)

    def __call__(self, present: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        """Shares of the draws, float64 (N,), that add up to 1.

        Args:
            present: bool (N, F), the foreground classes that the mask of each image shows.
            annotated: bool (N, F), which of them somebody looked for.
        """
        labelled = (present & annotated).astype("float64")
        of_class = labelled.sum(0)
        even = Uniform()(present, annotated)
        if not of_class.any():
            return even
        by_label = (labelled[:, of_class > 0] / of_class[of_class > 0]).mean(1)
        return (1 - self.share) * even + self.share * by_label


class Complete:
    """Shows only images in which every class was annotated, as if there were no others.

    What many do with incomplete data; here to be compared with.

    Raises:
        ValueError: when it is called with no such image.
    """

    def __call__(self, present: np.ndarray, annotated: np.ndarray) -> np.ndarray:
        """Shares of the draws, float64 (N,); see `Labelled`."""
        whole = annotated.all(1)
        if not whole.any():
            raise ValueError(
                "sampling=complete needs images in which every class was annotated. "
                f"Received: none among {len(whole)}. Take sampling=labelled."
            )
        return whole / whole.sum()


def draw(shares: np.ndarray, seed: int, epoch: int, count: int | None = None) -> np.ndarray:
    """The images of an epoch in random order, int64 (count,); None: as many as there are images.

    Systematic resampling: image i comes floor(count s_i) or ceil(count s_i) times, so N draws at
    equal shares are a permutation. A function of its arguments.
    """
    rng = np.random.default_rng([seed, epoch])
    count = len(shares) if count is None else count
    edges = np.cumsum(shares) * (count / np.sum(shares))
    # Rounded, as sums of 1 / N miss whole numbers by an ulp, and one image would come twice.
    times = np.diff(np.floor(np.round(edges, 6) + rng.random()).astype(int), prepend=0)
    return rng.permutation(np.repeat(np.arange(len(shares)), times))


class Order(NamedTuple):
    """Epoch -> the images it shows, in order, and how often each was shown in it before: (M, 2).

    images: N, how many there are.
    seed: of the order, from 0 on.
    shuffle: False keeps the order of the source, over and over.
    count: M, draws an epoch. Beyond N the shuffled images come in one permutation after another.
    shares: of the draws, (N,), see `draw`; None: all alike.
    """

    images: int
    seed: int
    shuffle: bool
    count: int
    shares: np.ndarray | None = None

    def __call__(self, epoch: int) -> np.ndarray:
        drawn = self._drawn(epoch)
        by_image = np.argsort(drawn, kind="stable")
        first = np.searchsorted(drawn[by_image], drawn[by_image])
        repeats = np.empty_like(drawn)
        repeats[by_image] = np.arange(len(drawn)) - first
        return np.stack([drawn, repeats], axis=1)

    def _drawn(self, epoch: int) -> np.ndarray:
        if not self.shuffle:
            return np.arange(self.count) % self.images
        if self.shares is not None:
            return draw(self.shares, self.seed, epoch, self.count)
        rng = np.random.default_rng([self.seed, epoch])
        rounds = -(-self.count // self.images)
        return np.concatenate([rng.permutation(self.images) for _ in range(rounds)])[: self.count]

"""Whether a model that says 80 % is right in 80 % of the cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np
from scipy.optimize import minimize_scalar

from segkit.contract import LABELLED, judged_pixels, require_target
from segkit.metrics.cells import each_cell
from segkit.metrics.counts import mean_or_none, number_or_none
from segkit.metrics.curves import require_probabilities

BINS = 15
TEMPERATURES = (0.05, 20.0)  # beyond them, something else is wrong


@dataclass(frozen=True)
class Reliability:
    """Confidence against how often it is right, in 15 bins (low, high] of equal width.

    pixels, confidence, right: by predicted class, (C, BINS): the judged pixels of known cells in
    each bin of its probability, the sum of these probabilities, and how many carry the class.
    class_pixels, class_confidence, class_right: the same for the probability of each class,
    predicted or not, (C, BINS).
    predicted: all judged pixels by predicted class, (C,).

    A pixel tells whether the prediction is right if the cell of the predicted class is known. To
    take those whose label is beyond doubt would choose them by their label: where an object may
    be unannotated, its image would keep the missed objects and lose the background that was
    right. Cells of some classes are known more often than others, so those known stand for all:
    pixels predicted as class c are weighted by predicted_c / sum over bins of pixels_c. Nothing
    unknown: all weights are 1.

    Independent classes: no class is the predicted one, so `predicted` is None, the first three are
    the same as the next three, and "right" is how often a class is there.
    """

    pixels: np.ndarray
    confidence: np.ndarray
    right: np.ndarray
    class_pixels: np.ndarray
    class_confidence: np.ndarray
    class_right: np.ndarray
    predicted: np.ndarray | None

    def __add__(self, other: Reliability) -> Reliability:
        pairs = zip(vars(self).values(), vars(other).values())
        return Reliability(*(None if mine is None else mine + others for mine, others in pairs))

    @property
    def ece(self) -> float | None:
        """Expected calibration error, in [0, 1]; None without evidence.

            ECE = sum over bins of n_b / n |right_b / n_b - mean confidence_b|

        Independent classes: the mean of `class_ece` over the classes with evidence.

        Ref: Guo et al. 2017, arXiv:1706.04599, equation 3; independent: the classwise ECE of Kull
        et al. 2019, arXiv:1910.12656, section 2.
        """
        if self.predicted is None:
            return mean_or_none(self.class_ece)
        return number_or_none(_expected(*self._weighted))

    @property
    def mce(self) -> float | None:
        """Maximum calibration error, the largest gap of a bin that holds pixels; None without any.

        Independent classes: the largest one of any class, so that it is never below the ECE.

        Ref: Guo et al. 2017, equation 5. It may stand on few pixels: see `bins`.
        """
        pixels, confidence, right = self._weighted
        if self.predicted is None:
            pixels, confidence, right = self.pixels, self.confidence, self.right
        gaps = np.abs(_share(right - confidence, pixels))
        return None if np.isnan(gaps).all() else float(np.nanmax(gaps))

    @property
    def class_ece(self) -> np.ndarray:
        """The ECE of the probability of each class, float64 (C,); NaN without evidence.

        Ref: the terms of the classwise ECE of Kull et al. 2019, arXiv:1910.12656, section 2.
        """
        return _expected(self.class_pixels, self.class_confidence, self.class_right)

    @property
    def bins(self) -> list[dict[str, Any]]:
        """The reliability diagram of the predicted class, one mapping a bin.

        "low", "high", "pixels", "confidence" (mean) and "accuracy"; both None in an empty bin.
        Pixels are weighted, and rounded. Independent classes: all of them together, a pixel
        counts once for each, and "accuracy" is how often the class is there.
        """
        return _rows(*self._weighted)

    def class_bins(self, c: int) -> list[dict[str, Any]]:
        """The same for the probability of class c; "accuracy" is how often a pixel carries it."""
        return _rows(self.class_pixels[c], self.class_confidence[c], self.class_right[c])

    @property
    def _weighted(self) -> np.ndarray:
        """Pixels, sum of confidence, and right ones of the predicted class, (3, BINS)."""
        if self.predicted is None:
            return np.stack([self.pixels.sum(0), self.confidence.sum(0), self.right.sum(0)])
        weights = np.nan_to_num(_share(self.predicted, self.pixels.sum(1)))
        return np.stack([weights @ part for part in (self.pixels, self.confidence, self.right)])

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """`ece`, `mce`, `bins`, and `class_ece` by name; None without evidence."""
        class_ece = {name: number_or_none(value) for name, value in zip(names, self.class_ece)}
        return {"ece": self.ece, "mce": self.mce, "class_ece": class_ece, "bins": self.bins}


def count_reliability(
    target: np.ndarray, probabilities: np.ndarray, *, exclusive: bool = True
) -> Reliability:
    """Counts for the reliability of a batch.

    Args:
        target: int8 (B, H, W, C) of the three states.
        probabilities: (B, H, W, C) in [0, 1]; the predicted class is the most probable one.
        exclusive: False: each channel is judged by itself, and no class is the predicted one.

    Raises:
        ValueError: if the shapes do not fit, the target is unsigned, or a probability is none.
    """
    require_target(target, probabilities, "metrics.count_reliability")
    require_probabilities(probabilities, "metrics.count_reliability")
    classes = target.shape[-1]
    best = probabilities.argmax(-1) if exclusive else None
    top, per_class = np.zeros((2, classes, 3, BINS))
    for b, c, judged in each_cell(target, exclusive):
        values = probabilities[b, ..., c][judged]
        labelled = (target[b, ..., c] == LABELLED)[judged]
        per_class[c] += _histograms(values, labelled)
        if exclusive:
            chosen = (best[b] == c)[judged]
            top[c] += _histograms(values[chosen], labelled[chosen])
    # Pixels are whole numbers, and sums of probabilities are not.
    arrays = (top, per_class) if exclusive else (per_class, per_class)
    parts = [part for array in arrays for part in np.moveaxis(array, 1, 0)]
    counted = [part if k % 3 == 1 else part.astype("int64") for k, part in enumerate(parts)]
    if not exclusive:
        return Reliability(*counted, None)
    return Reliability(*counted, np.bincount(best[judged_pixels(target)], minlength=classes))


def _histograms(values: np.ndarray, right: np.ndarray) -> np.ndarray:
    places = np.clip(np.ceil(values * BINS) - 1, 0, BINS - 1).astype("int64")
    return np.stack(
        [
            np.bincount(places, minlength=BINS),
            np.bincount(places, weights=values, minlength=BINS),
            np.bincount(places[right], minlength=BINS),
        ]
    )


def _expected(pixels: np.ndarray, confidence: np.ndarray, right: np.ndarray) -> np.ndarray:
    return _share(np.abs(right - confidence).sum(-1), pixels.sum(-1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where nothing is; weighted pixels may be less than one."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1), np.nan)


def _rows(pixels: np.ndarray, confidence: np.ndarray, right: np.ndarray) -> list[dict[str, Any]]:
    edges = np.linspace(0, 1, BINS + 1)
    mean, accuracy = _share(confidence, pixels), _share(right, pixels)
    return [
        {
            "low": float(edges[b]),
            "high": float(edges[b + 1]),
            "pixels": round(float(pixels[b])),
            "confidence": number_or_none(mean[b]),
            "accuracy": number_or_none(accuracy[b]),
        }
        for b in range(BINS)
    ]


def marginal_nll(
    log_probabilities: np.ndarray,
    candidates: np.ndarray,
    weights: np.ndarray,
    temperature: float = 1.0,
) -> float:
    """The negative log-likelihood of what is known about each pixel, at a temperature.

        NLL = - sum_n w_n log(sum over candidates c of q_nc) / sum_n w_n,
        q = softmax(log p / T)

    Independent classes: each known cell n, a pixel and a class, has the two outcomes there and not
    there, log p = (log p_n, log(1 - p_n)), of which one is the candidate. Then q_n1 is
    sigmoid(logit / T), and this is the binary cross-entropy over known cells.

    Args:
        log_probabilities: log p, (N, C); independent classes: (N, 2).
        candidates: bool, the same shape, the classes that pixel n may belong to.
        weights: w, (N,), above 0.
        temperature: T > 0.
    """
    scaled = log_probabilities / np.float32(temperature)
    scaled = scaled - scaled.max(1, keepdims=True)
    powers = np.exp(scaled)
    possible = np.where(candidates, powers, 0).sum(1)
    # A candidate so improbable that its power is 0 would cost infinitely much.
    lost = np.log(powers.sum(1)) - np.log(np.maximum(possible, np.finfo("float32").tiny))
    return float(np.average(lost, weights=weights))


def fit_temperature(
    log_probabilities: np.ndarray, candidates: np.ndarray, weights: np.ndarray
) -> float:
    """The temperature at which `marginal_nll` is lowest, within `TEMPERATURES`.

    Args:
        log_probabilities, candidates, weights: see `marginal_nll`.

    Raises:
        ValueError: if there is no pixel of which anything is known.

    Ref: Guo et al. 2017, arXiv:1706.04599, section 4.2. Differs: a pixel whose class is not
    settled counts with the sum of its candidates; with everything annotated it is the same.
    """
    told = ~candidates.all(1) & candidates.any(1)
    if not told.any():
        raise ValueError(
            "A temperature is fitted on pixels of which something is known. Received: none."
        )
    arrays = log_probabilities[told], candidates[told], np.asarray(weights)[told]
    limits = [float(np.log(limit)) for limit in TEMPERATURES]
    best = minimize_scalar(
        lambda x: marginal_nll(*arrays, float(np.exp(x))),
        bounds=limits,
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(best.x))

"""Cross-entropies with the set of classes that a pixel may belong to."""

from __future__ import annotations

import math
from typing import Any, Sequence

import keras
from keras import ops

from segkit.contract import candidates, is_number, judged_pixels
from segkit.losses.pixelwise import SmoothedLoss, set_terms


@keras.saving.register_keras_serializable("segkit")
class MarginalCrossEntropy(SmoothedLoss):
    """Cross-entropy with the set of classes that a pixel may belong to.

        loss[b] = - 1/N[b] sum_hw w [(1 - e + e |S|/C) log q + e/C sum_{c not in S} log p_c]
        q = sum_{c in S} p_c

    with p the softmax of the logits, S the candidates: the channels that are not ruled out, N the
    judged pixels of the image, e the label smoothing, and w the weight of the label (without one,
    under a coarse label: the mean weight of the candidates). Probabilities are summed, never
    logits. Background of an image in which class m was not annotated thus says "background or m".
    Smoothing gives each class that is ruled out e/C, and the candidates together the rest, so what
    happens among them stays out of the value. Nothing missing: equals `CrossEntropy` with the same
    smoothing. Range: from 0 up.

    Args:
        class_weights: w, one a class; None = 1 each.
        label_smoothing: e, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `label_smoothing` is not from 0 to 1.

    Ref: Shi et al. 2021, doi:10.1016/j.media.2021.101979; Fidon et al. 2021, arXiv:2107.03846.
    Differs from the code published with the former, which sums logits before the softmax.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        name: str = "marginal_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)

    def terms(self, target: Any, logits: Any) -> Any:
        possible, judged = candidates(target), judged_pixels(target)
        return set_terms(possible, logits, judged, self.label_smoothing)


@keras.saving.register_keras_serializable("segkit")
class FocalCrossEntropy(SmoothedLoss):
    """Marginal cross-entropy in which pixels that are nearly right count less.

        loss[b] = - 1/N[b] sum_hw w [(1 - e + e |S|/C) f(q) + e/C sum_{c not in S} f(p_c)]
        f(q) = (1 - q)^gamma log q,  q = sum_{c in S} p_c

    with p the softmax of the logits, S the candidates, N the judged pixels of the image, e the
    label smoothing, and w as in `MarginalCrossEntropy`. Nothing missing: the focal loss. gamma = 0:
    `MarginalCrossEntropy`. Range: from 0 up.

    Args:
        class_weights: w, one a class; None = 1 each. They play the part of alpha.
        gamma: from 0 up; at 2, a pixel with q = 0.9 counts a hundredth.
        label_smoothing: e, from 0 to 1.
        name, reduction, dtype: see `keras.losses.Loss`.

    Raises:
        ValueError: if `gamma` is negative or not finite, or `label_smoothing` not from 0 to 1.

    Ref: Lin et al. 2017, arXiv:1708.02002. Differs: q is the probability of all candidates, theirs
    that of the label; without missing annotations the two are the same.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gamma: float = 2.0,
        label_smoothing: float = 0.0,
        name: str = "focal_cross_entropy",
        **kwargs: Any,
    ):
        super().__init__(class_weights, label_smoothing, name=name, **kwargs)
        if not (is_number(gamma) and 0 <= gamma < math.inf):
            raise ValueError(f"FocalCrossEntropy needs a finite gamma >= 0. Received: {gamma!r}.")
        self.gamma = gamma

    def terms(self, target: Any, logits: Any) -> Any:
        possible, judged = candidates(target), judged_pixels(target)
        return set_terms(possible, logits, judged, self.label_smoothing, self._focal)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "gamma": self.gamma}

    def _focal(self, log_q: Any) -> Any:
        # Away from 0, where a power below 1 has no gradient; log q is 0 there anyway.
        wrong = ops.maximum(-ops.expm1(log_q), 1e-7)
        return -(wrong**self.gamma) * log_q

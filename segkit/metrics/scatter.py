"""How compact the classes are in a space of features."""

from __future__ import annotations

import numpy as np


def scatter_ratio(features: np.ndarray, labels: np.ndarray) -> float | None:
    """How far features lie from the mean of their class, over how far these means lie apart.

        m_c = mean over i in c of x_i,  m = mean over c of m_c
        within = mean over c of (mean over i in c of |x_i - m_c|^2)
        between = mean over c of |m_c - m|^2
        ratio = within / between

    over the classes that have a feature, which count alike, however many they have. Range: from 0
    (each class one point) up. Features that are scaled, shifted or rotated have the same ratio.

    Args:
        features: x, (N, F).
        labels: the class of each, ids (N,).

    Returns:
        None with fewer than two classes, or if the means are all the same.

    Ref: Fukunaga 1990, Introduction to Statistical Pattern Recognition, section 10.2, traces of
    the scatter matrices. Differs: classes count alike.
    """
    x = np.asarray(features, "float64")
    groups = [x[labels == c] for c in np.unique(labels)]
    if len(groups) < 2:
        return None
    means = np.stack([group.mean(axis=0) for group in groups])
    within = np.mean([np.square(g - m).sum(axis=1).mean() for g, m in zip(groups, means)])
    between = np.square(means - means.mean(axis=0)).sum(axis=1).mean()
    return float(within / between) if between > 0 else None

"""The features of pixels on a plane, coloured by class, for a light page and for a dark page."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
from matplotlib.figure import Figure

from segkit.labels import LabelSpace
from segkit.report.colors import readable
from segkit.report.plots import INK, Curve, data_uri, dress


def feature_plot(
    arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], labels: LabelSpace
) -> dict[str, Any] | None:
    """The picture of a sample of features, as `segkit.features.record` wrote it.

    Two features are shown as they are; of more, the two directions in which the sample varies
    most (PCA). Both axes have one scale, so that distances can be compared. Crosses mark the
    centres of a center loss, else the means of the classes.

    Args:
        arrays: features (N, F), labels (N,), and centers (C, F) if there are some.
        facts: the content of features.json.
        labels: class names and colours.

    Returns:
        "light" and "dark" (data URIs), "alt", "legend" (of the classes that are there),
        "projected" (whether it is a projection), "explained" (the share of the variance that is
        seen, or None), "centered" (whether the crosses are centres), "ratio", "channels", "split"
        and "pixels". None if there are fewer than two pixels.
    """
    features, classes = np.asarray(arrays["features"], "float64"), arrays["labels"]
    if len(features) < 2:
        return None
    there = [c for c in range(labels.num_classes) if (classes == c).any()]
    marks = np.full((labels.num_classes, features.shape[1]), np.nan)
    for c in there:
        marks[c] = features[classes == c].mean(axis=0)
    marks = np.asarray(arrays.get("centers", marks), "float64")
    flat, crosses, explained = _on_a_plane(features, marks)
    ratio = facts.get("scatter_ratio")
    said = "" if ratio is None else f" Scatter within classes over that between them: {ratio:.3g}."
    return {
        "light": _picture(flat, classes, crosses, labels, 0),
        "dark": _picture(flat, classes, crosses, labels, 1),
        "alt": f"{len(flat)} pixels of {len(there)} classes on a plane of features.{said}",
        "legend": [_entry(labels, c) for c in there],
        "projected": features.shape[1] > 2,
        "explained": explained,
        "centered": "centers" in arrays,
        "ratio": ratio,
        "channels": features.shape[1],
        "split": facts.get("split", "val"),
        "pixels": len(flat),
    }


def _on_a_plane(
    features: np.ndarray, marks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float | None]:
    """(N, F) and (C, F) -> (N, 2) and (C, 2), and the share of the variance that is seen."""
    if features.shape[1] <= 2:
        room = [(0, 0), (0, 2 - features.shape[1])]
        return np.pad(features, room), np.pad(marks, room), None
    from sklearn.decomposition import PCA  # takes a second to import

    plane = PCA(2, svd_solver="full").fit(features)
    known = np.isfinite(marks).all(axis=1)
    crosses = np.full((len(marks), 2), np.nan)
    crosses[known] = plane.transform(marks[known]) if known.any() else 0
    share = float(plane.explained_variance_ratio_.sum())
    return plane.transform(features), crosses, share if np.isfinite(share) else None


def _picture(
    flat: np.ndarray, classes: np.ndarray, crosses: np.ndarray, labels: LabelSpace, mode: int
) -> str:
    figure = Figure(figsize=(6.6, 4.8), layout="constrained", dpi=160)
    axes = figure.add_subplot()
    colors = [readable(color, bool(mode)) for color in labels.palette]
    # In an order of chance, so that the last class does not hide the others.
    order = np.random.default_rng([0]).permutation(len(flat))
    shown = [colors[c] for c in classes[order]]
    # Thousands of dots would be half a megabyte of paths; they are pixels inside the SVG.
    axes.scatter(*flat[order].T, s=7, c=shown, alpha=0.6, linewidths=0, rasterized=True)
    for color, cross in zip(colors, crosses):
        if np.isfinite(cross).all():
            axes.plot(*cross, "X", color=color, markersize=12, markeredgecolor=INK[mode])
    axes.set_aspect("equal", "datalim")
    dress(axes, mode)
    return data_uri(figure)


def _entry(labels: LabelSpace, c: int) -> Curve:
    color = labels.palette[c]
    return Curve(labels.names[c], "", (readable(color, False), readable(color, True)))

"""What was found, as text."""

from __future__ import annotations

from typing import Sequence

import numpy as np

from segkit import tables
from segkit.calibration.tuning import AUTO, Found
from segkit.metrics.calibration import TEMPERATURES
from segkit.metrics.thresholds import EVEN, class_scores, mean_score

FEW = 10  # images that show a class; a threshold that stands on fewer is loose
RELIABILITY = "reliability.png"
_WORSE = 0.005
_LISTED = 10  # classes in a sentence
_NOTHING = 1e-3  # of the negative log-likelihood: everything known is predicted, at nearly 1


def table(found: Found, names: Sequence[str], score: str) -> str:
    """One row a class: the evidence, the tuned threshold, and what it does.

    "images" show the class where it was looked for. The score without thresholds, with those
    tuned, and in each half of the images with those tuned on the other half. ECE without and with
    the temperature.
    """
    tuned = found.even if found.tuning is None else found.tuning.counts
    thresholds = found.thresholds if found.tuning is None else found.tuning.thresholds
    columns = [class_scores(counts, score) for counts in (found.even, tuned)]
    means = [mean_score(counts, score) for counts in (found.even, tuned)]
    heads = ["class", "images", "threshold", f"{score} at 0.5", "tuned"]
    if found.crossed is not None:
        columns.append(class_scores(found.crossed, score))
        means.append(mean_score(found.crossed, score))
        heads.append("other half")
    columns += [part.class_ece for part in found.reliability]
    means += [_number(part.ece) for part in found.reliability]
    rows = [
        [name, f"{found.curves.images[c]:,}", f"{thresholds[c]:.3f}"]
        + [_text(column[c]) for column in columns]
        for c, name in enumerate(names)
    ]
    before, after = found.nll
    title = (
        f"temperature {found.temperature:.3f}: negative log-likelihood {before:.4f} -> {after:.4f}"
    )
    heads += ["ECE", "tempered"]
    return tables.text(title, heads, rows, ["all", "", "", *map(_text, means)])


def notes(
    found: Found,
    names: Sequence[str],
    score: str,
    thresholds: str | bool,
    exclusive: bool = True,
) -> list[str]:
    """What to beware of; a sentence or two each."""
    said = []
    if not _inside(found.temperature) or found.nll[1] < _NOTHING:
        said.append(
            f"The temperature came out as {found.temperature:.3g}: these images are too few or "
            "too easy, or the model too bad, to say how sure it may be. temperature=false leaves "
            "it at 1."
        )
    before, after = (part.ece for part in found.reliability)
    what = "the predicted class" if exclusive else "the classes"
    if before is not None and after > before + _WORSE:
        said.append(
            f"The temperature makes what is known likelier ({found.nll[0]:.4f} -> "
            f"{found.nll[1]:.4f}), and {what} less calibrated (ECE {before:.4f} -> "
            f"{after:.4f}): one number does not suit all classes. See {RELIABILITY}."
        )
    if found.tuning is None:
        return said
    unseen = [name for c, name in enumerate(names) if not found.curves.images[c]]
    if unseen:
        said.append(
            f"No pixel of {', '.join(unseen)} in an image where it was looked for: it stays at 0.5."
        )
    moved = [c for c, t in enumerate(found.tuning.thresholds) if t != EVEN]
    loose = [c for c in moved if found.curves.images[c] < FEW]
    if loose:
        listed = ", ".join(f"{names[c]} ({found.curves.images[c]})" for c in loose)
        said.append(f"Thresholds that stand on few images may be chance: {listed}.")
    if exclusive or found.crossed is None:
        return said + _verdict(found, score, thresholds)
    return said + _verdicts(found, names, score, thresholds)


def _verdicts(found: Found, names: Sequence[str], score: str, thresholds: str | bool) -> list[str]:
    """The same of independent classes, each by itself."""
    gain = class_scores(found.crossed, score) - class_scores(found.even, score)
    lost = [c for c, t in enumerate(found.tuning.thresholds) if t != EVEN and not gain[c] > 0]
    if not lost:
        return []
    listed = ", ".join(names[c] for c in lost[:_LISTED])
    more = f" and {len(lost) - _LISTED} more" if len(lost) > _LISTED else ""
    ending = (
        "They stay at 0.5; thresholds=true would use those tuned."
        if thresholds == AUTO
        else "They are used, since thresholds=true."
    )
    return [
        "Thresholds tuned on one half of the images gain nothing on the other for "
        f"{listed}{more}. {ending}"
    ]


def _verdict(found: Found, score: str, thresholds: str | bool) -> list[str]:
    why = "With a single image (or group), there is nothing to test the thresholds on"
    if found.crossed is not None:
        before, other = (mean_score(part, score) for part in (found.even, found.crossed))
        if other > before:
            return []
        why = (
            f"Thresholds tuned on one half of the images gain nothing on the other: mean {score} "
            f"{before:.4f} at 0.5, {other:.4f} with them"
        )
    if thresholds == AUTO:
        return [f"{why}. So all stay at 0.5; thresholds=true would use those tuned."]
    return [f"{why}. They are used, since thresholds=true."]


def _inside(temperature: float) -> bool:
    low, high = TEMPERATURES
    return 1.02 * low < temperature < high / 1.02


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"

"""Synthetic scenes with exact masks, and the hiding of annotations.

`shapes` draws ellipses, rectangles and circles, `scenes` makes images of them, `overlapping`
of many classes that lie over each other, `graded` of shapes with grades, and `missing` hides
annotations while the truth is kept. Behind them stand `layouts` (what lies where), `distractors`
(shapes of no class), `appearance` (from shapes to an image) and `streams` (randomness that depends
on seed and index alone).
"""

from segkit.synthetic import graded, missing, overlapping, scenes, shapes
from segkit.synthetic.graded import Graded
from segkit.synthetic.missing import HiddenAnnotations, hide
from segkit.synthetic.overlapping import Overlapping
from segkit.synthetic.scenes import Scenes, splits

__all__ = [
    "Graded",
    "HiddenAnnotations",
    "Overlapping",
    "Scenes",
    "graded",
    "hide",
    "missing",
    "overlapping",
    "scenes",
    "shapes",
    "splits",
]

"""Synthetic scenes with exact masks, and the hiding of annotations.

`shapes` draws ellipses, rectangles and circles, `scenes` makes images of them, and `missing`
hides annotations while the truth is kept. Behind them stand `layouts` (what lies where),
`distractors` (shapes of no class), `appearance` (from shapes to an image) and `streams`
(randomness that depends on seed and index alone).
"""

from segkit.synthetic import missing, scenes, shapes
from segkit.synthetic.missing import HiddenAnnotations, hide
from segkit.synthetic.scenes import Scenes, splits

__all__ = ["HiddenAnnotations", "Scenes", "hide", "missing", "scenes", "shapes", "splits"]

"""From a model to what is asked of it: views, tiles that blend, probabilities, decisions."""

from segkit.inference.decisions import decide, tempered
from segkit.inference.tiling import Tiling, blended
from segkit.inference.views import VIEWS, compiled

__all__ = ["VIEWS", "Tiling", "blended", "compiled", "decide", "tempered"]

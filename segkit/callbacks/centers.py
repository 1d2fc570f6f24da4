"""The centres of the classes that belong to the model that is kept."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from segkit.callbacks.kept import BestModel


class KeptCenters(keras.callbacks.Callback):
    """Remembers the centres of a center loss as they were when the model was kept.

    They are no part of the model that is kept, and go on moving after it. It must come after the
    callback it follows. `centers` is float32 (C, F), or None as long as no model was kept.

    Args:
        kept: what keeps the model.
        layer: a `segkit.models.CenterLoss`.
    """

    passing = frozenset({"kept", "layer"})

    def __init__(self, kept: BestModel, layer: keras.layers.Layer):
        super().__init__()
        self.kept, self.layer = kept, layer
        self.centers: np.ndarray | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.kept.epoch == epoch:
            self.centers = np.array(keras.ops.convert_to_numpy(self.layer.centers))

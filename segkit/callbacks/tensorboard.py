"""What TensorBoard shows of a run."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, Iterator

import numpy as np
import tensorflow as tf
from keras import ops

from segkit.callbacks.graphs import graph_of
from segkit.callbacks.overlays import panels
from segkit.callbacks.writing import PER_CLASS, Writer
from segkit.contract import Sample, Source, whole_number

log = logging.getLogger(__name__)


class TensorBoard(Writer):
    """Writes event files for `tensorboard --logdir DIR`, once an epoch.

    The runs `train` and `validation` have the loss, the mean IoU, and `iou/CLASS` and
    `loss/CLASS` for each class, so that both lie in one chart; `train` also has the learning
    rate. Images stand beside what was annotated on them and what the model predicts. Steps are
    epochs, from 1, as in the log. A run that goes on appends.

    If the files cannot be written, that is said once, and training goes on without them.

    Args:
        log_dir: the folder.
        images: how many validation images are shown, spread over the split; 0 for none. They are
            those of the source that was handed to `bind`.
        images_every: epochs from one picture to the next; the first epoch has one, too.
        graph: whether the layers of the model are drawn.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(
        self, log_dir: str | Path, images: int = 4, images_every: int = 5, graph: bool = True
    ):
        super().__init__()
        self.folder, self.graph = Path(log_dir), graph
        self.images = whole_number("images", images)
        self.images_every = whole_number("images_every", images_every, least=1)
        self.drawn = self.failed = False
        self._source: Source | None = None
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def bind(self, source: Source) -> None:
        """Hands over the validation images, of which some are shown."""
        self._source = source

    def restored(self) -> None:
        """Tries again in a run that goes on."""
        self.failed = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.writes or self.failed:
            return
        try:
            self._write(epoch, logs or {})
        except (OSError, tf.errors.OpError) as error:
            self.failed = True
            log.warning("TensorBoard gets nothing from here on: %s (%s).", self.folder, error)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _write(self, epoch: int, logs: dict[str, Any]) -> None:
        step = epoch + 1
        for run, tag, value in self._scalars(logs):
            with self._writer(run).as_default():
                tf.summary.scalar(tag, value, step)
        if self._source is not None and self.images and epoch % self.images_every == 0:
            with self._writer("validation").as_default():
                for tag, picture in self._pictures(self._source):
                    tf.summary.image(tag, picture[None], step, max_outputs=1)
        graph = graph_of(self.model) if self.graph and not self.drawn else None
        if graph is not None:
            with self._writer("train").as_default():
                tf.summary.graph(graph)
        self.drawn = True
        for writer in self._writers.values():
            writer.flush()

    def _scalars(self, logs: dict[str, Any]) -> Iterator[tuple[str, str, float]]:
        rate = {"learning_rate": float(ops.convert_to_numpy(self.model.optimizer.learning_rate))}
        for name, value in {**rate, **logs}.items():
            # A class without evidence has no score; a loss that is NaN is news.
            if not math.isnan(value) or name.endswith("loss"):
                run = "validation" if name.startswith("val_") else "train"
                yield run, tag_of(name.removeprefix("val_")), float(value)

    def _pictures(self, source: Source) -> Iterator[tuple[str, np.ndarray]]:
        chosen = np.linspace(0, len(source) - 1, min(self.images, len(source))).astype(int)
        for number, index in enumerate(chosen.tolist(), start=1):
            sample = source[index]
            picture = panels(sample, self._predicted(sample), source.labels)
            yield f"images/{number} {sample.name}".strip(), picture

    def _predicted(self, sample: Sample) -> np.ndarray:
        image = sample.image
        image = image.astype("float32") / 255 if image.dtype == np.uint8 else image
        # Called, not `predict`: of several workers one does this, and must not wait for others.
        logits = self.model(image[None], training=False)
        return np.asarray(ops.convert_to_numpy(ops.cast(logits, "float32")))[0]

    def _writer(self, run: str) -> tf.summary.SummaryWriter:
        if run not in self._writers:
            self._writers[run] = tf.summary.create_file_writer(str(self.folder / run))
        return self._writers[run]


def tag_of(name: str) -> str:
    """`iou_liver` as `iou/liver`, so that the charts of the classes stand together."""
    for prefix in PER_CLASS:
        if name.startswith(f"{prefix}_"):
            return f"{prefix}/{name.removeprefix(f'{prefix}_')}"
    return name

"""Image after image: read, predicted, written."""

from __future__ import annotations

import contextlib
import csv
import errno
from collections import deque
from pathlib import Path
from typing import Any, ContextManager, Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segkit import parallel
from segkit.data import rasters
from segkit.labels import LabelSpace
from segkit.prediction import moments, origins
from segkit.prediction.outputs import Job, Summary
from segkit.predictor import Predictor, predicting
from segkit.tables import cell

FAILED = "failed.csv"


class Work:
    """One pass over the inputs: small images some at a time, large ones in strips.

    Args:
        model: what predicts.
        summary: takes up what came of each.
        bar: shows how far it is.
        folder: where to note what was made from which image, and what failed; None: nowhere.
    """

    def __init__(self, model: Predictor, summary: Summary, bar: Progress, folder: Path | None):
        self.model, self.summary, self.bar, self.folder = model, summary, bar, folder
        self.waiting: deque[tuple[Job, np.ndarray, Any]] = deque()

    def through(self, jobs: list[Job]) -> None:
        """Predicts and writes all of them; one that cannot be read is noted, and the others go on.

        Raises:
            OSError: if the disk is full.
        """
        task = self.bar.add_task("images", total=len(jobs))
        for probabilities in self.model.each(self._small(jobs)):
            job, image, raster = self.waiting.popleft()
            rows = slice(0, image.shape[0])
            with self._or_failed(job):
                parts, read = iter([(rows, probabilities)]), lambda *_: image
                self._write(job, parts, read, image.shape[:2], raster)
            self.bar.update(task, completed=self.summary.written + len(self.summary.failed))

    def _small(self, jobs: list[Job]) -> Iterator[np.ndarray]:
        for job, image, raster, error in parallel.ordered(self._loaded, jobs):
            if error is not None:
                self._failed(job, error)
            elif image is None:
                with self._or_failed(job):
                    self._large(job)
            else:
                self.waiting.append((job, image, raster))
                yield image

    def _loaded(self, job: Job) -> tuple[Job, np.ndarray | None, Any, Exception | None]:
        """The image of a job, None for one that is better read in parts; and what it came from."""
        try:
            with self._opened(job) as raster:
                if max(raster.shape) > predicting.WHOLE:
                    return job, None, None, None
                rows, columns = (slice(0, edge) for edge in raster.shape)
                return job, raster.read(rows, columns), raster, None
        except (ValueError, OSError, MemoryError) as error:
            return job, None, None, error

    def _large(self, job: Job) -> None:
        with self._opened(job) as raster:
            rows = self.bar.add_task(job.input.name, total=raster.shape[0])
            try:
                parts = self.model.stream(raster.read, raster.shape)
                shown = self._watched(parts, rows)
                self._write(job, shown, raster.read, raster.shape, raster)
            finally:
                self.bar.remove_task(rows)

    def _opened(self, job: Job) -> Any:
        first = self.model.runs[0]
        return rasters.open_raster(job.input.path, first.channels, first.value_range)

    def _watched(self, parts: Iterator, task: Any) -> Iterator:
        for rows, probabilities in parts:
            yield rows, probabilities
            self.bar.update(task, completed=rows.stop)

    def _write(
        self, job: Job, parts: Iterator, read: Any, shape: tuple[int, int], like: Any
    ) -> None:
        labels, paths = self.model.labels, job.paths
        with contextlib.ExitStack() as stack:
            ids = stack.enter_context(_masks(paths, shape, labels, like))
            order = stack.enter_context(moments.writing(paths, shape, labels, like))
            planes = overlay = None
            if "probabilities" in paths:
                writer = rasters.write_planes(paths["probabilities"], shape, labels, like=like)
                planes = stack.enter_context(writer)
            if "overlays" in paths:
                overlay = stack.enter_context(
                    rasters.write_overlay(paths["overlays"], shape, labels)
                )
            for rows, probabilities in parts:
                decided = self.model.decide(probabilities)
                ids.write(rows, decided)
                order.write(rows, probabilities)
                if planes is not None:
                    planes.write(rows, probabilities)
                if overlay is not None:
                    overlay.write(rows, read(rows, slice(0, shape[1])), decided)
        if self.folder is not None:
            origins.add(self.folder, job)
        self.summary.written += 1

    @contextlib.contextmanager
    def _or_failed(self, job: Job) -> Iterator[None]:
        try:
            yield
        except (ValueError, OSError, MemoryError) as error:
            self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise error  # so will it be for all that follow
        words = " ".join(str(error).split()) or type(error).__name__
        words = words.replace("data.value_range", "value_range")  # as it is called here
        self.summary.failed[str(job.input.path)] = words
        if self.folder is not None:
            path = self.folder / FAILED
            new = not path.exists()
            with open(path, "a", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([["image", "error"]] * new + [[cell(job.input.path), cell(words)]])


def _masks(
    paths: Mapping[str, Path], shape: tuple[int, int], labels: LabelSpace, like: Any
) -> ContextManager[Any]:
    """What takes the decisions."""
    if "class_files" in paths:
        return rasters.write_class_files(paths["class_files"], shape, labels)
    if labels.exclusive:
        return rasters.write_ids(paths["masks"], shape, labels, like=like)
    return rasters.write_planes(paths["masks"], shape, labels, "uint8", like)


def bar() -> Progress:
    """Shows on a terminal how many images are done, and how many rows of a large one."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn()
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

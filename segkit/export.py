"""What `segkit export` does: the model of a run as files that others run without segkit."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Sequence

import numpy as np
import tensorflow as tf
from omegaconf import DictConfig, OmegaConf
from scipy.special import expit, softmax

from segkit import formats, models, runs, sources, tables
from segkit.contract import is_number, whole_number
from segkit.data.fitting import height_and_width
from segkit.explaining import NotAll
from segkit.formats import describing, parity, writing
from segkit.formats.probabilities import Probabilities
from segkit.formats.writing import Exported, Subject
from segkit.runs import Decisions, Run

log = logging.getLogger(__name__)

TOLERANCE = 1e-5  # in probability
NOISE = "noise"
_NOT_HERE = (".pb", ".keras", ".h5", ".pt", ".pth", ".ort", ".bin", ".json", ".zip")


def run(config: DictConfig) -> dict[str, Exported]:
    """Does what `segkit export` does, and returns {format: what was written}.

    Args:
        config: composed from `conf/export.yaml`.

    Raises:
        ValueError, OSError: naming what is wrong with the run or an argument.
        NotAll: if some of several formats could not be had; the others are there.
    """
    options = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    for key in ("overwrite", "decisions"):
        if not isinstance(options[key], bool):
            raise ValueError(f"{key} must be true or false. Received: {options[key]!r}.")
    return export(**options)


def export(
    run: str | os.PathLike,
    format: str | Sequence[str] = "onnx",
    output: str | os.PathLike | None = None,
    *,
    overwrite: bool = False,
    size: int | Sequence[int] | None = None,
    batch: int | None = None,
    decisions: bool = True,
    images: str = "val",
    tolerance: float = TOLERANCE,
) -> dict[str, Exported]:
    """Writes the model of a run in other formats, each with a JSON and a script beside it.

        probabilities = softmax(logits(image) / T)    independent classes: sigmoid

    Images are float32 in [0, 1], (B, H, W, K), probabilities float32, (B, H, W, C), and all is
    computed in float32 whatever the precision of the run. Batch normalisations are folded; the
    normalisation of the images is inside. T is the temperature of `segkit calibrate`, or 1.

    Each file is run by the runtime of its format, at two sizes with two numbers of images, and
    compared with Keras. It is kept if no probability differs by more than `tolerance`.

    Args:
        run: a run folder.
        format: one of `segkit.formats.FORMATS`, a list of them, or "all".
        output: a folder, or, for one format that is no SavedModel, the file; None: the folder
            export/ of the run.
        overwrite: whether what is there already is replaced.
        size: (height, width) that the file is to take alone; None: any.
        batch: the number of images that the file is to take alone; None: any.
        decisions: whether temperature and thresholds of `segkit calibrate` are used.
        images: the split of the run's data that is compared on. "noise", or where the data cannot
            be opened: random images.
        tolerance: above 0.

    Returns:
        {format: what was written}.

    Raises:
        ValueError: if an argument is wrong, a package is not installed, the format cannot express
            the model, or its probabilities differ too much.
        FileExistsError: if there is something already. OSError: if it cannot be written.
        NotAll: if some of several formats could not be had; the others are there.
    """
    names = _names(format)
    if not isinstance(run, (str, os.PathLike)):
        raise ValueError(f"One run is exported at a time. Received: {run!r}.")
    found = runs.read(run)
    size, batch = _fixed(size, batch)
    if not is_number(tolerance) or not tolerance > 0:
        raise ValueError(f"tolerance must be a number above 0. Received: {tolerance!r}.")
    targets = {name: _target(name, output, found, len(names) == 1) for name in names}
    for name, path in targets.items():
        formats.named(name)  # its packages, before anything is computed
        _require_free(name, path, overwrite)
    done, failed = {}, {}
    used = found.decisions if decisions else None
    with tf.device("CPU:0"):  # GPUs round to ten bits before they multiply
        subject = _subject(found, size, batch, used, images, tolerance)
        for name, path in targets.items():
            try:
                about = describing.about(found, name, subject.module.shape, used)
                done[name] = writing.write(name, path, subject, about)
            except (ValueError, OSError) as error:
                if len(names) == 1:
                    raise
                log.error("%s: %s", name, error)
                failed[name] = error
    if done:
        log.info(_table(done, subject, "png" if found.labels.exclusive else "npy"))
    if failed and not done:
        raise ValueError(f"No format could be had: {'; '.join(map(str, failed.values()))}")
    if failed:
        raise NotAll(f"{len(failed)} of {len(names)} formats failed: {', '.join(failed)}.")
    return done


def _names(format: str | Sequence[str]) -> list[str]:
    given = [format] if isinstance(format, str) else list(format)
    names = list(formats.FORMATS) if given == ["all"] else list(dict.fromkeys(given))
    for name in names or [None]:
        if name not in formats.FORMATS:
            raise ValueError(
                f"format must be one of {', '.join(formats.FORMATS)}, a list of them, or all. "
                f"Received: {name!r}."
            )
    return names


def _fixed(
    size: int | Sequence[int] | None, batch: int | None
) -> tuple[tuple[int, int] | None, int | None]:
    if batch is not None:
        whole_number("batch", batch, 1)
    return height_and_width(size if size is None or isinstance(size, int) else list(size)), batch


def _target(name: str, output: str | os.PathLike | None, run: Run, alone: bool) -> Path:
    """The file, or the folder of a SavedModel, to write."""
    suffix = formats.SUFFIXES[name]
    path = run.folder / "export" if output is None else Path(output)
    if suffix and path.suffix == suffix and alone:
        return path
    if path.suffix in (*filter(None, formats.SUFFIXES.values()), *_NOT_HERE):
        wanted = f"FILE{suffix} or a folder" if suffix and alone else "a folder"
        raise ValueError(f"output must be {wanted} here. Received: {path}.")
    return path / (f"{writing.NAME}{suffix}" if suffix else name)


def _require_free(name: str, path: Path, overwrite: bool) -> None:
    files, about, script = writing.beside(name, path)
    there = [file for file in (*files, about, script) if (path.parent / file).exists()]
    if there and not overwrite:
        raise FileExistsError(
            f"{path.parent} holds {', '.join(there)} already. overwrite=true replaces "
            f"{'it' if len(there) == 1 else 'them'}; or choose another place with output=DIR."
        )


def _subject(
    run: Run,
    size: tuple[int, int] | None,
    batch: int | None,
    decisions: Decisions | None,
    images: str,
    tolerance: float,
) -> Subject:
    model = models.fold(models.recast(runs.load_model(run), "float32"))
    temperature = decisions.temperature if decisions else 1.0

    def probabilities(batch: np.ndarray) -> np.ndarray:
        scaled = np.asarray(model(batch, training=False), "float64") / temperature
        return softmax(scaled, -1) if run.labels.exclusive else expit(scaled)

    pictures = _pictures(run, images)
    whose = f"images of the split {images}" if pictures else "random images"
    batches = parity.batches(pictures or parity.noise(run.channels), size, batch)
    module = Probabilities(model, temperature, size, batch, run.labels.exclusive)
    return Subject(module, probabilities, batches, whose, tolerance)


def _pictures(run: Run, split: str) -> list[np.ndarray]:
    """Two images of a split; none if they are not to be had."""
    if split == NOISE:
        return []
    try:
        source = sources.open_splits(OmegaConf.create(run.config.get("data") or {}))[split]
        pictures = [source[index].image for index in range(min(2, len(source)))]
    except (ValueError, OSError, KeyError) as error:
        said = f"there is no split {split}" if isinstance(error, KeyError) else error
        log.warning("The files are compared on random images: %s", said)
        return []
    return [image for image in pictures if image.shape[-1] == run.channels]


def _table(done: dict[str, Exported], subject: Subject, ending: str) -> str:
    rows = [
        [name, str(one.path), f"{_bytes(name, one.path) / 2**20:.1f} MiB", f"{one.difference:.1e}"]
        for name, one in done.items()
    ]
    shapes = ", ".join("x".join(map(str, batch.shape)) for batch in subject.batches)
    head = f"largest difference in probability from Keras, over {subject.images}, {shapes}"
    scripts = [f"run it without segkit: {one.script} IMAGE MASK.{ending}" for one in done.values()]
    table = tables.text("exported", ["format", "file", "size", "difference"], rows)
    return "\n".join([table, head, *scripts])


def _bytes(name: str, path: Path) -> int:
    parts = [path.parent / file for file in writing.beside(name, path)[0]]
    inside = [inner for part in parts for inner in (part.rglob("*") if part.is_dir() else [part])]
    return sum(file.stat().st_size for file in inside if file.is_file())

"""What `segkit evaluate` does: scores a trained model on a split, and shows where it errs."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from segkit import predictor, run_data, runs, sources
from segkit.contract import Source, is_number, whole_number
from segkit.evaluation import files, text
from segkit.evaluation.image_scores import Judge, Judged, Tally, Worst
from segkit.evaluation.resampling import resample
from segkit.grouping import origins_of, repeated_groups, units
from segkit.labels import LabelSpace
from segkit.metrics.intervals import Intervals
from segkit.predictor import Predictor
from segkit.report import evaluation_page
from segkit.run_data import RunData

log = logging.getLogger(__name__)

MODEL_KEYS = ("tta", "tile", "overlap", "batch_size", "precision", "decisions")
OPTIONS = ("tolerance", "bootstrap", "level", "groups", "worst", "seed")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    labels: the classes.
    names: of the images.
    groups, origins: patient (or what else belongs together) and data set of each; "" for none.
    known: scores on known cells.
    truth: scores against the full truth, over the images that have one; None if none has.
    intervals: of both, None where there are none.
    unit: what was resampled for them: image, group or source.
    units: how many of these there are.
    worst: (mean IoU, image) of the worst images, the worst first.
    ordered_intervals: of the scores of ordered classes, likewise.
    """

    labels: LabelSpace
    names: list[str]
    groups: list[str]
    origins: list[str]
    known: Tally
    truth: Tally | None
    intervals: tuple[Intervals | None, Intervals | None]
    unit: str
    units: int
    worst: list[tuple[float, Judged]]
    ordered_intervals: tuple[dict[str, Any], ...] = ({}, {})

    def to_dict(self, split: str) -> dict[str, Any]:
        """The blocks of metrics.json: SPLIT, and SPLIT/truth where the truth is known."""
        blocks = {}
        tallies = {split: self.known, f"{split}/truth": self.truth}
        pairs = zip(tallies.items(), self.intervals, self.ordered_intervals)
        for (name, tally), intervals, of_order in pairs:
            if tally is None:
                continue
            blocks[name] = files.block(tally, intervals, self.labels)
            if self.labels.values is not None:
                blocks[name]["ordered"] |= of_order
            for key, owners in (("groups", self.groups), ("sources", self.origins)):
                blocks[name][key] = files.parts(tally, owners, self.labels)
        return blocks


def run(config: DictConfig) -> dict[str, Any]:
    """Does what `segkit evaluate` does: a table on the terminal, files and a page in `output`.

    Args:
        config: composed from `conf/evaluate.yaml`.

    Returns:
        What metrics.json holds.

    Raises:
        ValueError, OSError: naming what is wrong with the run, the data or the config.
    """
    paths = list(config.run) if OmegaConf.is_list(config.run) else [config.run]
    options = {key: config[key] for key in OPTIONS}
    _check(config)
    model = predictor.load(paths, **{key: config[key] for key in MODEL_KEYS})
    data = run_data.open_data(model.runs[0], config.get("data"), config.split == run_data.ALL)
    split, source = run_data.choose(data, config.split)
    run_data.require_classes(model.runs[0], source.labels)
    pixel_size = run_data.pixel_pair("pixel_size", _plain(config.pixel_size)) or data.pixel_size
    units(config.groups, repeated_groups(source), origins_of(source))  # or it is refused, now
    folder = sources.make_folder(_folder(config.output, model, data, split))
    log.info("%s, %s: %d images", data.name, split, len(source))
    if data.own and split in ("train", run_data.ALL):
        log.warning("The model was trained on images of this split, so its scores flatter it.")
    if pixel_size is not None and config.unit == "px":
        log.warning("pixel_size is given, and unit=px: say what it is in, such as unit=mm.")
    found = evaluate(model, source, pixel_size=pixel_size or (1.0, 1.0), **options)
    blocks = found.to_dict(split)
    blocks[split]["settings"] = _settings(config, found, model, data, pixel_size)
    page = _write(folder, found, blocks, split)
    log.info(text.text(blocks, split))
    log.info("scores: %s\npage: %s", folder / files.METRICS, page)
    return blocks


def evaluate(
    model: Predictor,
    source: Source,
    *,
    tolerance: float = 2.0,
    pixel_size: tuple[float, float] = (1.0, 1.0),
    bootstrap: int = 1000,
    level: float = 0.95,
    groups: str = "auto",
    worst: int = 24,
    seed: int = 0,
) -> Evaluation:
    """Predicts every image of a source once and scores it; no probability is kept.

    Args:
        model: of `segkit.load`.
        source: the images, with the classes of the model.
        tolerance: of surface Dice, in the unit of `pixel_size`.
        pixel_size: (height, width) of a pixel.
        bootstrap: samples behind each interval; 0: no intervals.
        level: of the intervals, inside (0, 1).
        groups: what is drawn as a whole: none: images; group; source: data sets that were joined;
            auto: groups if one of them has two images, else images.
        worst: how many images to keep.
        seed: of the bootstrap.

    Raises:
        ValueError: if there is no image, the classes are others or of another kind, or an argument
            is out of range.
    """
    if not len(source):
        raise ValueError("There is no image to evaluate on. Received: an empty split.")
    run_data.require_classes(model.runs[0], source.labels)
    whole_number("bootstrap", bootstrap)
    known, truth = Tally(), Tally()
    kept, names = Worst(whole_number("worst", worst)), []
    owners = repeated_groups(source)
    unit, owner = units(groups, owners, origins_of(source))
    for judged in Judge(model, source, tolerance, pixel_size).judged():
        names.append(judged.sample.name or f"image {judged.index}")
        known.add(judged.index, judged.known)
        if judged.truth is not None:
            truth.add(judged.index, judged.truth)
        kept.add(judged)
    tallies = known, truth if truth.indices else None
    options = {"n": bootstrap, "level": level, "seed": seed}
    intervals, of_order = zip(*(resample(tally, owner, options) for tally in tallies))
    return Evaluation(
        source.labels,
        names,
        owners,
        origins_of(source),
        *tallies,
        intervals,
        unit,
        len(set(owner)),
        kept.ranked(),
        of_order,
    )


def _check(config: DictConfig) -> None:
    """Refuses what could only go wrong after the images have been predicted."""
    for key, least in (("batch_size", 1), ("bootstrap", 0), ("worst", 0), ("seed", 0)):
        whole_number(key, config[key], least)
    if not is_number(config.level) or not 0 < config.level < 1:
        raise ValueError(f"level must be a number between 0 and 1. Received: {config.level!r}.")
    if not is_number(config.tolerance) or not 0 <= config.tolerance < math.inf:
        raise ValueError(f"tolerance must be a number from 0 on. Received: {config.tolerance!r}.")
    if not isinstance(config.decisions, bool):
        raise ValueError(f"decisions must be true or false. Received: {config.decisions!r}.")


def _folder(output: str | None, model: Predictor, data: RunData, split: str) -> Path:
    """Where to write.

    Raises:
        ValueError: if that is the folder of a run, whose scores are its own.
    """
    if output is None:
        parts = [split] if data.own else [data.name, split]
        parts += [f"{len(model.runs)}_runs"] * (len(model.runs) > 1)
        return model.runs[0].folder / "evaluation" / "_".join(parts)
    folder = Path(output)
    if (folder / runs.MODEL).exists():
        raise ValueError(
            f"{folder} is the folder of a run, whose metrics.json would be lost. Leave output out: "
            f"the scores then go to {folder / 'evaluation' / split}."
        )
    return folder


def _settings(
    config: DictConfig, found: Evaluation, model: Predictor, data: RunData, pixel_size: Any
) -> dict[str, Any]:
    """What the scores were made with, for the page and whoever reads metrics.json."""
    decisions = model.decisions
    thresholds = {} if decisions is None else dict(zip(found.labels.names, decisions.thresholds))
    tuned = decisions and {
        "temperature": decisions.temperature if len(model.runs) == 1 else None,  # of each its own
        "thresholds": thresholds,
        "score": decisions.score,
    }
    return {
        "runs": [str(run.folder) for run in model.runs],
        "data": data.name,
        "own": data.own,
        **{key: config[key] for key in (*MODEL_KEYS[:-1], *OPTIONS, "unit")},
        "decisions": tuned,
        "exclusive": found.labels.exclusive,
        "pixel_size": list(pixel_size or (1.0, 1.0)),
        "unit_of_intervals": found.unit,
        "units": found.units,
    }


def _write(folder: Path, found: Evaluation, blocks: dict[str, Any], split: str) -> Path:
    """Writes files and page; returns the path of the page."""
    columns = {"name": found.names, "group": found.groups, "source": found.origins}
    images = folder / files.IMAGES
    (folder / evaluation_page.PAGE).unlink(missing_ok=True)  # it would be about other scores
    files.write_json(folder / files.METRICS, blocks)
    files.write_images(images, found.known, found.truth, columns, found.labels)
    confusion = found.known.counts.confusion
    files.write_confusion(folder / files.CONFUSION, confusion, found.labels)
    files.write_worst(folder / files.WORST, found.worst, found.labels, split)
    return evaluation_page.write(folder)


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node

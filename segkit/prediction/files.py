"""Prediction: files of any size and number -> masks, probabilities and overlays beside them."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Sequence

from omegaconf import DictConfig, OmegaConf

from segkit import predictor, run_folders, runs, sources
from segkit.data import rasters
from segkit.data.inputs import Input, find_inputs
from segkit.explaining import NotAll
from segkit.labels import LabelSpace
from segkit.prediction import moments, origins
from segkit.prediction.outputs import Job, Outputs, Summary, require_apart
from segkit.prediction.work import FAILED, Work, bar

log = logging.getLogger(__name__)

RECORD, CLASSES = "predictions.json", "classes.json"
_SHOWN = 10  # damaged files that the last message names
_FREE = ("batch_size",)  # options that say nothing about what comes out


def run(config: DictConfig) -> Summary:
    """Does what `segkit predict` does.

    Args:
        config: composed from `conf/predict.yaml`.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong with a run, an argument or the inputs.
        NotAll: naming the files that could not be predicted; all others are.
    """
    given = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    paths = given.pop("run")
    keys = ("tta", "tile", "overlap", "batch_size", "precision", "size", "value_range", "decisions")
    made = Outputs(**{field.name: given[field.name] for field in fields(Outputs)})
    options = {key: given[key] for key in keys}
    found = predict(
        paths, given["input"], given["output"], made, overwrite=given["overwrite"], **options
    )
    done = f"{found.written:,} predicted"
    there = f", {found.skipped:,} were there already" if found.skipped else ""
    log.info("%s%s: %s", done, there, given["output"])
    if found.failed:
        raise NotAll(_failures(found.failed, Path(given["output"])))
    return found


def predict(
    run: str | os.PathLike | Sequence[str | os.PathLike],
    input: str | os.PathLike | Sequence[str | os.PathLike],
    output: str | os.PathLike,
    outputs: Outputs = Outputs(),
    *,
    overwrite: bool = False,
    **options: Any,
) -> Summary:
    """Predicts files and writes what comes out; what is there already is left alone.

    Args:
        run: a run folder, or several, whose mean probability counts.
        input: a file, a folder, a pattern, a URL, or several of them.
        output: the folder to write, or the file of the mask if there is one input.
        outputs: what to write.
        overwrite: whether to write again what is there.
        options: of `segkit.predictor.load`.

    Returns:
        what came of it. A file that cannot be read is told in `failed`, and the others go on.

    Raises:
        FileNotFoundError, ValueError: naming what is wrong with a run, an argument or the inputs;
            or if the folder holds predictions that were made otherwise.
        OSError: if the disk is full; what is written is whole.
    """
    folder = Path(output)
    todo = [entry for entry in find_inputs(input) if not _inside(entry, folder)]
    if not todo:
        raise FileNotFoundError(f"There is nothing to predict but what lies in {folder} itself.")
    paths = [run] if isinstance(run, (str, os.PathLike)) else list(run)
    if folder.suffix in rasters.OVERLAY_SUFFIXES and folder.suffix not in rasters.ID_SUFFIXES:
        raise ValueError(f"Masks are {', '.join(rasters.ID_SUFFIXES)}. Received: output={folder}.")
    labels = runs.read(paths[0], decisions=False).labels
    moments.require_values(outputs, labels)
    if folder.suffix in rasters.ID_SUFFIXES and not folder.is_dir():
        _require_room(folder, labels)
        jobs = _one_file(todo, folder, outputs, overwrite)
        return _predict(paths, jobs, None, overwrite, options)
    jobs = [Job(entry, outputs.paths(folder, entry.name, labels)) for entry in todo]
    require_apart(jobs)
    sources.make_folder(folder)
    with run_folders.claimed(folder):
        settings = _settings(paths, options)
        differing = _differing(folder / RECORD, settings)
        if not overwrite:
            origins.require_same(folder, jobs)
        model = None
        if differing:
            _require_all_anew(folder, jobs, differing, overwrite)
            model = predictor.load(paths, **options)  # what is wrong is told before files are lost
            _take_away(jobs)
        (folder / RECORD).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        labels.to_json(folder / CLASSES)
        return _predict(paths, jobs, folder, overwrite, options, model)


def _predict(
    paths: Sequence[Any],
    jobs: list[Job],
    folder: Path | None,
    overwrite: bool,
    options: dict,
    model: predictor.Predictor | None = None,
) -> Summary:
    left = [job for job in jobs if overwrite or not all(p.exists() for p in job.paths.values())]
    summary = Summary(skipped=len(jobs) - len(left))
    if folder is not None:
        (folder / FAILED).unlink(missing_ok=True)
    if left:
        with bar() as shown:
            model = model or predictor.load(paths, **options)
            if model.resizes:
                log.info(
                    "images are seen at %s, as in training; size=null takes them as they are",
                    model.sizes(),
                )
            Work(model, summary, shown, folder).through(left)
    return summary


def _require_room(path: Path, labels: LabelSpace) -> None:
    if not labels.exclusive and path.suffix not in rasters.PLANE_SUFFIXES:
        raise ValueError(
            f"The classes of the run may overlap, and one PNG holds one class a pixel. Received: "
            f"output={path}. Name a {' or '.join(rasters.PLANE_SUFFIXES)} file, or a folder."
        )


def _one_file(todo: list[Input], path: Path, outputs: Outputs, overwrite: bool) -> list[Job]:
    if len(todo) > 1:
        raise ValueError(
            f"output={path} names one file, and there are {len(todo)} inputs. Name a folder."
        )
    beside = {
        what: path.with_name(f"{path.stem}_{what}.{kind}")
        for what, kind in asdict(outputs).items()
        if kind and what != "masks"
    }
    outputs_of = [path, *beside.values()]
    if any(_is_input(todo[0], one) for one in outputs_of):
        raise ValueError(f"{todo[0].path} is the image itself. Name another output.")
    if path.exists() and not overwrite:  # nobody knows of which image and model it is
        raise FileExistsError(f"{path} is there already. Name another, or overwrite=true.")
    return [Job(todo[0], {"masks": path, **beside})]


def _is_input(entry: Input, path: Path) -> bool:
    return isinstance(entry.path, Path) and path.exists() and entry.path.samefile(path)


def _inside(entry: Input, folder: Path) -> bool:
    path = entry.path
    return isinstance(path, Path) and folder.resolve() in path.resolve().parents


def _settings(paths: Sequence[Any], options: dict[str, Any]) -> dict[str, Any]:
    """All that decides what comes out, whether it was given or is the default."""
    there = inspect.signature(predictor.load).parameters.values()
    defaults = {each.name: each.default for each in there if each.kind is each.KEYWORD_ONLY}
    given = {key: value for key, value in {**defaults, **options}.items() if key not in _FREE}
    return {"runs": [_identity(path) for path in paths], **_plain(given)}


def _identity(path: str | os.PathLike) -> dict[str, Any]:
    """What tells one run from another, wherever its folder lies."""
    found = runs.read(path)
    digest = hashlib.sha256(found.model_path.read_bytes()).hexdigest()
    decisions = None if found.decisions is None else asdict(found.decisions)
    return {"model": digest, "decisions": _plain(decisions)}


def _differing(path: Path, settings: dict[str, Any]) -> list[str]:
    """The settings that are others than those of the predictions that are there."""
    if not path.exists():
        return []
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        there = {}
    there = there if isinstance(there, dict) else {}
    return [key for key in settings if there.get(key) != settings[key]]


def _require_all_anew(folder: Path, jobs: list[Job], differing: list[str], overwrite: bool) -> None:
    """Refuses to mix predictions of two models or two settings in one folder."""
    found = f"{folder} holds predictions that were made with another {', '.join(differing)}"
    if not overwrite:
        raise ValueError(
            f"{found}. Choose another folder with output=DIR, or overwrite=true to make all of "
            "them anew."
        )
    anew = {path for job in jobs for path in job.paths.values()}
    there = [path for what in asdict(Outputs()) for path in sorted((folder / what).rglob("*"))]
    others = [
        path.relative_to(folder)
        for path in there
        if path.is_file()
        and anew.isdisjoint((path, *path.parents))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if others:
        raise ValueError(
            f"{found}, and {len(others):,} of them would not be made anew, such as {others[0]}. "
            "Choose another folder with output=DIR, or delete those."
        )


def _take_away(jobs: list[Job]) -> None:
    """So that nothing that was made otherwise is left, wherever this ends."""
    for path in (path for job in jobs for path in job.paths.values()):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples are lists."""
    return json.loads(json.dumps(value))


def _failures(failed: dict[str, str], folder: Path) -> str:
    lines = [f"{len(failed):,} of the files could not be predicted:"]
    lines += [f"  {path}: {words}" for path, words in list(failed.items())[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN:,} more; all are in {folder / FAILED}")
    return "\n".join(lines)

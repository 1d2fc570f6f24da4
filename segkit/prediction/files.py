"""Prediction: files of any size and number -> masks, probabilities and overlays beside them."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Sequence

from omegaconf import DictConfig, OmegaConf

from segkit import predictor, run_folders, runs, sources
from segkit.data import rasters
from segkit.data.inputs import Input, find_inputs
from segkit.explaining import NotAll
from segkit.prediction.outputs import Job, Outputs, Summary
from segkit.prediction.work import Work, bar

log = logging.getLogger(__name__)

RECORD, FAILED, CLASSES = "predictions.json", "failed.csv", "classes.json"
_SHOWN = 10  # damaged files that the last message names


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
    keys = ("tta", "tile", "overlap", "batch_size", "precision", "size", "decisions")
    made = Outputs(*(given[key] for key in ("masks", "probabilities", "overlays")))
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
    if folder.suffix in rasters.ID_SUFFIXES and not folder.is_dir():
        jobs = _one_file(todo, folder, outputs)
        return _predict(paths, jobs, None, overwrite, options)
    jobs = [Job(entry, outputs.paths(folder, entry.name)) for entry in todo]
    sources.make_folder(folder)
    with run_folders.claimed(folder):
        settings = {"runs": [_identity(path) for path in paths], **_plain(options)}
        _require_same(folder / RECORD, settings, overwrite)
        (folder / RECORD).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        runs.read(paths[0]).labels.to_json(folder / CLASSES)
        return _predict(paths, jobs, folder / FAILED, overwrite, options)


def _predict(
    paths: Sequence[Any], jobs: list[Job], record: Path | None, overwrite: bool, options: dict
) -> Summary:
    left = [job for job in jobs if overwrite or not all(p.exists() for p in job.paths.values())]
    summary = Summary(skipped=len(jobs) - len(left))
    if record is not None:
        record.unlink(missing_ok=True)
    if left:
        with bar() as shown:
            Work(predictor.load(paths, **options), summary, shown, record).through(left)
    return summary


def _one_file(todo: list[Input], path: Path, outputs: Outputs) -> list[Job]:
    if len(todo) > 1:
        raise ValueError(
            f"output={path} names one file, and there are {len(todo)} inputs. Name a folder."
        )
    beside = {
        what: path.with_name(f"{path.stem}_{what}.{kind}")
        for what, kind in asdict(outputs).items()
        if kind and what != "masks"
    }
    return [Job(todo[0], {"masks": path, **beside})]


def _inside(entry: Input, folder: Path) -> bool:
    path = entry.path
    return isinstance(path, Path) and folder.resolve() in path.resolve().parents


def _identity(path: str | os.PathLike) -> dict[str, Any]:
    """What tells one run from another, wherever its folder lies."""
    found = runs.read(path)
    digest = hashlib.sha256(found.model_path.read_bytes()).hexdigest()
    decisions = None if found.decisions is None else asdict(found.decisions)
    return {"model": digest, "decisions": _plain(decisions)}


def _require_same(path: Path, settings: dict[str, Any], overwrite: bool) -> None:
    """Refuses to mix predictions of two models or two settings in one folder."""
    if overwrite or not path.exists():
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        there = {}
    differing = [key for key in settings if there.get(key) != settings[key]]
    if differing:
        raise ValueError(
            f"{path.parent} holds predictions that were made with another {', '.join(differing)}. "
            "Choose another folder with output=DIR, or overwrite=true to make all of them anew."
        )


def _plain(value: Any) -> Any:
    """As it comes back from JSON: tuples are lists."""
    return json.loads(json.dumps(value))


def _failures(failed: dict[str, str], folder: Path) -> str:
    lines = [f"{len(failed):,} of the files could not be predicted:"]
    lines += [f"  {path}: {words}" for path, words in list(failed.items())[:_SHOWN]]
    if len(failed) > _SHOWN:
        lines.append(f"  and {len(failed) - _SHOWN:,} more; all are in {folder / FAILED}")
    return "\n".join(lines)

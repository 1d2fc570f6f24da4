"""One call: from a run and data to a completed data set, or to a report on what it would be."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path, PurePath
from typing import Any, Mapping, NamedTuple

from omegaconf import DictConfig

from segkit import sources
from segkit.pseudo_labels import telling, writing
from segkit.pseudo_labels.choosing import Settings
from segkit.pseudo_labels.filling import Filled, fill
from segkit.pseudo_labels.opening import MODEL_KEYS, Opened, open_all
from segkit.pseudo_labels.propagation import Spreading

FILL_KEYS = (
    "method",
    "split",
    "thresholds",
    "label_precision",
    "missed",
    "confidence",
    "doubt",
    "weight",
)
FILL_KEYS += ("images", "examples")


class Completed(NamedTuple):
    """filled: what was filled. page: where it is shown. value_range, channels: of the images."""

    filled: Filled
    page: Path
    opened: Opened


def complete(data: DictConfig | None, options: Mapping[str, Any]) -> Completed:
    """Completes a data set.

    Args:
        data: a node like the group `data`; None: that of the run.
        options: the keys of `conf/complete.yaml`.

    Raises:
        NothingUnknown: if there is nothing to complete.
        ValueError, OSError: naming what is wrong.
    """
    output, dry_run = Path(options["output"]), options["dry_run"]
    root = (data or {}).get("root")
    _require_new(output, root)
    model_options = {key: options[key] for key in MODEL_KEYS}
    opened = open_all(options["run"], data, model_options)
    writing.check_output(output, opened.root, (telling.PAGE, telling.SUMMARY))
    settings = Settings(
        **{key: options[key] for key in FILL_KEYS}, spreading=Spreading(**options["propagation"])
    )
    runs = [run.folder for run in opened.model.runs] if opened.model else []
    hashes = {str(run): telling.hash_of(run / "model.keras") for run in runs}
    facts = _facts(opened, options, list(hashes))
    title = PurePath(str(opened.root)).name if opened.root else "Images"
    if dry_run:
        found = fill(opened, settings, None)
        sources.make_folder(output)
        telling.write_json(output / telling.SUMMARY, telling.summary(found, options, hashes))
        page = telling.write_page(output / telling.PAGE, found, title, facts, True)
        return Completed(found, page, opened)
    with writing.staged(output, (telling.PAGE, telling.SUMMARY)) as stage:
        found = fill(opened, settings, stage)
        content = telling.summary(found, options, hashes)
        content["source"] = str(opened.root or opened.settings.get("_target_"))
        content["files_sha256"] = {
            name: telling.hash_of(stage / name)
            for name in ("annotations.csv", "classes.json", "provenance.csv")
        }
        telling.write_json(stage / telling.RECORD, content)
        telling.write_page(stage / telling.PAGE, found, title, facts, False)
    return Completed(found, output / telling.PAGE, opened)


def _require_new(output: Path, root: str | None) -> None:
    """What is wrong with the output is said before the data are looked at."""
    with contextlib.suppress(TypeError):
        writing.check_output(output, root, (telling.PAGE, telling.SUMMARY))


def _facts(opened: Opened, options: Mapping[str, Any], runs: list[str]) -> list[tuple[str, str]]:
    facts = [("method", options["method"]), ("split", options["split"])]
    if runs:
        facts.append(("run", ", ".join(map(os.path.basename, runs))))
    facts.append(("thresholds", str(options["thresholds"])))
    facts.append(("what stays open", options["doubt"]))
    return facts

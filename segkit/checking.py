"""What `segkit check` does: looks at everything in a data set before a night is spent on it."""

from __future__ import annotations

import json
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

from omegaconf import DictConfig, OmegaConf

from segkit import evidence, findings, sources
from segkit.class_counts import ClassCounts
from segkit.config import build
from segkit.contract import whole_number
from segkit.data.checks.balance import imbalance
from segkit.data.checks.coverage import coverage
from segkit.data.checks.sequences import drawn_apart
from segkit.data.checks.specimens import Specimen, specimen, specimens
from segkit.data.checks.suspicions import suspicions
from segkit.data.fitting import height_and_width
from segkit.data.folder.dataset import DataSet
from segkit.data.joined.entries import OPTIONS, configured
from segkit.data.places import named, place
from segkit.data.problems import Problem
from segkit.labels import LabelSpace
from segkit.report import check_page

log = logging.getLogger(__name__)

FOLDER, JOINED = "segkit.data.folder.splits", "segkit.data.joined.splits"
JSON = "check.json"


class Checked(NamedTuple):
    """What there is to say about a data set.

    result: see `segkit.findings.result`.
    labels: the label space of the coverage; None if classes.json cannot be used.
    samples: images to look at.
    """

    result: dict[str, Any]
    labels: LabelSpace | None
    samples: list[Specimen]


def run(config: DictConfig) -> dict[str, Any]:
    """Does what `segkit check` does: a table on the terminal, JSON and a page in `output`.

    Args:
        config: composed from `conf/check.yaml`.

    Returns:
        What check.json holds.

    Raises:
        ValueError: after everything is written, if training would stop or go wrong; before, if
            there is no such folder.
    """
    found = check(config)
    _require_some_folder(found)
    log.info(findings.text(found.result))
    if config.output is not None:
        folder = sources.make_folder(config.output)
        text = json.dumps(found.result, indent=1, ensure_ascii=False)
        (folder / JSON).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        page = check_page.write(folder / check_page.PAGE, found.result, found.labels, found.samples)
        log.info("written to %s and %s", folder / JSON, page)
    if found.result["errors"]:
        raise ValueError(found.result["verdict"])
    log.info(found.result["verdict"])
    return found.result


def _require_some_folder(found: Checked) -> None:
    """Keeps the report of another data set from being overwritten because of a slip in a path."""
    roots = [data_set["root"] for data_set in found.result["data_sets"]]
    if found.labels is None and roots and not any(_is_there(root) for root in roots):
        raise ValueError(f"{found.result['problems'][0]['text']} Nothing was written.")


def _is_there(root: str) -> bool:
    folder = place(root)
    try:
        with named(folder):
            return folder.is_dir()
    except OSError:
        return False


def check(config: DictConfig) -> Checked:
    """Opens and decodes every file of the data set that the group `data` describes.

    Annotations are not hidden, whatever `data.missing` says.

    Args:
        config: with the keys of `conf/check.yaml`.

    Raises:
        ValueError: on options that are out of range. What is wrong with the data does not raise.
    """
    most = whole_number("samples", config.samples)
    options = dict(OmegaConf.to_container(config.data, resolve=True, throw_on_missing=True))
    for key in ("missing", "pixel_size", "fold"):
        options.pop(key, None)
    entries = _entries(options)
    sets = {name: _examined(entry) for name, entry in entries.items()}
    problems = []
    for name, data in sets.items():
        found = [*data.problems, *suspicions(data, entries[name].get("value_range"))]
        found += findings.mixed_sizes(data, entries[name].get("size"))
        found += drawn_apart(data, entries[name].get("split"))
        origin = f"{name}: " if name else ""
        problems += [problem._replace(text=f"{origin}{problem.text}") for problem in found]
    labels, counts, splits = _counted(options, sets, problems)
    if counts:
        behind = any(problem.fatal for problem in problems)
        problems += [*readiness(counts, labels, behind), *imbalance(counts, labels)]
    if sets:
        each = -(-most // len(sets))
        samples = [s for data in sets.values() for s in specimens(data, problems, each)][:most]
    else:
        samples = _drawn_samples(splits, most)
    title = _title(options)
    return Checked(findings.result(title, sets, counts, problems, samples), labels, samples)


def readiness(
    counts: Mapping[str, ClassCounts], labels: LabelSpace, behind: bool = False
) -> list[Problem]:
    """What `segkit train` would say of the classes before its first step, as problems.

    Args:
        counts: of each split.
        labels: the label space.
        behind: whether there are errors that these may follow from.
    """
    kind, hint = "class without evidence", " Mend the other errors first." if behind else ""
    try:
        evidence.require_images({name: range(c.total_images) for name, c in counts.items()})
    except ValueError as error:
        return [Problem("empty split", "", str(error) + hint)]
    with _overheard(evidence.log) as said:
        try:
            evidence.check_classes(labels, counts["train"])
            evidence.check_evidence(labels, counts["val"])
        except ValueError as error:
            return [Problem("nothing to learn", "", str(error) + hint)]
    return [Problem(kind, "", text, fatal=False) for text in said]


def _entries(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments of `examine` for each data set on disk; "" is the name of a single one."""
    given = {key: value for key, value in options.items() if key != "_target_"}
    if options["_target_"] == FOLDER:
        return {"": given}
    if options["_target_"] != JOINED:
        return {}
    shared = {key: given[key] for key in OPTIONS | {"annotated"} if key in given}
    return {name: entry.options for name, entry in configured(given["sources"], shared).items()}


def _examined(options: Mapping[str, Any]) -> DataSet:
    height_and_width(options.get("size"))  # may be wrong, too; the files are read as they are
    # A cache would hand out what some other run has read; here the files themselves are meant.
    asked = {**options, "size": None, "cache": "none", "deep": True}
    return build({"_target_": "segkit.data.folder.dataset.examine", **asked})


def _counted(
    options: Mapping[str, Any], sets: Mapping[str, DataSet], problems: list[Problem]
) -> tuple[LabelSpace | None, dict[str, ClassCounts], Mapping[str, Any]]:
    """Label space, counts of each split, and sources if there were any to open."""
    if options["_target_"] == FOLDER:
        data = sets[""]
        return data.labels, coverage(data, options.get("annotated") != "present"), {}
    if any(problem.fatal for problem in problems):
        return None, {}, {}
    config = OmegaConf.create({**options, **({"cache": "none"} if sets else {})})
    known = {problem.kind for problem in problems}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            splits = sources.open_splits(config)
        except (OSError, ValueError) as error:
            if not sets:
                raise
            problems.append(Problem("data sets that cannot be joined", "", str(error)))
            return None, {}, {}
    texts = [str(warning.message) for warning in said]
    new = [text for text in texts if not text.startswith(tuple(f"{kind}: " for kind in known))]
    problems += [Problem("joined data sets", "", text, fatal=False) for text in new]
    counts = {name: sources.survey(source, config).counts for name, source in splits.items()}
    return next(iter(splits.values())).labels, counts, splits


def _drawn_samples(splits: Mapping[str, Any], most: int) -> list[Specimen]:
    """The first images of data that are drawn."""
    name, source = next(iter(splits.items()))
    why = "as drawn, with everything annotated"
    found = []
    for index in range(min(most, len(source), 8)):
        sample = source[index]
        parts = sample.image, sample.mask, sample.annotated, source.labels
        found.append(specimen(f"{name}/{sample.name or index}", why, False, *parts))
    return found


def _title(options: Mapping[str, Any]) -> str:
    if "root" in options:
        return Path(str(options["root"])).name or str(options["root"])
    if options["_target_"] == JOINED:
        return " + ".join(options["sources"])
    return options["_target_"].split(".")[-2]


@contextmanager
def _overheard(logger: logging.Logger) -> Iterator[list[str]]:
    """What a logger says meanwhile, which it then says nowhere else."""
    said: list[str] = []
    handler, propagates = logging.Handler(logging.WARNING), logger.propagate
    handler.emit = lambda record: said.append(record.getMessage())
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates

"""What `segkit compare` does: runs in, one table out, with how sure it is."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Hashable, Mapping, Sequence

from omegaconf import DictConfig, OmegaConf

from segkit.comparison import (
    baselines,
    choices,
    curves,
    effects,
    folders,
    groups,
    scores,
    terminal,
    writing,
)
from segkit.comparison.choices import Column
from segkit.comparison.folders import Found
from segkit.comparison.groups import Group, Test
from segkit.comparison.verdict import verdict
from segkit.contract import is_number, whole_number
from segkit.explaining import NotAll
from segkit.report import comparison_page

log = logging.getLogger(__name__)

_LISTED = 10  # damaged files in the error
_CURVES = 8  # groups with learning curves and, at most, in the gallery


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    found: the runs, and what is no run.
    columns: keys that differ.
    groups: runs with the same choices, best first.
    tests: of groups against their baseline.
    blocks: of metrics.json, one a run. values: the score, one a run.
    replicates: what tells a run from the others of its group: (its seed, other keys).
    verdict: see `segkit.comparison.verdict.verdict`.
    doubts: why scores may not compare, and what else to know; sentences.
    """

    found: Found
    columns: list[Column]
    groups: list[Group]
    tests: list[Test]
    blocks: list[Mapping[str, Any] | None]
    values: list[float | None]
    replicates: list[Hashable]
    verdict: dict[str, Any]
    doubts: list[str]


def run(config: DictConfig) -> Comparison:
    """Does what `segkit compare` does: a table in the terminal, and files in `output`.

    Written are comparison.csv (a row a group), runs.csv (a row a run), comparison.tex and the
    page comparison.html.

    Args:
        config: composed from `conf/compare.yaml`.

    Raises:
        ValueError, OSError: naming what is wrong with the arguments, or if there is no run.
        NotAll: after writing, if files of some runs are damaged.
    """
    if OmegaConf.is_missing(config, "runs"):
        raise ValueError("Give the folders that hold the runs: segkit compare DIR...")
    tops = [Path(top) for top in _listed(config.runs)]
    most = whole_number("gallery", config.gallery, 0)
    keys = _listed(config.replicates)
    made = compare(
        tops,
        score=str(config.score),
        split=str(config.split),
        baseline=_plain(config.baseline),
        level=config.level,
        by=None if config.by is None else _listed(config.by),
        replicates=keys,
    )
    score, split = scores.place(str(config.score), str(config.split))
    title = f"{score} on {split}, {len(made.found.runs)} runs"
    log.info(terminal.text(made, title, config.level, keys))
    output = _folder(config.output, tops)
    pages = _write(output, made, config, most, title)
    log.info("page: %s", pages)
    if made.found.damaged:
        damaged = made.found.damaged
        names = "; ".join(f"{name}: {why}" for name, why in damaged[:_LISTED])
        total = len(damaged) + len(made.found.runs)
        raise NotAll(f"{len(damaged)} of {total} runs could not be read and count nowhere. {names}")
    return made


def compare(
    runs: Sequence[str | Path],
    *,
    score: str = "mean_iou",
    split: str = "val",
    baseline: Any = None,
    level: float = 0.95,
    by: Sequence[str] | None = None,
    replicates: Sequence[str] = ("seed",),
) -> Comparison:
    """Groups all runs below folders by the keys in which they differ, and tests the groups.

    Args:
        runs: folders; see `segkit.comparison.folders.find`.
        score: `mean_iou`, `mean_dice`, `iou_CLASS`..., or `truth`.
        split: whose scores.
        baseline: see `segkit.comparison.baselines.tests`.
        level: of intervals and tests, above 0 and below 1.
        by: keys to group by, instead of all that differ.
        replicates: keys that tell repeated runs apart.

    Raises:
        ValueError, FileNotFoundError: naming what is wrong with the arguments, or if there is
            no run.
    """
    if not is_number(level) or not 0 < level < 1:
        raise ValueError(f"level must be above 0 and below 1. Received: {level!r}.")
    found = folders.find(runs)
    if not found.runs:
        raise ValueError(_nothing(runs, found))
    configs = [each.config for each in found.runs]
    overrides = [each.overrides for each in found.runs]
    differing = choices.differing(configs, replicates, overrides)
    columns, rest = _columns(configs, differing, by)
    ids, notes = groups.replicates(found.runs, replicates, rest)
    blocks = scores.blocks(found.runs, split, score)
    values = scores.values(blocks, score)
    falls = scores.falls(score)
    made = groups.grouped(columns, values, blocks, ids, level, falls)
    doubts = scores.doubts(found.runs, differing, blocks, ids)
    doubts += scores.measured_otherwise(blocks)
    doubts += notes + groups.repeated(made, found.runs, ids, replicates)
    doubts += _without(values, blocks, score, split)
    tests = baselines.tests(made, columns, baseline, level) if len(made) > 1 else []
    told = verdict(made, scores.place(score, split)[0], level, ", ".join(replicates))
    return Comparison(found, columns, made, tests, blocks, values, ids, told, doubts)


def _columns(
    configs: Sequence[Mapping[str, Any]], differing: list[Column], by: Sequence[str] | None
) -> tuple[list[Column], list[Column]]:
    """The columns to group by, and those that differ beside them."""
    if by is None:
        return differing, []
    known = {column.key: column for column in differing}
    columns = [known.get(key) or choices.all_the_same(configs, key) for key in by]
    empty = [column.key for column in columns if all(text is None for text in column.values)]
    if empty:
        there = ", ".join(known) or "no key"
        raise ValueError(f"No run has the key {empty[0]!r}. They differ in: {there}.")
    return columns, [column for column in differing if column.key not in by]


def _without(
    values: Sequence[float | None], blocks: Sequence[Any], score: str, split: str
) -> list[str]:
    found = []
    missing = sum(block is None for block in blocks)
    if missing:
        found.append(
            f"{missing} of {len(blocks)} runs have no scores of {split} and count nowhere."
        )
    empty = sum(v is None and block is not None for v, block in zip(values, blocks))
    if empty:
        found.append(
            f"{empty} of {len(blocks)} runs have no {score}: there was no evidence to measure it."
        )
    return found


def _nothing(runs: Sequence[str | Path], found: Found) -> str:
    where = ", ".join(map(str, runs))
    text = f"There is no finished run below {where}: no folder with config.yaml and metrics.json."
    if found.damaged:
        text += f" Damaged: {'; '.join(f'{name}: {why}' for name, why in found.damaged[:3])}"
    if found.unfinished:
        told = [f"{t['name']} ({t['status']}) {t['error']}".strip() for t in found.unfinished[:3]]
        text += f" {len(found.unfinished)} did not finish: {'; '.join(told)}."
    return text


def _folder(output: Any, tops: Sequence[Path]) -> Path:
    """Where to write: beside the runs, never inside of one."""
    first = tops[0].absolute()
    beside = first.parent if folders.is_run(first) else first
    path = beside / "comparison" if output is None else Path(str(output))
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f"Cannot write to {path}: {error}. Choose another with output=DIR."
        ) from error
    return path


def _write(output: Path, made: Comparison, config: DictConfig, most: int, title: str) -> Path:
    score, split = scores.place(str(config.score), str(config.split))
    columns, found = made.columns, made.found
    writing.write_csv(output / "comparison.csv", columns, made.groups, made.tests, score)
    runs_csv = output / "runs.csv"
    keys = _listed(config.replicates)
    writing.write_runs(runs_csv, columns, found.runs, made.blocks, made.values, score, keys)
    writing.write_latex(output / "comparison.tex", columns, made.groups, made.tests, score)
    bases = {test.against for test in made.tests}
    shown = [g for at, g in enumerate(made.groups) if at < _CURVES - 1 or at in bases][:_CURVES]
    content = {
        "title": title,
        "score": score,
        "level": config.level,
        "keys": keys,
        "effects": effects.main_effects(made.groups, columns, config.level),
        "interactions": effects.interactions(made.groups, columns, config.level),
        "curves": curves.of_groups(shown, found.runs, score, split),
        "gallery": shown,
        "images": most,
    }
    return comparison_page.write(output / comparison_page.PAGE, made, content)


def _listed(node: Any) -> list[str]:
    """What was given as a list, or as one word."""
    found = _plain(node)
    return [str(one) for one in (found if isinstance(found, list) else [found])]


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node) if OmegaConf.is_config(node) else node

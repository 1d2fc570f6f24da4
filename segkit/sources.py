"""From the config group `data` to sources, one a split."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

import numpy as np
from omegaconf import DictConfig, OmegaConf

from segkit import class_weights, parallel
from segkit.class_weights import ClassCounts
from segkit.config import build
from segkit.contract import Source, innermost
from segkit.data import folds
from segkit.data.tiles import Tiles
from segkit.synthetic.missing import HiddenAnnotations
from segkit.targets import shown

_SHOWN = 10  # groups that one line names


def open_splits(config: DictConfig) -> dict[str, Source]:
    """Opens the data set that the group `data` describes, hiding annotations if it says so.

    Args:
        config: the node `data`: a `_target_` that returns a source a split, its arguments, and
            `missing`: the arguments of `segkit.synthetic.missing.HiddenAnnotations`, and `fold`:
            those of `segkit.data.folds.folded`; what is hidden of an image does not hang on its
            fold. `pixel_size` is for those who measure distances.

    Raises:
        ValueError, FileNotFoundError: naming what is wrong with the data or the config.
    """
    options = dict(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    missing, fold = options.pop("missing", None), _fold(options.pop("fold", None))
    options.pop("pixel_size", None)  # for those who measure distances
    splits: Mapping[str, Source] = build(options)
    declared = not missing or missing.get("declared", True) is True
    if not declared or _hides((missing or {}).get("rate", 0)):
        splits = {n: HiddenAnnotations(source, split=n, **missing) for n, source in splits.items()}
    return folds.folded(splits, **fold)


class Survey(NamedTuple):
    """What one pass over the masks of a source tells.

    counts: by class.
    present: bool (N, F), the foreground classes that the mask of each image shows.
    annotated: bool (N, F), which of them somebody looked for.
    """

    counts: ClassCounts
    present: np.ndarray
    annotated: np.ndarray


def survey(source: Source, config: DictConfig) -> Survey:
    """Counts the classes of a source on known cells, reading each mask once.

    Args:
        source: one of the splits of `open_splits(config)`.
        config: the node `data`. Where it says that nobody declared what was annotated, what is
            unknown is not taken to be unknown at random.
    """
    labels, rows = source.labels, []

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for mask, annotated in parallel.ordered(source.annotation, range(len(source)), "counting"):
            rows.append((shown(mask, labels), annotated))
            yield mask, annotated

    counts = class_weights.count(pairs(), None, labels, at_random=_at_random(config))
    foreground = list(labels.foreground)
    present, annotated = (np.array(part, bool)[:, foreground] for part in zip(*rows))
    return Survey(counts, present, annotated)


def describe(name: str, source: Source, counts: ClassCounts) -> str:
    """One line on a split: how many images, and how much of it somebody looked at."""
    foreground = list(source.labels.foreground)
    looked = np.asarray(counts.annotated_images)[foreground].sum()
    cells = max(len(foreground) * len(source), 1)
    share = f"{looked / cells:.0%} of the (image, class) cells annotated"
    groups = sorted(set(getattr(innermost(source), "groups", [])))
    if not groups or len(groups) == len(source):
        return f"{name}: {len(source):,} images, {share}"
    more = f", and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    listed = f"{', '.join(groups[:_SHOWN])}{more}"
    return f"{name}: {len(source):,} images of {len(groups)} groups ({listed}), {share}"


def tiled(source: Source, size: tuple[int, int] | None) -> Source:
    """A source in tiles of a size, or as it is if there is none."""
    return source if size is None else Tiles(source, size)


def write_splits(splits: Mapping[str, Source], path: Path) -> None:
    """Writes which image is in which split, and in which group, as columns of annotations.csv.

    Nothing is written for images without names, which are drawn.
    """
    names = {split: getattr(innermost(source), "names", []) for split, source in splits.items()}
    if not all(names.values()):
        return
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "split", "group"])
        for split, source in splits.items():
            groups = getattr(innermost(source), "groups", []) or [""] * len(source)
            writer.writerows(zip(names[split], [split] * len(source), groups))


def make_folder(path: str | Path) -> Path:
    """Makes a folder to write to; an OSError that says what to do if it cannot be."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write to {path}: {error}. Choose another folder.") from error
    return path


def _at_random(config: DictConfig) -> bool:
    """Whether somebody said what was annotated, here and in each of the data sets joined."""
    entries = (config, *(config.get("sources") or {}).values())
    undeclared = any(entry.get("annotated") == "present" for entry in entries)
    missing = config.get("missing") or {}
    return not undeclared and missing.get("declared", True)


def _fold(options: Any) -> dict[str, Any]:
    odd = not isinstance(options, (Mapping, type(None))) or set(options or {}) - set(folds.OPTIONS)
    if odd:
        raise ValueError(
            f"data.fold may have the keys {', '.join(folds.OPTIONS)}. Received: {options!r}."
        )
    return dict(options or {})


def _hides(rate: Any) -> bool:
    return any(rate.values()) if isinstance(rate, Mapping) else bool(rate)

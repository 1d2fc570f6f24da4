"""From the config group `data` to sources, one a split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

import numpy as np
from omegaconf import DictConfig, OmegaConf

from segkit import class_weights
from segkit.class_weights import ClassCounts
from segkit.config import build
from segkit.contract import Source
from segkit.data.folder import Folder
from segkit.synthetic.missing import HiddenAnnotations


def open_splits(config: DictConfig) -> dict[str, Source]:
    """Opens the data set that the group `data` describes, hiding annotations if it says so.

    Args:
        config: the node `data`: a `_target_` that returns a source a split, its arguments, and
            `missing` (rate, groups, seed: see `segkit.synthetic.missing.HiddenAnnotations`).

    Raises:
        ValueError, FileNotFoundError: naming what is wrong with the data or the config.
    """
    options = dict(OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    missing = options.pop("missing", None)
    splits: Mapping[str, Source] = build(options)
    for source in splits.values():
        if isinstance(source, Folder):
            source.validate()  # names every damaged mask now, not one a night
    if not missing or not _hides(missing["rate"]):
        return dict(splits)
    return {name: HiddenAnnotations(source, **missing) for name, source in splits.items()}


def count(source: Source, config: DictConfig) -> ClassCounts:
    """Counts the classes of a source on known cells, reading each mask once.

    Args:
        source: one of the splits of `open_splits(config)`.
        config: the node `data`. Where it says annotated=present, what is unknown is not taken to
            be unknown at random.
    """
    pairs = (source.annotation(i) for i in range(len(source)))
    at_random = config.get("annotated") != "present"
    return class_weights.count(pairs, None, source.labels, at_random=at_random)


def describe(name: str, source: Source, counts: ClassCounts) -> str:
    """One line on a split: how many images, and how much of it somebody looked at."""
    foreground = list(source.labels.foreground)
    looked = np.asarray(counts.annotated_images)[foreground].sum()
    cells = max(len(foreground) * len(source), 1)
    share = f"{looked / cells:.0%} of the (image, class) cells annotated"
    return f"{name}: {len(source):,} images, {share}"


def make_folder(path: str | Path) -> Path:
    """Makes a folder to write to; an OSError that says what to do if it cannot be."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"Cannot write to {path}: {error}. Choose another folder.") from error
    return path


def _hides(rate: Any) -> bool:
    return any(rate.values()) if isinstance(rate, Mapping) else bool(rate)

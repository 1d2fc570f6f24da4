"""The data that is to be completed, at full size, and the model that sees it."""

from __future__ import annotations

import contextlib
import csv
import os
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

import numpy as np
from omegaconf import DictConfig, OmegaConf

from segkit import parallel, predictor, run_data, runs, sources
from segkit.contract import Sample, Source, innermost
from segkit.data.layout import Pair
from segkit.labels import LabelSpace
from segkit.predictor import Predictor

MODEL_KEYS = ("tta", "tile", "overlap", "batch_size", "precision")


class Opened(NamedTuple):
    """splits: the sources at the size of their files. model: None without a run.

    root: the folder of the data set; None of those that are drawn or joined.
    settings: the data node as it was opened.
    """

    splits: dict[str, Source]
    model: Predictor | None
    root: str | None
    settings: dict[str, Any]

    @property
    def labels(self) -> LabelSpace:
        """Of all splits."""
        return next(iter(self.splits.values())).labels


def open_all(
    run: str | os.PathLike | Sequence[str | os.PathLike] | None,
    data: DictConfig | None,
    options: Mapping[str, Any],
) -> Opened:
    """Opens the data and the model.

    Args:
        run: a run folder, or several whose mean probability counts; None: no model.
        data: a node like the group `data`; None: that of the first run.
        options: of `segkit.predictor.load`.

    Raises:
        ValueError, OSError: naming what is wrong with a run or the data.
    """
    if run is None and data is None:
        raise ValueError(
            "There is neither a run nor data. Give run=DIR, or data=folder data.root=PATH with "
            "method=propagation."
        )
    first = None
    if run is not None:
        paths = [run] if isinstance(run, (str, os.PathLike)) else list(run)
        if not paths:
            raise ValueError("run must name a run folder. Received: an empty list.")
        first = runs.read(paths[0])
    node = _node(first, data)
    try:
        splits = sources.open_splits(OmegaConf.create(node))
    except (ValueError, OSError) as error:
        if data is not None:
            raise
        raise ValueError(
            f"The data of the run {first.folder} cannot be opened: {error} If they were moved, say "
            "where they are: data=folder data.root=PATH."
        ) from error
    model = None
    if first is not None:
        _require_classes(first, next(iter(splits.values())).labels)
        model = predictor.load(run, **options)
    return Opened(splits, model, node.get("root"), node)


def _require_classes(run: runs.Run, labels: LabelSpace) -> None:
    """Refuses data with other classes than the model; both may be of independent ones."""
    alike = labels.names == run.labels.names and labels.exclusive == run.labels.exclusive
    if labels.exclusive or not alike:
        run_data.require_classes(run, labels)


def _node(run: runs.Run | None, data: DictConfig | None) -> dict[str, Any]:
    """The data at the size of its files; what is unset is as in the training."""
    if data is None:
        node = dict(run.config.get("data") or {})
    else:
        node = OmegaConf.to_container(data, resolve=True, throw_on_missing=True)
    if "fit" not in node:  # drawn scenes have the size they have
        return node
    node |= {"size": None, "fit": "resize", "cache": "none"}
    if run is not None:
        node = run_data.as_trained(run, node)
    asked = [key for key, value in node.items() if value == run_data.AS_TRAINED]
    node |= {key: 3 if key == "channels" else None for key in asked}  # without a run
    if isinstance(node.get("sources"), Mapping):
        node["sources"] = {
            name: {key: value for key, value in one.items() if key not in ("size", "fit")}
            for name, one in node["sources"].items()
        }
    return node


def trained_on(opened: Opened, split: str) -> list[str]:
    """The images of a split that a run was trained on, by its splits.csv: it was drawn anew since.

    Splits that are drawn hang on what is annotated. Only runs of this very data set are asked.
    """
    names = getattr(innermost(opened.splits.get(split)), "names", [])
    seen: set[str] = set()
    for run in opened.model.runs if opened.model and opened.root else ():
        path, root = run.folder / "splits.csv", (run.config.get("data") or {}).get("root")
        if not root or os.path.realpath(root) != os.path.realpath(opened.root):
            continue
        rows: dict[str, set[str]] = {"train": set(), split: set()}
        with contextlib.suppress(OSError), open(path, newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row["split"], set()).add(row["image"])
        seen |= rows["train"] - rows[split]  # train/a and val/a are both called "a"
    return [name for name in names if name in seen]


def home_of(source: Source, index: int) -> tuple[Source, int]:
    """The source, and the index there, behind an image of a fold; else what is asked about."""
    while hasattr(source, "pool"):
        split, index = source.pool.homes[source.indices[index]]
        source = source.pool.splits[split]
    return source, index


def pair_of(source: Source, index: int) -> Pair | None:
    """The files behind an image; None where it is drawn or joined."""
    source, index = home_of(source, index)
    pairs = getattr(innermost(source), "pairs", None)
    return None if pairs is None else pairs[index]


def is_as_filed(source: Source, index: int) -> bool:
    """Whether the ids of an image are those of its file: nothing was hidden or cut into bins."""
    home, _ = home_of(source, index)
    filed = pair_of(source, index) is not None and innermost(home) is home
    return filed and home.reader.stored.bins is None


def may_have_truth(source: Source, index: int) -> bool:
    """Whether there may be a full mask of an image: in a file, or behind what is hidden."""
    home, _ = home_of(source, index)
    pair = pair_of(source, index)
    return pair is None or pair.truth is not None or innermost(home) is not home


def name_of(source: Source, index: int, sample: Sample | None = None) -> str:
    """What image `index` is called in a folder: its stem, without slashes."""
    pair = pair_of(source, index)
    if pair is not None and not hasattr(source, "pool"):
        return pair.image.name.rpartition(".")[0]
    names = getattr(innermost(source), "names", [])
    name = names[index] if names else (sample or source[index]).name or f"{index:06d}"
    return name.replace("/", "_")


def weight_of(source: Source, index: int) -> float:
    """How far the annotation of an image is trusted, without reading it."""
    source, index = home_of(source, index)
    weights = getattr(innermost(source), "weights", None)
    return 1.0 if weights is None else float(weights[index])


def samples(
    source: Source, text: str, indices: Sequence[int] | None = None
) -> Iterator[Sample | Exception]:
    """The samples in order; in place of one that cannot be read, the error."""

    def read(index: int) -> Sample | Exception:
        try:
            return source[index]
        except (OSError, ValueError) as error:
            return error

    yield from parallel.ordered(read, range(len(source)) if indices is None else indices, text)


def inside(one: Path, other: str | os.PathLike) -> bool:
    """Whether a path is another one, or below it."""
    here, there = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    return here == there or there in here.parents


def annotated_table(source: Source) -> np.ndarray:
    """bool (N, C): what is declared of each image."""
    rows = parallel.ordered(lambda i: source.annotation(i)[1], range(len(source)), "declarations")
    return np.array(list(rows), bool).reshape(len(source), source.labels.num_classes)

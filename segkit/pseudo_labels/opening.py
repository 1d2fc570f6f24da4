"""The data that is to be completed, at full size, and the model that sees it."""

from __future__ import annotations

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
        run_data.require_classes(first, next(iter(splits.values())).labels)
        model = predictor.load(run, **options)
    return Opened(splits, model, node.get("root"), node)


def _node(run: runs.Run | None, data: DictConfig | None) -> dict[str, Any]:
    """The data at the size of its files; what is unset is as in the training."""
    if data is None:
        node = dict(run.config.get("data") or {})
    else:
        node = OmegaConf.to_container(data, resolve=True, throw_on_missing=True)
        if run is None:
            usual = {"fit": "resize", "channels": 3, "value_range": None, "size": None}
            told = {key: value for key, value in node.items() if value == run_data.AS_TRAINED}
            node |= {key: usual[key] for key in told}
        else:
            node = run_data.as_trained(run, node | {"size": None, "fit": "resize"})
    if "fit" in node:
        node |= {"size": None, "fit": "resize", "cache": "none"}
    if isinstance(node.get("sources"), Mapping):
        node["sources"] = {
            name: {key: value for key, value in one.items() if key not in ("size", "fit")}
            for name, one in node["sources"].items()
        }
    return node


def pairs_of(source: Source) -> list[Pair] | None:
    """The files behind the images of a source; None where they are drawn or joined."""
    return getattr(innermost(source), "pairs", None)


def is_as_filed(source: Source) -> bool:
    """Whether the masks of a source are those of its files: nothing was hidden on purpose."""
    return pairs_of(source) is not None and innermost(source) is source


def name_of(source: Source, index: int, sample: Sample | None = None) -> str:
    """What image `index` is called in a folder: its stem, without slashes."""
    pairs = pairs_of(source)
    if pairs is not None:
        return pairs[index].image.name.rpartition(".")[0]
    name = (sample or source[index]).name or f"{index:06d}"
    return name.replace("/", "_")


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

"""The data that a trained model is scored on: those of its run, or others brought to it alike."""

from __future__ import annotations

import logging
from pathlib import PurePath
from typing import Any, Mapping, NamedTuple, Sequence

import numpy as np
from omegaconf import DictConfig, OmegaConf

from segkit import sources
from segkit.contract import Sample, Source, is_number
from segkit.grouping import groups_of, origins_of
from segkit.labels import LabelSpace
from segkit.runs import Run

log = logging.getLogger(__name__)

AS_TRAINED = "as_trained"  # what conf/data/as_trained puts where the run decides
ALL = "all"


class RunData(NamedTuple):
    """Data to score a run on.

    splits: the sources, by name.
    name: what to call them.
    own: whether they are those that the run was trained with.
    pixel_size: (height, width) of the scored pixels; None if nobody said.
    """

    splits: dict[str, Source]
    name: str
    own: bool
    pixel_size: tuple[float, float] | None


def open_data(run: Run, data: DictConfig | None, whole: bool = False) -> RunData:
    """Opens the data of a run, or others as the model of the run takes them.

    Args:
        run: the run.
        data: a node like the group `data`, in which `as_trained` stands for what the run was
            trained with; None: the data of the run.
        whole: True draws no splits from other data, since all images are wanted.

    Raises:
        ValueError, OSError: naming what is wrong with the data or the config.
    """
    if data is None:
        options = dict(run.config.get("data") or {})
    else:
        options = as_trained(run, OmegaConf.to_container(data, resolve=True, throw_on_missing=True))
    if data is not None and whole and isinstance(options.get("split"), Mapping):
        options["split"] = {**options["split"], "val": 0.0, "test": 0.0}
    pixel_size = _of_data(options, data is None)
    try:
        splits = sources.open_splits(OmegaConf.create(options))
    except (ValueError, OSError) as error:
        if data is not None:
            raise
        raise ValueError(
            f"The data of the run {run.folder} cannot be opened: {error} If they were moved, say "
            "where they are: data=folder data.root=PATH."
        ) from error
    return RunData(splits, _name(options), data is None, pixel_size)


def as_trained(run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` of data with the values of the run wherever they say `as_trained`."""
    there = {
        "size": None if run.size is None else list(run.size),
        "fit": run.fit or "resize",
        "channels": run.channels,
        "value_range": run.value_range,
        # Where classes of the run exclude each other, others are refused by name, not misread.
        "exclusive": None if run.labels.exclusive else False,
    }
    taken = {key: there[key] for key, value in options.items() if value == AS_TRAINED}
    if taken:
        text = ", ".join(f"data.{key}={_said(value)}" for key, value in taken.items())
        log.info("as in the training of the run: %s", text)
    return {**options, **taken}


def choose(data: RunData, split: str | None) -> tuple[str, Source]:
    """The split to score, with its name.

    Args:
        data: the data.
        split: its name; "all" takes all splits together; None the split test where it has an
            image, else val.

    Raises:
        ValueError: if there is no such split, or no image in it; naming those there are.
    """
    numbers = {name: len(source) for name, source in data.splits.items()}
    name = split or ("test" if numbers.get("test") else "val")
    if name == ALL and sum(numbers.values()):
        filled = {n: source for n, source in data.splits.items() if len(source)}
        return name, Together(filled) if len(filled) > 1 else next(iter(filled.values()))
    if numbers.get(name):
        return name, data.splits[name]
    listed = ", ".join(f"{n} ({count:,})" for n, count in numbers.items()) or "no split"
    ways = [f"split={n}" for n, count in numbers.items() if count]
    more = f" Take {' or '.join([*ways, f'split={ALL}'])}." if ways else ""
    raise ValueError(
        f"There is no image to evaluate on: the data have none in the split {name}. "
        f"Received: {listed}.{more}"
    )


def require_classes(run: Run, labels: LabelSpace) -> None:
    """Refuses data with other classes than the model, or the same in another order.

    Raises:
        ValueError: with both lists; if classes exclude each other in one of the two alone, or
            stand for other values.
    """
    if labels.exclusive != run.labels.exclusive:
        kinds = {True: "exclude each other (exclusive: true)", False: "may overlap (false)"}
        raise ValueError(
            f"The classes of the model {kinds[run.labels.exclusive]}, and so must those of the "
            f"data. Received: data whose classes {kinds[labels.exclusive]}. classes.json says "
            "which; where they exclude each other, a mask holds one id a pixel, else one plane a "
            "class."
        )
    if labels.names != run.labels.names:
        raise ValueError(
            f"The data must have the classes of the model, in the same order: "
            f"{', '.join(run.labels.names)}. Received: {', '.join(labels.names)}. data=joined maps "
            "other names and orders onto them: data.names and data.sources.NAME.ids, see "
            "docs/data.md."
        )
    for what in ("values", "unit"):
        mine, others = getattr(run.labels, what), getattr(labels, what)
        if mine is not None and others not in (None, mine):
            raise ValueError(
                f"The {what} of the classes must be those that the model learnt: {mine}. Received: "
                f"{others}. The same classes then stand for something else; correct classes.json."
            )


class Together:
    """Several splits one after the other; a `segkit.contract.Source`.

    A sample is called "SPLIT/NAME".

    Args:
        splits: the sources, of one label space.
    """

    def __init__(self, splits: Mapping[str, Source]):
        self._splits = dict(splits)
        self.labels = next(iter(self._splits.values())).labels
        self._ends = np.cumsum([len(source) for source in self._splits.values()])

    @property
    def groups(self) -> list[str]:
        """What each image is not parted from; [] if no split knows."""
        found = {name: groups_of(source) for name, source in self._splits.items()}
        if not any(any(groups) for groups in found.values()):
            return []
        return [group for groups in found.values() for group in groups]

    @property
    def origins(self) -> list[str]:
        """The data set that each image comes from."""
        return [origin for source in self._splits.values() for origin in origins_of(source)]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Sample:
        name, inner = self._place(index)
        sample = self._splits[name][inner]
        return sample._replace(name=f"{name}/{sample.name or inner}")

    def annotation(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Mask and annotated of sample `index`."""
        name, inner = self._place(index)
        return self._splits[name].annotation(inner)

    def _place(self, index: int) -> tuple[str, int]:
        index = range(len(self))[index]
        number = int(np.searchsorted(self._ends, index, side="right"))
        name = list(self._splits)[number]
        return name, index - int(self._ends[number]) + len(self._splits[name])


def pixel_pair(name: str, value: Any) -> tuple[float, float] | None:
    """(height, width) of a pixel from a pair, one number for both, or None.

    Raises:
        ValueError: if it is none of these, or not above 0.
    """
    if value is None:
        return None
    pair = tuple(value) if isinstance(value, Sequence) and len(value) == 2 else (value, value)
    if not all(is_number(edge) and 0 < edge < np.inf for edge in pair):
        raise ValueError(
            f"{name} must be a number above 0, or two: [height, width]. Received: {value!r}."
        )
    return float(pair[0]), float(pair[1])


def _of_data(options: dict[str, Any], own: bool) -> tuple[float, float] | None:
    """Takes data.pixel_size, of the pixels in the files, out of the options."""
    pair = pixel_pair("data.pixel_size", options.pop("pixel_size", None))
    if pair and options.get("size") is not None and options.get("fit") != "crop":
        text = (
            "data.pixel_size is that of the files, and images that are resized have others. "
            f"Received: data.size={_said(options['size'])}. "
        )
        if own:  # the run is what it is
            log.warning("%sSo distances are in pixels, unless pixel_size says more.", text)
            return None
        raise ValueError(
            f"{text}Score the full size with data.size=null, or give the pixel_size of the "
            "resized images."
        )
    return pair


def _name(options: Mapping[str, Any]) -> str:
    root = options.get("root")
    if root:
        return PurePath(str(root).rstrip("/")).name or "data"
    joined = options.get("sources")
    if isinstance(joined, Mapping):
        return "+".join(map(str, joined))
    return str(options.get("_target_", "data")).removesuffix(".splits").rpartition(".")[2]


def _said(value: Any) -> str:
    if value is None:
        return "null"
    return f"[{','.join(map(str, value))}]" if isinstance(value, (list, tuple)) else str(value)

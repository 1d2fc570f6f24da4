"""What `segkit preview` does: shows images beside what training will make of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping

import numpy as np
from omegaconf import DictConfig, OmegaConf

from segkit import parallel, sources
from segkit.config import build
from segkit.contract import Sample, Source, whole_number
from segkit.data.fitting import with_ignore_index
from segkit.data.loading import bound
from segkit.report import preview_page, settings
from segkit.report.preview_page import Row, View
from segkit.targets import shown

log = logging.getLogger(__name__)

EPOCHS = 3  # variants of each image
_LOOKED_AT = 8  # masks that are read for each image that is chosen


def run(config: DictConfig) -> Path:
    """Does what `segkit preview` does, and returns the path of the page.

    Args:
        config: composed from `conf/preview.yaml`.

    Raises:
        ValueError: naming what is wrong with the config or the data, in the words in which
            training would say it.
        FileExistsError: if `output` is there and is no such page.
    """
    for key, least in (("seed", 0), ("samples", 1), ("epoch", 0)):
        whole_number(key, config[key], least)
    splits = sources.open_splits(config.data)
    if config.split not in splits:
        raise ValueError(f"There is no split {config.split!r}. The splits: {', '.join(splits)}.")
    source = splits[config.split]
    labels = with_ignore_index(source.labels)
    changes = [build(config[group]) for group in ("patches", "augment")]
    told = [bound(change, labels) for change in changes if change is not None]
    chosen = choose(source, config.samples, config.seed)
    rows = [_row(source, index, told, config) for index in chosen]
    notes = list(_notes(rows))
    path = Path(config.output)
    if path.suffix.lower() not in (".html", ".htm"):  # as the other verbs take it
        path = path / "preview.html"
    sources.make_folder(path.parent)
    preview_page.write(
        path,
        labels,
        rows,
        title=settings.title({"data": _plain(config.data)}, {})["data"] or "Images",
        facts=_facts(config, source, chosen),
        steps=list(steps(_plain(config.augment))),
        notes=notes,
    )
    for note in notes:
        log.warning(note)
    log.info("%d images, as %d epochs see them: %s", len(rows), EPOCHS, path)
    return path


def choose(source: Source, count: int, seed: int) -> list[int]:
    """Indices of up to `count` images, spread over the source, in order.

    The source is cut into `count` stretches. Of a few images of each, the one is taken that adds
    most to what the others show: labelled classes that were seen seldom or never.

    Args:
        source: the images; only some masks are read, so this takes no longer where there are many.
        count: how many to choose.
        seed: of the few.
    """
    rng = np.random.default_rng([seed])
    stretches = np.array_split(np.arange(len(source)), min(count, len(source)))
    drawn = [sorted(rng.permutation(stretch)[:_LOOKED_AT].tolist()) for stretch in stretches]
    flat = [index for candidates in drawn for index in candidates]
    found = dict(zip(flat, parallel.ordered(lambda i: _labelled(source, i), flat, "masks")))
    seen = np.zeros(source.labels.num_classes)
    chosen = []
    for candidates in drawn:
        best = max(candidates, key=lambda index: (found[index] / (1 + seen)).sum())
        seen += found[best]
        chosen.append(best)
    return chosen


def steps(node: Any) -> Iterator[dict[str, Any]]:
    """The transforms of a resolved config node, for reading: "name", "called", "arguments"."""
    transforms = node.get("transforms") if isinstance(node, Mapping) else None
    if transforms is None:
        if node is not None:
            yield _step("", node)
        return
    named = transforms.items() if isinstance(transforms, Mapping) else enumerate(transforms)
    for name, transform in named:
        yield _step(str(name), transform)


def _step(name: str, node: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    return {
        "name": name,
        "called": str(node.get("_target_", "")).rpartition(".")[2],
        "arguments": [(key, _text(value)) for key, value in arguments.items()],
    }


def _text(value: Any) -> str:
    if isinstance(value, Mapping) and "_target_" in value:
        step = _step("", value)
        return f"{step['called']}({', '.join(f'{k}={v}' for k, v in step['arguments'])})"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _labelled(source: Source, index: int) -> np.ndarray:
    """Which foreground classes are labelled in an image, bool (C,)."""
    mask, annotated = source.annotation(index)
    labelled = shown(mask, source.labels) & annotated
    if source.labels.background is not None:
        labelled[source.labels.background] = False
    return labelled


def _row(source: Source, index: int, changes: list[Callable], config: DictConfig) -> Row:
    original = source[index]
    views = [_view("as it is", original)]
    for epoch in range(config.epoch, config.epoch + EPOCHS):
        sample = original
        for change in changes:
            sample = change(sample, (config.seed, epoch, index))
        views.append(_view(f"epoch {epoch + 1}", sample))
    names = [source.labels.names[c] for c in np.flatnonzero(_labelled(source, index))]
    return Row(original.name or f"image {index}", names, views)


def _view(title: str, sample: Sample) -> View:
    return View(title, sample.image, sample.mask, np.asarray(sample.annotated, bool))


def _notes(rows: list[Row]) -> Iterator[str]:
    sizes = sorted({view.image.shape[:2] for row in rows for view in row.views[1:]})
    if len(sizes) > 1:
        some = ", ".join(f"{height} x {width}" for height, width in sizes[:4])
        yield (
            f"These images come out in {len(sizes)} sizes ({some}), and a batch needs one: give "
            "data.size or patches, or let the transforms end with a crop of one size, such as "
            "albumentations.RandomCrop with pad_if_needed."
        )


def _facts(config: DictConfig, source: Source, chosen: list[int]) -> list[tuple[str, str]]:
    count = f"{len(chosen)} of {len(source):,}" if len(chosen) < len(source) else str(len(chosen))
    facts = [("images", f"{count} of the split {config.split}"), ("seed", str(config.seed))]
    patches = settings.choices({"sampling": _plain(config.patches)})
    for row in patches:
        arguments = ", ".join(f"{key}={value}" for key, value in row["settings"])
        facts.append(("patches", f"{row['name']} {arguments}".strip()))
    if config.augment is not None:
        rate = config.augment.get("label_dropout", 0)
        facts.append(("label dropout", "none" if not rate else str(rate)))
    facts.append(("not shown", "mixing of images in a batch (mix), and how often an image comes"))
    return facts


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node

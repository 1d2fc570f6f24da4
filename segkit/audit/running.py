"""The verb: from a config to ranked cells, files and a page to review them on."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import Any, Iterator, NamedTuple, Sequence

from omegaconf import DictConfig, OmegaConf

from segkit import predictor, run_data, runs, sources, tables
from segkit.audit import crossing, evidence, manifest, pictures, ranking
from segkit.audit.evidence import Place, Seen
from segkit.contract import Source, whole_number
from segkit.data import folds
from segkit.report import audit_page
from segkit.runs import Run

log = logging.getLogger(__name__)

MODEL_KEYS = ("tta", "tile", "overlap", "batch_size", "precision")
AUTO, FOLDS = "auto", 3
CSV, JSON = "audit.csv", "audit.json"
WEAK = 0.3  # strength where a class is drawn, below which it is hardly found
_SHOWN = 10  # rows on the terminal


class Data(NamedTuple):
    """options: a node like the group `data`. splits: unfolded. own: whether they are the run's."""

    options: dict[str, Any]
    splits: dict[str, Source]
    name: str
    own: bool


def run(config: DictConfig) -> dict[str, Any]:
    """Does what `segkit audit` does: a table on the terminal, files and a page in `output`.

    The same command goes on with trainings that were interrupted.

    Args:
        config: composed from `conf/audit.yaml`.

    Returns:
        What audit.json holds.

    Raises:
        ValueError, OSError: naming what is wrong with the run, the data or the config.
        NotAll: if the training of a fold did not finish.
    """
    paths = list(config.run) if OmegaConf.is_list(config.run) else [config.run]
    found = [runs.read(path) for path in paths]
    data = _open(found[0], config.get("data"))
    count = _folds(config, data, found)
    run_data.require_classes(found[0], next(iter(data.splits.values())).labels)
    folder = sources.make_folder(_folder(config.output, found[0], data))
    start = manifest.start(data.options, data.splits)
    seen = list(_seen(config, found, data, folder, count))
    labels = next(iter(data.splits.values())).labels
    ranked, known = ranking.rank(seen, labels)
    settings = {
        "runs": [str(one.folder) for one in found],
        "data": data.name,
        "own": data.own,
        "source": _source(data.options),
        "folds": count,
        **{key: config[key] for key in MODEL_KEYS},
    }
    content = {"settings": settings, **ranking.summary(ranked, known, labels, len(seen))}
    (folder / audit_page.PAGE).unlink(missing_ok=True)  # it would be about other cells
    ranking.write_csv(folder / CSV, ranked, labels)
    ranking.write_json(folder / JSON, content)
    shown = pictures.described(ranked[: config.audit.page], data.splits, labels, start)
    page = audit_page.write(folder / audit_page.PAGE, content, labels, len(ranked), **shown)
    log.info(_table(ranked, labels))
    _warn(content["classes"])
    log.info("cells: %s\nreview: %s", folder / CSV, page)
    return content


def _open(run: Run, node: DictConfig | None) -> Data:
    """The data of the run, or others as its model takes them, in their own splits."""
    if node is None:
        options = dict(run.config.get("data") or {})
        run = dataclasses.replace(run, config={**run.config, "data": {**options, "fold": None}})
        opened = run_data.open_data(run, None)
    else:
        given = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        options = {**run_data.as_trained(run, given), "fold": None}
        opened = run_data.open_data(run, OmegaConf.create(options))
    filled = {name: source for name, source in opened.splits.items() if len(source)}
    if not filled:
        raise ValueError("There is no image to look at. Received: data without any.")
    return Data(options, filled, opened.name, node is None)


def _folds(config: DictConfig, data: Data, found: Sequence[Run]) -> int:
    """The number of trainings; refuses what could only go wrong after them."""
    whole_number("batch_size", config.batch_size, 1)
    whole_number("audit.page", config.audit.page)
    whole_number("audit.seed", config.audit.seed)
    count = config.audit.folds
    if count == AUTO:
        count = FOLDS if data.own and len(found) == 1 else 0
    if whole_number("audit.folds", count) == 1:
        raise ValueError("audit.folds must be 2 or more, 0 or auto. Received: 1.")
    if count and len(found) > 1:
        raise ValueError(
            "The trainings of audit.folds take the config of one run. Received: "
            f"{len(found)} runs. Several predict together with audit.folds=0."
        )
    if config.audit.training is not None and not OmegaConf.is_dict(config.audit.training):
        raise ValueError(
            "audit.training holds keys with values, such as {trainer.epochs: 20}. Received: "
            f"{config.audit.training!r}."
        )
    if not count and config.audit.training:
        raise ValueError(
            "audit.training is about the trainings of audit.folds. Received: "
            f"{dict(config.audit.training)} with audit.folds=0. Leave one of them out."
        )
    known = [run_data.ALL, *data.splits] if not count else [run_data.ALL, *folds.POOLED]
    if config.split is not None and config.split not in known:
        way = " audit.folds=0 split=test predicts it with the run." if count else ""
        raise ValueError(f"split must be one of {', '.join(known)}. Received: {config.split}.{way}")
    return count


def _seen(
    config: DictConfig, found: Sequence[Run], data: Data, folder: Path, count: int
) -> Iterator[Seen]:
    """All images, each predicted by a model that never saw it, or by the runs as they are."""
    options = {key: config[key] for key in MODEL_KEYS}
    first = 0
    for paths, places in _parts(config, found, data, folder, count):
        places = [place for place in places if config.split in (None, run_data.ALL, place.split)]
        model = predictor.load(paths, decisions=config.decisions, **options)
        yield from evidence.look(model, data.splits, places, first)
        first += len(places)


def _parts(
    config: DictConfig, found: Sequence[Run], data: Data, folder: Path, count: int
) -> Iterator[tuple[list[Path], list[Place]]]:
    """Run folders, and the images that they predict."""
    if not count:
        if data.own and config.split not in ("val", "test"):
            log.warning(
                "The model was trained on images of these, and may have learnt by heart that "
                "nothing is outlined in them. audit.folds=3 trains models that never saw what "
                "they predict; split=val looks at validation images alone."
            )
        everything = [Place(s, i) for s, source in data.splits.items() for i in range(len(source))]
        yield [one.folder for one in found], everything
        return
    pool = folds.Pool({n: data.splits[n] for n in folds.POOLED if n in data.splits})
    dealt = folds.deal(pool, count, config.audit.seed)
    changes = OmegaConf.to_container(config.audit, resolve=True)["training"]
    names = [[pool.names[i] for i in indices] for indices in dealt] if pool.names else []
    crossing.require_deal(folder, names)
    trained = crossing.train(found[0], data.options, folder, count, config.audit.seed, changes)
    crossing.require_deal(folder, names)  # `changes` may be of the data, too
    for path, indices in zip(trained, dealt):
        yield [path], [Place(*pool.homes[i]) for i in indices]


def _folder(output: str | None, run: Run, data: Data) -> Path:
    """Where to write.

    Raises:
        ValueError: if that is the folder of a run.
    """
    if output is None:
        return run.folder / "audit" if data.own else run.folder / "audit" / data.name
    if (Path(output) / runs.MODEL).exists():
        raise ValueError(
            f"{output} is the folder of a run. Leave output out: the audit then goes to "
            f"{run.folder / 'audit'}."
        )
    return Path(output)


def _source(options: dict[str, Any]) -> str | None:
    """Where a folder data set lies; None of others."""
    root = options.get("root")
    return root if root is None or "://" in str(root) else os.path.realpath(root)


def _warn(classes: Sequence[dict[str, Any]]) -> None:
    """Names the classes of which the scores tell nothing, or little."""
    for row in classes:
        name = tables.plain(row["name"])
        if not row["drawn"]:
            log.warning("%s is drawn nowhere, so nothing can be said of it.", name)
        elif row["strength_where_drawn"] < WEAK:
            log.warning(
                "%s is hardly found where it is drawn (median strength %.2f), so its scores tell "
                "little. Train longer, or with more images of it.",
                name,
                row["strength_where_drawn"],
            )


def _table(ranked: Sequence[ranking.Row], labels: Any) -> str:
    shown = []
    for row in ranked[:_SHOWN]:
        score = "" if row.score is None else f"{row.score:.3f}"
        name = tables.plain(labels.names[row.cell.id])
        shown.append([tables.plain(row.seen.name), name, row.kind, row.declared, row.says, score])
    columns = ["image", "class", "kind", "declared", "says", "score"]
    return tables.text(f"the first of {len(ranked):,} cells to look at", columns, shown)

"""Class counts of a data set and the weights that each scheme makes of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from segkit import class_weights, sources

log = logging.getLogger(__name__)

SCHEMES = (class_weights.median_frequency, class_weights.inverse_frequency)


def run(config: DictConfig) -> dict[str, Any]:
    """Does what `segkit weights` does: a table on the terminal, JSON if `output` names a file.

    Args:
        config: composed from `conf/weights.yaml`.

    Returns:
        {"images", "classes": [{"name", counts…}], "weights": {scheme: {class name: weight}}}, what
        the JSON file holds. One of the inner mappings is what `class_weights.values` takes.
    """
    logging.captureWarnings(True)
    counts = sources.count(sources.open_splits(config.data)["train"])
    weights = {
        scheme.__name__: dict(zip(counts.names, scheme(counts).tolist())) for scheme in SCHEMES
    }
    result = {**counts.to_dict(), "weights": weights}
    log.info(table(result))
    if config.output is not None:
        path = Path(config.output)
        sources.make_folder(path.parent)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        log.info("written to %s", path)
    return result


def table(result: dict[str, Any]) -> str:
    """The result of `run` as text, one row a class."""
    view = Table(title=f"train: {result['images']:,} images", title_justify="left")
    view.add_column("class")
    for column in ("annotated", "with pixels", "unknown", "pixels", *result["weights"]):
        view.add_column(column, justify="right")
    for row in result["classes"]:
        counts = [f"{row[key]:,}" for key in ("annotated", "present", "unknown", "pixels")]
        factors = [f"{by_class[row['name']]:.4f}" for by_class in result["weights"].values()]
        view.add_row(row["name"], *counts, *factors)
    console = Console(width=100, color_system=None, markup=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get().rstrip()

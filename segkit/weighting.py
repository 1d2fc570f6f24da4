"""Class counts of a data set and the weights that each scheme makes of them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from segkit import class_weights, sources, tables
from segkit.class_counts import ClassCounts
from segkit.labels import LabelSpace

log = logging.getLogger(__name__)

SCHEMES = (
    class_weights.median_frequency,
    class_weights.inverse_frequency,
    class_weights.effective_number,
)


def run(config: DictConfig) -> dict[str, Any]:
    """Does what `segkit weights` does: a table on the terminal, JSON if `output` names a file.

    Args:
        config: composed from `conf/weights.yaml`.

    Returns:
        {"images", "classes": [{"name", counts…, "known_share"}], "weights": {scheme: {class name:
        weight}}}, what the JSON file holds. One of the inner mappings is what
        `class_weights.values` takes.

    Raises:
        ValueError: naming what is wrong with the data.
    """
    splits = sources.open_splits(config.data)
    if not len(splits.get("train", ())):
        found = ", ".join(f"{name} ({len(source)})" for name, source in splits.items())
        raise ValueError(
            "Weights come from the images of the split train, and there is none. "
            f"Received: {found or 'no split'}."
        )
    source = splits["train"]
    counts = sources.survey(source, config.data).counts
    weights = {
        scheme.__name__: dict(zip(counts.names, scheme(counts).tolist())) for scheme in SCHEMES
    }
    result = {**counts.to_dict(), "weights": weights}
    for row in result["classes"]:
        row["known_share"] = row["annotated"] / result["images"]
    log.info("\n".join([table(result), *notes(counts, source.labels)]))
    if config.output is not None:
        path = Path(config.output)
        sources.make_folder(path.parent)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        log.info("written to %s", path)
    return result


def table(result: dict[str, Any]) -> str:
    """The result of `run` as text, one row a class.

    "pixels" are those that count, "stored" those that carry the id, "images" those that show the
    class where it was looked for, "known" the share of the images in which it was.
    """
    counts = {"pixels": "pixels", "stored": "stored_pixels", "images": "present"}
    rows = [
        [row["name"], *(f"{row[key]:,}" for key in counts.values()), f"{row['known_share']:.1%}"]
        + [f"{by_class[row['name']]:.4f}" for by_class in result["weights"].values()]
        for row in result["classes"]
    ]
    title = f"train: {result['images']:,} images"
    return tables.text(title, ["class", *counts, "known", *result["weights"]], rows)


def notes(counts: ClassCounts, labels: LabelSpace) -> list[str]:
    """What the counts were corrected for, or could not be; a sentence each."""
    found = []
    background = labels.background
    if background is not None:
        stored, left = (int(part[background]) for part in (counts.stored_pixels, counts.pixels))
        if stored > left:
            found.append(
                f"{stored - left:,} of the {stored:,} pixels stored as {labels.names[background]} "
                "are expected to belong to classes that nobody looked for in their image; they "
                "do not count."
            )
    if not counts.at_random:
        found.append(
            "With data.annotated=present nobody knows how often a class was there and skipped: "
            "its frequency is that in the images that show it, and the background counts as stored."
        )
    return found

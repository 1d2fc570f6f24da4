"""The page of one run: run folder in, run/report.html out, one file that needs no network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from segkit.report import facts, features_plot, gallery, page, plots, settings
from segkit.report.run_files import RunFiles, read

PAGE = "report.html"


def write(run: str | Path) -> Path:
    """Writes report.html into a run folder, from the files that training left there.

    The page is self-contained: style, script, pictures and masks are inside, and its content
    security policy forbids it to load or run anything else.

    Args:
        run: the run folder.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError: naming config.yaml, labels.json or metrics.json if it is not there.
            Without the other files the page says that they were not recorded.
        ValueError: naming the file whose content cannot be read.
    """
    files = read(run)
    path = files.folder / PAGE
    return page.save(path, "run.html.jinja", ["paint.js", "gallery.js"], _content(files))


def _content(files: RunFiles) -> dict[str, Any]:
    labels, metrics = files.labels, files.metrics
    classes = page.classes(labels)
    coverage = files.coverage and facts.coverage(files.coverage, labels)
    packed = files.gallery and gallery.pack(files.gallery, files.folder / "gallery", labels)
    return {
        "title": settings.title(files.config, files.environment or {}),
        "classes": classes,
        "exclusive": labels.exclusive,
        "swatches": {entry["name"]: entry for entry in classes},
        "headline": facts.headline(metrics, coverage),
        "coverage": coverage,
        "annotated_shares": facts.annotated_shares(files.history or [], labels),
        "curves": files.history and plots.learning_curves(files.history, labels),
        "best_epoch": files.history and plots.best_epoch(files.history),
        "kept_epoch": (files.environment or {}).get("best_epoch"),
        "epochs": len(files.history or []),
        "scores": facts.scores(metrics),
        "ordered": facts.ordered(metrics),
        "confusions": facts.confusions(metrics, labels.exclusive),
        "weights": files.class_weights and facts.weights(files.class_weights),
        "features": files.features and features_plot.feature_plot(*files.features, labels),
        "gallery": packed,
        "choices": settings.choices(files.config),
        "config": yaml.safe_dump(files.config, sort_keys=False, allow_unicode=True),
        "environment": files.environment and settings.environment(files.environment),
    }

"""The page of one run: run folder in, run/report.html out, one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from segkit.report import facts, gallery, plots, settings
from segkit.report.colors import hex_code, readable
from segkit.report.run_files import RunFiles, read

HERE = Path(__file__).parent
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
    # Line feeds everywhere: the policy of the page holds hashes of its scripts.
    path.write_text(_render(files), encoding="utf-8", newline="\n")
    return path


def _render(files: RunFiles) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=facts.count, score=facts.score, percent=facts.percent)
    scripts = [_asset("paint.js"), _asset("gallery.js")]
    return environment.get_template("run.html.jinja").render(
        style=Markup(_asset("report.css")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(_hash(script) for script in scripts),
        **_content(files),
    )


def _content(files: RunFiles) -> dict[str, Any]:
    labels, metrics = files.labels, files.metrics
    coverage = files.coverage and facts.coverage(files.coverage, labels)
    packed = files.gallery and gallery.pack(files.gallery, files.folder / "gallery", labels)
    return {
        "title": settings.title(files.config, files.environment or {}),
        "classes": _classes(files),
        "swatches": {entry["name"]: entry for entry in _classes(files)},
        "headline": facts.headline(metrics, coverage),
        "coverage": coverage,
        "annotated_shares": facts.annotated_shares(files.history or [], labels),
        "curves": files.history and plots.learning_curves(files.history, labels),
        "best_epoch": files.history and plots.best_epoch(files.history),
        "epochs": len(files.history or []),
        "scores": facts.scores(metrics),
        "confusions": facts.confusions(metrics),
        "weights": files.class_weights and facts.weights(files.class_weights),
        "gallery": packed,
        "choices": settings.choices(files.config),
        "config": yaml.safe_dump(files.config, sort_keys=False, allow_unicode=True),
        "environment": files.environment and settings.environment(files.environment),
    }


def _classes(files: RunFiles) -> list[dict[str, Any]]:
    labels = files.labels
    return [
        {
            "id": id_,
            "name": name,
            "color": hex_code(color),
            "light": readable(color, dark=False),
            "dark": readable(color, dark=True),
        }
        for id_, (name, color) in enumerate(zip(labels.names, labels.palette))
    ]


def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"

"""What all pages share: one file, no network, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any, Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from segkit.labels import LabelSpace
from segkit.report import facts
from segkit.report.colors import hex_code, readable

HERE = Path(__file__).parent


def save(path: Path, template: str, scripts: Sequence[str], content: dict[str, Any]) -> Path:
    """Renders a template of this folder and writes it; returns `path`.

    Args:
        path: the file.
        template: name of the template; it finds style, scripts and script_hashes in its context.
        scripts: names of the scripts to put into the page.
        content: the rest of the context.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=facts.count, score=facts.score, percent=facts.percent)
    codes = [_asset(name) for name in scripts]
    text = environment.get_template(template).render(
        style=Markup(_asset("report.css")),
        scripts=[Markup(code) for code in codes],
        script_hashes=" ".join(_hash(code) for code in codes),
        **content,
    )
    # Line feeds everywhere: the policy of the page holds hashes of its scripts.
    # File names may hold what is no text in UTF-8.
    path.write_text(text, encoding="utf-8", newline="\n", errors="backslashreplace")
    return path


def classes(labels: LabelSpace) -> list[dict[str, Any]]:
    """The id, the name and the colours of each class."""
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

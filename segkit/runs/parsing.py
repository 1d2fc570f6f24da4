"""The files of a run folder that hold names with values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

DECISIONS = "decisions.json"


def mapping(path: Path, parse: Any) -> dict[str, Any]:
    """What `parse` makes of the text of a file.

    Raises:
        ValueError: naming the file, if it is damaged or holds something else.
    """
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        first = str(error).split("\n")[0]
        way = "segkit calibrate writes it anew" if path.name == DECISIONS else "Restore it"
        raise ValueError(f"{path} cannot be read: {first}. {way}.") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold names with values. Received: {type(content).__name__}. Restore it."
        )
    return content

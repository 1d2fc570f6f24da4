"""The page of `segkit complete`: what was filled, and the images in which it is least sure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Sequence

from segkit.labels import LabelSpace
from segkit.report import gallery, page
from segkit.report.preview_page import Row, packed


def write(
    path: str | Path,
    labels: LabelSpace,
    rows: Sequence[tuple[Row, float]],
    *,
    title: str,
    classes: Sequence[dict[str, Any]],
    facts: Sequence[tuple[str, str]],
    notes: Sequence[str] = (),
    dry_run: bool = False,
) -> Path:
    """Writes one self-contained page.

    Args:
        path: the file, in a folder that exists.
        labels: of the completed masks.
        rows: each image as given and as completed, and how sure its new labels are.
        title: what the data set is called.
        classes: of each class, as `Tally.by_class` gives them, with take, drop and precision.
        facts: names and values to list.
        notes: sentences of warning, shown at the top.
        dry_run: whether nothing else was written.
    """
    known = page.classes(labels)
    views = [row.views for row, _ in rows]
    content = {
        "title": title,
        "dry_run": dry_run,
        "facts": facts,
        "notes": notes,
        "background": labels.background,
        "classes": known,
        "swatches": {entry["name"]: entry for entry in known},
        "table": classes,
        "truth": any("true_precision" in row for row in classes),
        "rows": [{"row": row, "confidence": sure} for row, sure in rows],
        "painted": {
            "space": gallery.space(labels),
            "items": [[packed(view, labels) for view in pair] for pair in views],
        },
    }
    return page.save(Path(path), "completion.html.jinja", ["paint.js", "preview.js"], content)

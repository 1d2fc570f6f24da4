"""Tables for terminals and logs, and text that is safe to show there and in spreadsheets."""

from __future__ import annotations

import math
from typing import Any, Mapping, Sequence

from rich.console import Console
from rich.table import Table

LONGEST_NAME = 40  # characters


def text(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], summary: Sequence[str] = ()
) -> str:
    """A table as plain text, as wide as its content.

    Args:
        title: a line above it.
        columns: the headers; the first column is flush left, the others right.
        rows: the cells.
        summary: one more row below a line, if there is one.
    """
    view = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        (
            view.add_column(column, justify="right", no_wrap=True)
            if number
            else view.add_column(column, no_wrap=True, max_width=LONGEST_NAME, overflow="ellipsis")
        )
    for row in rows:
        view.add_row(*row)
    if summary:
        view.add_section()
        view.add_row(*summary)
    # Wide enough for anything; a table takes only what it needs. Names are text, not markup.
    console = Console(width=10_000, color_system=None, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(view)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def ordered(blocks: Mapping[str, Any], split: str) -> list[str]:
    """How far off ordered classes are, a line a block of metrics.json; none where none are."""
    lines = []
    for name, against in ((split, "known cells"), (f"{split}/truth", "the truth")):
        found = blocks.get(name, {}).get("ordered")
        if found is None:
            continue
        unit = f" {plain(found['unit'])}" if found["unit"] else ""
        error = f"mean absolute error {_scored(found, 'mean_absolute_error')}{unit}"
        if found["mean_absolute_error_of_mean"] is not None:
            error += f", of the mean {_scored(found, 'mean_absolute_error_of_mean')}{unit}"
        kappa = f"quadratic weighted kappa {_scored(found, 'quadratic_weighted_kappa')}"
        lines.append(f"in order, on {against}: {error}, {kappa}")
    return lines


def cell(value: Any) -> str:
    """A value for CSV that no spreadsheet takes for a formula; None is an empty cell."""
    text = "" if value is None else plain(str(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") and not _is_number(text) else text


def plain(text: str) -> str:
    """A text without what would steer a terminal: control characters become what they are called.

    Marks that turn the direction of writing, with which a name could look like another, too.
    """
    return "".join(
        letter if letter.isprintable() else " " if letter in "\n\t" else ascii(letter)[1:-1]
        for letter in text
    )


def _scored(found: Mapping[str, Any], key: str) -> str:
    """A score, with its interval if it has one."""
    if found[key] is None:
        return "-"
    low, high = found.get(f"{key}_interval") or (None, None)
    return f"{found[key]:.4f}" + ("" if low is None else f" ({low:.3f} to {high:.3f})")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

"""Tables for terminals and logs."""

from __future__ import annotations

from typing import Sequence

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

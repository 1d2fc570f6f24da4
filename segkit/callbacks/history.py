"""The scores of every epoch as a table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from segkit.callbacks.writing import Writer, replacing


class History(Writer):
    """Writes what the log says after each epoch to a CSV file, one row an epoch.

    The columns are `epoch`, from 0, and all that was logged, in the order of the alphabet; what an
    epoch did not log is NA. The file is written whole, from `rows`, each time: training that goes
    on from an earlier epoch replaces the rows after it.

    Args:
        filename: the file.
    """

    def __init__(self, filename: str | Path):
        super().__init__()
        self.path = Path(filename)
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        earlier = [r for r in self.rows if r["epoch"] < epoch]
        self.rows = [*earlier, {"epoch": epoch, **row}]
        if self.writes:
            self.write()

    def write(self) -> None:
        """Writes the file.

        Raises:
            OSError: if that fails; the file there was is left as it was.
        """
        columns = sorted({name for row in self.rows for name in row} - {"epoch"})
        try:
            with replacing(self.path) as unfinished:
                with open(unfinished, "w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, ["epoch", *columns], restval="NA")
                    writer.writeheader()
                    writer.writerows(self.rows)
        except OSError as error:
            raise OSError(
                f"The scores could not be written to {self.path} ({error}); the file holds those "
                "of the epochs before. Free some space or choose another folder with output=DIR."
            ) from error

"""Temperature and thresholds that are kept with a run."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Sequence

from segkit.contract import is_number
from segkit.runs.parsing import mapping

EVEN = 0.5  # the threshold of a class that is chosen where it is the most probable one


@dataclass(frozen=True)
class Decisions:
    """How probabilities become a decision, as tuned on validation data.

    temperature: T of softmax(logits / T), above 0; 1 changes nothing.
    thresholds: one a class, inside (0, 1); see `segkit.inference.decide`.
    score: what the thresholds were tuned for.
    """

    temperature: float
    thresholds: tuple[float, ...]
    score: str = ""

    def __post_init__(self):
        if not is_number(self.temperature) or not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature must be a number above 0. Received: {self.temperature!r}."
            )
        if not all(is_number(value) and 0 < value < 1 for value in self.thresholds):
            raise ValueError(
                f"thresholds must lie between 0 and 1, without both. Received: {self.thresholds}."
            )

    def to_json(self, path: Path, names: Sequence[str]) -> None:
        """Writes them under the names of the classes; the file is whole or not there."""
        content = {
            "temperature": float(self.temperature),
            "score": self.score,
            "thresholds": {name: float(value) for name, value in zip(names, self.thresholds)},
        }
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def from_json(cls, path: Path, names: Sequence[str]) -> Decisions:
        """Reads what `to_json` wrote.

        Raises:
            ValueError: naming the file, if it is damaged or of other classes.
        """
        content = mapping(path, json.loads)
        found = content.get("thresholds")
        if not isinstance(found, Mapping) or list(found) != list(names):
            there = list(found) if isinstance(found, Mapping) else found
            raise ValueError(
                f"{path} must have a threshold for each class, {', '.join(names)}. Received: "
                f"{there}. segkit calibrate writes it anew."
            )
        try:
            thresholds = tuple(found.values())
            return cls(content.get("temperature"), thresholds, str(content.get("score", "")))
        except ValueError as error:
            raise ValueError(f"{path}: {error} segkit calibrate writes it anew.") from error

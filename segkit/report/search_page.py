"""The page of a search: search folder in, search.html and two pictures out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from statistics import median
from typing import Any, Mapping, Sequence

from matplotlib.figure import Figure

from segkit.report import page, search_plots
from segkit.report.plots import data_uri

PAGE, HISTORY, IMPORTANCE = "search.html", "history.png", "importance.png"
LISTED = 200  # trials in the table of the page; trials.csv has all

_FIXED = ("trial", "state", "score", "epochs", "seconds", "seed", "error")


def write(folder: str | Path, command: str | None) -> Path:
    """Writes search.html into a search folder, from the files that the search left there.

    The page is self-contained, as all of ours are.

    Args:
        folder: of the search.
        command: that trains as the best trial did; None: none finished.

    Returns:
        The path of the page.

    Raises:
        OSError, ValueError: if search.json or trials.csv cannot be read.
    """
    folder = Path(folder)
    asked = json.loads((folder / "search.json").read_text(encoding="utf-8"))
    trials, keys = _trials(folder / "trials.csv")
    importance = _importance(folder / "importance.csv")
    score, maximizes = asked["search"]["score"], asked["search"]["direction"] == "maximize"
    scored = [trial for trial in trials if trial["score"] is not None]
    best_first = sorted(
        trials, key=lambda t: _place(t["state"], t["score"], maximizes), reverse=True
    )
    numeric = [key for key in keys if _is_numeric(scored, key)]
    low, high = search_plots.shown_range(trials)
    content = {
        "cut": sum(not low <= trial["score"] <= high for trial in scored),
        "score_name": score,
        "command": command,
        "counts": {
            state: sum(trial["state"] == state for trial in trials)
            for state in ("finished", "pruned", "failed", "running")
        },
        "best": best_first[0] if best_first and best_first[0]["state"] == "finished" else None,
        "keys": keys,
        "seeds": len({trial["seed"] for trial in trials}) > 1,
        "trials": best_first[:LISTED],
        "more": max(0, len(trials) - LISTED),
        "failures": [trial for trial in trials if trial["state"] == "failed"][:LISTED],
        "importance": importance,
        "history": _history(trials, score, maximizes) if scored else None,
        "scatters": [_scatter(scored, key, score) for key in numeric],
        "choices": [_choices(scored, k, maximizes) for k in keys if k not in numeric and scored],
        "asked": {k: v for k, v in asked["search"].items() if k != "space"},
        "space": asked["search"]["space"] or {},
        "overrides": asked["overrides"],
    }
    _pictures(folder, trials if scored else [], score, maximizes, importance)
    return page.save(folder / PAGE, "search.html.jinja", [], content)


def _trials(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    keys = [name for name in reader.fieldnames or [] if name not in _FIXED]
    for row in rows:
        row["number"] = int(row["trial"])
        row["score"] = float(row["score"]) if row["score"] else None
        row |= {key: _value(row[key]) for key in keys}
    return rows, keys


def _importance(path: Path) -> list[tuple[str, float]]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["key"], float(row["importance"])) for row in csv.DictReader(file)]


def _value(text: str) -> Any:
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _is_numeric(trials: Sequence[Mapping[str, Any]], key: str) -> bool:
    values = [trial[key] for trial in trials if trial[key] is not None]
    return len(set(values)) > 1 and all(isinstance(value, (int, float)) for value in values)


def _place(state: str, score: float | None, maximizes: bool) -> tuple[int, float]:
    order = ("running", "failed", "pruned", "finished").index(state)
    return order, 0.0 if score is None else score if maximizes else -score


def _history(trials: Sequence[dict[str, Any]], score: str, maximizes: bool) -> dict[str, str]:
    light, dark = (search_plots.history(trials, score, maximizes, mode) for mode in (0, 1))
    return {"light": data_uri(light), "dark": data_uri(dark)}


def _scatter(trials: Sequence[dict[str, Any]], key: str, score: str) -> dict[str, str]:
    light, dark = (search_plots.scatter(trials, key, score, mode) for mode in (0, 1))
    return {"title": key, "light": data_uri(light), "dark": data_uri(dark)}


def _choices(trials: Sequence[dict[str, Any]], key: str, maximizes: bool) -> dict[str, Any]:
    """For each value of a key: how many trials, and the best and the median of those finished."""
    rows = []
    for value in dict.fromkeys(trial[key] for trial in trials if trial[key] is not None):
        own = [trial for trial in trials if trial[key] == value]
        done = [trial["score"] for trial in own if trial["state"] == "finished"]
        rows.append(
            {
                "value": value,
                "trials": len(own),
                "finished": len(done),
                "best": (max if maximizes else min)(done, default=None),
                "median": median(done) if done else None,
            }
        )
    rows.sort(key=lambda row: _place("finished", row["best"], maximizes), reverse=True)
    rows.sort(key=lambda row: row["best"] is None)
    return {"key": key, "rows": rows}


def _pictures(
    folder: Path,
    trials: Sequence[dict[str, Any]],
    score: str,
    maximizes: bool,
    importance: Sequence[tuple[str, float]],
) -> None:
    """The same pictures as files, for slides and papers."""
    drawn: dict[str, Figure] = {}
    if trials:
        drawn[HISTORY] = search_plots.history(trials, score, maximizes, mode=0)
    if importance:
        drawn[IMPORTANCE] = search_plots.shares(importance, mode=0)
    for name in (HISTORY, IMPORTANCE):
        if name in drawn:
            drawn[name].savefig(folder / name, dpi=144, metadata={"Software": None})
        else:
            (folder / name).unlink(missing_ok=True)

"""What a check found, as one mapping for JSON and as text for terminals."""

from __future__ import annotations

from collections import Counter
from typing import Any, Mapping, Sequence

import numpy as np

from segkit import tables
from segkit.class_counts import ClassCounts
from segkit.data.checks.balance import percent
from segkit.data.checks.coverage import shares
from segkit.data.checks.specimens import Specimen
from segkit.data.folder.dataset import DataSet
from segkit.data.layout import count_images
from segkit.data.problems import Problem
from segkit.report.check_page import grouped

SHOWN = 3  # problems of one kind that the terminal spells out
_GLOSSARY = (
    "present, verified absent: images that somebody searched for the class, and that show it or "
    "do not.\nunknown: images in which nobody looked for it.\nshare: of the judged pixels in the "
    "images where somebody looked for the class."
)


def result(
    name: str,
    sets: Mapping[str, DataSet],
    counts: Mapping[str, ClassCounts],
    problems: Sequence[Problem],
    samples: Sequence[Specimen],
) -> dict[str, Any]:
    """What check.json holds: the verdict, problems, coverage of each split, values of the files.

    Args:
        name: what to call the data.
        sets: the data sets on disk, by name.
        counts: of each split.
        problems: all of them.
        samples: what the page shows.
    """
    kinds = [problem.kind for problem in problems if problem.fatal]
    fatal = len(kinds)
    splits = {
        split: _with_shares(found.to_dict(), shares(found)) for split, found in counts.items()
    }
    on_disk = sum(len(data.pairs) for data in sets.values())
    images = on_disk if sets else sum(found.total_images for found in counts.values())
    return {
        "name": name,
        "verdict": _verdict(kinds, len(problems) - fatal, bool(sets)),
        "errors": fatal,
        "warnings": len(problems) - fatal,
        "images": images,
        "images_found": max(images, sum(count_images(data.root) for data in sets.values())),
        "problems": [problem._asdict() for problem in problems],
        "splits": splits,
        "data_sets": [_files(key or name, data) for key, data in sets.items()],
        "samples": [{"name": s.name, "why": s.why, "wrong": s.wrong} for s in samples],
    }


def text(found: Mapping[str, Any]) -> str:
    """A `result` for the terminal: a table a split, and the first problems of each kind."""
    parts = [_table(split, entry) for split, entry in found["splits"].items()]
    parts += [_GLOSSARY] if parts else []
    for group in grouped(found["problems"], SHOWN):
        times = f" ({group['count']:,} times)" if group["count"] > 1 else ""
        lines = [f"{'ERROR' if group['fatal'] else 'warning'}: {group['kind']}{times}"]
        lines += ["  " + line.replace("\n", "\n  ") for line in group["texts"]]
        lines += [f"  ... and {group['more']:,} more"] if group["more"] else []
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def mixed_sizes(data: DataSet, size: Any) -> list[Problem]:
    """Warns of images of different sizes where they are to keep them (`size` None)."""
    sizes = Counter(facts.size for facts in data.facts)
    if size is not None or len(sizes) < 2:
        return []
    common = ", ".join(f"{h}x{w} ({n:,})" for (h, w), n in sizes.most_common(3))
    return [
        Problem(
            "images of several sizes",
            str(data.root),
            f"The images in {data.root} have {len(sizes)} sizes, {common} among them, and "
            "data.size=null keeps them: training stops, as they do not fit into one batch, unless "
            "it cuts patches (patches=random). Or set data.size.",
            fatal=False,
        )
    ]


def _verdict(fatal: Sequence[str], mild: int, on_disk: bool) -> str:
    """In a sentence; `fatal` holds the kind of each error."""
    drawn = "" if on_disk else " These data are drawn, so there is nothing on disk to check."
    if fatal:
        number, kinds = len(fatal), len(set(fatal))
        errors = f"{number:,} error{'s' if number > 1 else ''}"
        if number > kinds:
            errors += f" of {kinds} kind{'s' if kinds > 1 else ''}"
        return f"Training would stop or go wrong: {errors} to mend first.{drawn}"
    if mild:
        return f"Training can begin. {mild:,} warning{'s' if mild > 1 else ''} to look at.{drawn}"
    return f"Training can begin; nothing looks wrong.{drawn}"


def _with_shares(entry: dict[str, Any], share: np.ndarray) -> dict[str, Any]:
    for row, value in zip(entry["classes"], share.tolist()):
        row["share"] = value if row["annotated"] else None
    return entry


def _table(split: str, entry: Mapping[str, Any]) -> str:
    keys = ("present", "verified_absent", "unknown", "pixels")
    rows = [
        [row["name"], *(f"{row[key]:,}" for key in keys)]
        + ["-" if row["share"] is None else percent(row["share"])]
        for row in entry["classes"]
    ]
    heads = ["class", "present", "verified absent", "unknown", "pixels", "share"]
    return tables.text(f"{split}: {entry['images']:,} images", heads, rows)


def _files(name: str, data: DataSet) -> dict[str, Any]:
    sizes = Counter("{}x{}".format(*facts.size) for facts in data.facts)
    values = [facts.values for facts in data.facts if facts.values is not None]
    channels = []
    if values:
        low, high, mean = (
            reduce([getattr(value, part) for value in values], axis=0)
            for part, reduce in (("low", np.min), ("high", np.max), ("mean", np.mean))
        )
        rows = zip(low.tolist(), high.tolist(), mean.tolist())
        channels = [{"low": a, "high": b, "mean": m} for a, b, m in rows]
    return {
        "name": name,
        "root": str(data.root),
        "images": len(data.pairs),
        "sizes": dict(sizes.most_common()),
        "dtypes": dict(Counter(value.dtype for value in values).most_common()),
        "channels": channels,
    }

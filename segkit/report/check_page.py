"""The page of one `segkit check`: what was found, who looked for what, and samples to look at."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any, Mapping, Sequence

from PIL import Image

from segkit.labels import LabelSpace
from segkit.report import facts, gallery, page

PAGE = "check.html"
EXACT_PIXELS = 64 * 64  # samples are to be recognised, so larger ones become JPEGs
SHOWN = 10  # problems of one kind that the page spells out
# Kinds that may only follow from what is wrong with the files.
CONSEQUENCES = ("splits", "empty split", "nothing to learn", "class without evidence")


def write(
    path: str | Path, result: Mapping[str, Any], labels: LabelSpace | None, samples: Sequence[Any]
) -> Path:
    """Writes the page into one self-contained file, small whatever the size of the data set.

    Args:
        path: the file.
        result: what check.json holds; see `segkit.checking.check`.
        labels: of the coverage; None if there is none.
        samples: with the fields of `segkit.data.checks.specimens.Specimen`.

    Returns:
        The path.
    """
    coverage = facts.coverage(result["splits"], labels) if labels is not None else []
    classes = page.classes(labels) if labels is not None else []
    items, painted = _packed(samples)
    content = {
        "name": result["name"],
        "images": result["images"],
        "images_found": result["images_found"],
        "fatal": result["errors"],
        "warnings": result["warnings"],
        "verdict": result["verdict"],
        "groups": grouped(result["problems"], SHOWN),
        "coverage": coverage,
        "balance": _balance(result["splits"]),
        "classes": classes,
        "swatches": {entry["name"]: entry for entry in classes},
        "samples": {"items": items},
        "painted": painted,
        "files": [{"name": s["name"], "rows": _rows(s)} for s in result["data_sets"]],
        "no_files": "The data are drawn, not read: there are no files.",
    }
    return page.save(Path(path), "check.html.jinja", ["paint.js", "check.js"], content)


def grouped(problems: Sequence[Mapping[str, Any]], most: int) -> list[dict[str, Any]]:
    """Problems by kind, fatal ones and causes first: the first texts, how many more there are.

    What is said of several files in the same words is said once, with the files behind it.

    Args:
        problems: with the fields of `segkit.data.problems.Problem`.
        most: texts of a kind, and files behind each.
    """

    def order(problem: Mapping[str, Any]) -> tuple[bool, bool, str]:
        return not problem["fatal"], problem["kind"] in CONSEQUENCES, problem["kind"]

    groups = []
    for (mild, _, kind), alike in groupby(sorted(problems, key=order), key=order):
        listed = list(alike)
        same = _said_alike(listed)
        groups.append(
            {"kind": kind, "fatal": not mild, "count": len(listed)}
            | {"texts": [_text(some, most) for some in same[:most]]}
            | {"more": sum(len(some) for some in same[most:])}
        )
    return groups


def _said_alike(problems: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Problems whose texts differ in nothing but their files, together."""
    same: dict[Any, list[Mapping[str, Any]]] = {}
    for number, problem in enumerate(problems):
        path = problem["path"]
        named = path and path in problem["text"]
        key = tuple(problem["text"].split(path)) if named else number
        same.setdefault(key, []).append(problem)
    return list(same.values())


def _text(same: Sequence[Mapping[str, Any]], most: int) -> str:
    others = [problem["path"] for problem in same[1 : most + 1]]
    more = len(same) - 1 - len(others)
    rest = f" Likewise {', '.join(others)}{f' and {more:,} more' if more else ''}."
    return same[0]["text"] + (rest if others else "")


def _balance(splits: Mapping[str, Any]) -> list[dict[str, Any]]:
    tables = [entry["classes"] for entry in splits.values()]
    return [
        {"name": rows[0]["name"], "shares": [row["share"] for row in rows]} for rows in zip(*tables)
    ]


def _packed(samples: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What the template shows of each sample, and what the script paints."""
    items, drawn, spaces = [], [], []
    for sample in samples:
        space = gallery.space(sample.labels)
        if space not in spaces:
            spaces.append(space)
        height, width = sample.mask.shape
        common = {"name": sample.name, "width": width, "height": height}
        picture = gallery.data_uri(Image.fromarray(sample.image), EXACT_PIXELS)
        items.append({**common, "why": sample.why, "wrong": sample.wrong, "image": picture})
        drawn.append(
            {**common, "mask": gallery.encode_mask(sample.mask), "space": spaces.index(space)}
            | {"annotated": [bool(looked) for looked in sample.annotated]}
        )
    return items, {"spaces": spaces, "items": drawn}


def _rows(data_set: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("root", data_set["root"]), ("images", f"{data_set['images']:,}")]
    if data_set["sizes"]:
        rows.append(("sizes", _listed(data_set["sizes"])))
    if data_set["dtypes"]:
        rows.append(("dtypes", _listed(data_set["dtypes"])))
    for c, values in enumerate(data_set["channels"]):
        text = "from {low:.6g} to {high:.6g}, mean {mean:.4g}".format(**values)
        rows.append((f"channel {c}", text))
        if c == 15 < len(data_set["channels"]) - 1:
            rows.append(("more channels", "in check.json"))
            break
    return rows


def _listed(counted: Mapping[str, int], most: int = 8) -> str:
    parts = [f"{name} ({number:,})" for name, number in list(counted.items())[:most]]
    more = len(counted) - most
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")

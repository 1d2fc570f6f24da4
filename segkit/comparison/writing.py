"""A comparison as CSV and as LaTeX, and its numbers and names as text."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Sequence

from segkit.comparison import scores
from segkit.comparison.choices import Column
from segkit.comparison.folders import Run, number
from segkit.comparison.groups import Group, Test
from segkit.replicates import Interval
from segkit.tables import cell, plain

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "[": "{[}",  # behind \\, it would begin an argument
    "*": "{*}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
}


def write_csv(
    path: Path,
    columns: Sequence[Column],
    groups: Sequence[Group],
    tests: Sequence[Test],
    score: str,
) -> None:
    """One row a group, best first; an empty cell is a number that there is no evidence for."""
    names = class_names(groups)
    by_group = {test.group: test for test in tests}
    keys = ["mean", "low", "high"]
    header = [column.key for column in columns] + ["runs", "n"]
    header += [f"{score}_{key}" for key in keys]
    header += ["pairs", *(f"difference_{key}" for key in keys), "p", "p_uncorrected", "p_exact"]
    header += [f"iou_{name}" for name in names]
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([cell(name) for name in header])
        for at, group in enumerate(groups):
            row = [*map(cell, group.texts), len(group.members), group.score.n, *_three(group.score)]
            test = by_group.get(at)
            if test is None:
                row += [""] * 7
            else:
                found = test.pairs.difference
                row += [
                    found.n,
                    *_three(found),
                    *map(_exactly, (test.p, test.pairs.p, test.pairs.exact)),
                ]
            row += [_exactly(group.per_class.get(name, {}).get("iou")) for name in names]
            writer.writerow(row)


def write_runs(
    path: Path,
    columns: Sequence[Column],
    runs: Sequence[Run],
    blocks: Sequence[Any],
    values: Sequence[float | None],
    score: str,
    replicates: Sequence[str],
) -> None:
    """One row a run, in the order in which they were found."""
    names = list(dict.fromkeys(row["name"] for block in blocks for row in scores.classes(block)))
    scored = [score] if score not in ("mean_iou", "mean_dice") else []
    scored += ["mean_iou", "mean_dice"]
    scored += [f"{key}_{name}" for name in names for key in ("iou", "dice")]
    of_machine = ["seconds", "best_epoch", "started"]
    header = ["run", *(column.key for column in columns), *replicates]
    with open(path, "w", newline="", encoding="utf-8", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([cell(name) for name in dict.fromkeys([*header, *scored, *of_machine])])
        for at, (run, block) in enumerate(zip(runs, blocks)):
            row = {"run": run.name} | {column.key: column.values[at] for column in columns}
            row |= {key: _said(run.config, key) for key in replicates}
            found = {key: number((block or {}).get(key)) for key in scored}
            for entry in scores.classes(block):
                for key in ("iou", "dice"):
                    found[f"{key}_{entry['name']}"] = number(entry.get(key))
            found[score] = values[at]
            row |= {key: _exactly(value) for key, value in found.items()}
            row |= {key: run.environment.get(key) for key in of_machine}
            writer.writerow([cell(value) for value in row.values()])


def write_latex(
    path: Path,
    columns: Sequence[Column],
    groups: Sequence[Group],
    tests: Sequence[Test],
    score: str,
) -> None:
    r"""A tabular for \usepackage{booktabs}; the best mean is bold."""
    by_group = {test.group: test for test in tests}
    header = [*(column.key for column in columns), "n", score]
    header += ["difference", "p"] if tests else []
    places = "l" * len(columns) + "r" * (len(header) - len(columns))
    lines = [r"\begin{tabular}{%s}" % places, r"\toprule", _row(map(latex, header)), r"\midrule"]
    for at, group in enumerate(groups):
        row = ["--" if text is None else latex(text) for text in group.shown]
        row += [str(group.score.n), _plus_minus(group.score, bold=at == 0 and len(groups) > 1)]
        if tests:
            test = by_group.get(at)
            row += (
                ["--", "--"]
                if test is None
                else [_plus_minus(test.pairs.difference), latex(probability(test.p))]
            )
        lines.append(_row(row))
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    path.write_text("\n".join(lines), encoding="utf-8", errors="backslashreplace")


def latex(text: str) -> str:
    """A text that LaTeX shows as it is, and runs nothing of; without control characters."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(plain(text).split()))


def class_names(groups: Sequence[Group]) -> list[str]:
    """The classes of all groups, in the order of the first that has them."""
    return list(dict.fromkeys(name for group in groups for name in group.per_class))


def decimals(value: float | None) -> str:
    """Four decimals, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """Four decimals with a sign, or a dash."""
    return "-" if value is None else f"{value:+.4f}"


def between(found: Interval, say: Any = decimals) -> str:
    """An interval, or a dash."""
    return "-" if found.low is None else f"{say(found.low)} to {say(found.high)}"


def probability(p: float | None) -> str:
    """A p value: two digits that count, or "<0.001"."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _plus_minus(found: Interval, bold: bool = False) -> str:
    if found.mean is None:
        return "--"
    text = rf"$\mathbf{{{found.mean:.3f}}}" if bold else f"${found.mean:.3f}"
    return f"{text}$" if found.half is None else rf"{text} \pm {found.half:.3f}$"


def _row(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


def _three(found: Interval) -> list[str]:
    return [_exactly(value) for value in (found.mean, found.low, found.high)]


def _exactly(value: float | None) -> str:
    return "" if value is None else f"{value:.9g}"


def _said(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config

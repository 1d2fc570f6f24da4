"""What `segkit evaluate` says on the terminal."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from segkit import tables


def text(blocks: Mapping[str, Any], split: str) -> str:
    """The table of the classes, and a sentence on each thing that it does not show.

    Args:
        blocks: what metrics.json holds, with `settings` in the block of the split.
        split: its name.
    """
    order = tables.ordered(blocks, split)
    return "\n".join([table(blocks, split), *order, *notes(blocks[split])])


def table(blocks: Mapping[str, Any], split: str) -> str:
    """Scores on known cells, one row a class; those of outlines are medians over images."""
    block, truth = blocks[split], blocks.get(f"{split}/truth")
    settings = block["settings"]
    outlines = ["surface Dice", f"HD95 in {settings['unit']}"]
    columns = ["IoU", f"{percent(settings)} interval", "Dice", "precision", "recall", "AP"]
    columns = ["class", *columns, *outlines, "images"]
    rows = [_row(row) for row in block["per_class"]]
    summary = ["mean", _number(block["mean_iou"]), _pair(block["mean_iou_interval"])]
    summary += [_number(block["mean_dice"]), *[""] * 6]
    if truth is not None:
        columns.append("true IoU")
        for row, true in zip([*rows, summary], [*truth["per_class"], {"iou": truth["mean_iou"]}]):
            row.append(_number(true["iou"]))
    return tables.text(f"{split}, on known cells", columns, rows, summary)


def notes(block: Mapping[str, Any]) -> Iterator[str]:
    """What stands behind the numbers, or keeps some of them away; a sentence each."""
    settings, calibration = block["settings"], block["calibration"]
    if calibration["ece"] is not None:
        whose = "ECE" if settings.get("exclusive", True) else "ECE (the mean of the classes)"
        yield (
            f"calibration: {whose} {calibration['ece']:.4f}, MCE {calibration['mce']:.4f}"
            f"{_tuned(settings['decisions'])}"
        )
    yield intervals(settings)
    silent = [row["name"] for row in block["per_class"] if not row["images"]]
    if silent:
        yield f"without evidence, and in no mean: {', '.join(silent)}"
    lost = [(row["name"], row["hausdorff_95"]["infinite"]) for row in block["per_class"]]
    listed = ", ".join(f"{name} {count:,}" for name, count in lost if count)
    if listed:
        yield f"images in which only one of prediction and annotation has the class: {listed}"


def intervals(settings: Mapping[str, Any]) -> str:
    """What the intervals were made of, or why there are none."""
    count, unit = settings["units"], settings["unit_of_intervals"]
    what = f"{count:,} {unit}{'s' * (count != 1)}"
    if not settings["bootstrap"]:
        return "no intervals: bootstrap=0"
    if count < 2:
        more = "" if unit == "image" else "; groups=none resamples single images"
        return f"no intervals: they need two {unit}s, and there is {what}{more}"
    return f"{percent(settings)} intervals: {settings['bootstrap']:,} bootstrap samples of {what}"


def percent(settings: Mapping[str, Any]) -> str:
    """The level of the intervals, `95 %`."""
    return f"{100 * settings['level']:.4g} %"


def _tuned(decisions: Mapping[str, Any] | None) -> str:
    if decisions is None:
        return ""
    found = decisions["temperature"]
    temperature = "each run its own temperature" if found is None else f"temperature {found:.4g}"
    return f" (with the thresholds of segkit calibrate, {temperature})"


def _row(row: Mapping[str, Any]) -> list[str]:
    scores = [_number(row[key]) for key in ("dice", "precision", "recall", "average_precision")]
    outlines = [_middle(row["surface_dice"], 4), _middle(row["hausdorff_95"], 2)]
    first = [row["name"], _number(row["iou"]), _pair(row["iou_interval"])]
    return [*first, *scores, *outlines, f"{row['images']:,}"]


def _middle(found: Mapping[str, Any], digits: int) -> str:
    if found["median"] is None:
        return "inf" if found["infinite"] else "-"
    return f"{found['median']:.{digits}f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _pair(values: Sequence[float] | None) -> str:
    return "-" if values is None else f"{values[0]:.3f} to {values[1]:.3f}"

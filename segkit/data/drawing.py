"""Which images are drawn for a split: a matter of their stems and the seed."""

from __future__ import annotations

import hashlib

from segkit.data.layout import Pair


def with_val(pairs: dict[str, list[Pair]], fraction: float, seed: int) -> dict[str, list[Pair]]:
    """Splits a share of "train", or of the only split "", off as "val" where there is none.

    Raises:
        ValueError: if there is only one image to split.
    """
    whole = pairs.get("", pairs.get("train"))
    if whole is None or "val" in pairs or fraction == 0:
        return {name or "train": found for name, found in pairs.items()}
    if len(whole) < 2:
        raise ValueError(
            f"Splitting needs at least 2 images. Received: {whole[0].image} alone. "
            "Add images, bring a folder val/, or set val_fraction=0."
        )
    count = min(max(1, round(fraction * len(whole))), len(whole) - 1)
    val = drawn(whole, count, f"val:{seed}")
    names = {pair.name for pair in val}
    train = [pair for pair in whole if pair.name not in names]
    rest = {name: found for name, found in pairs.items() if name == "test"}
    return {"train": train, "val": val, **rest}


def drawn(pairs: list[Pair], count: int, salt: str) -> list[Pair]:
    """`count` of the pairs, in their order: those whose hash of salt and stem is smallest."""
    chosen = sorted(
        range(len(pairs)),
        key=lambda i: hashlib.sha256(f"{salt}:{pairs[i].name}".encode()).digest(),
    )[:count]
    return [pairs[i] for i in sorted(chosen)]

"""Which group is best, how sure that is, and whether it can be told from the second; in words."""

from __future__ import annotations

from typing import Any, Sequence

from segkit.comparison.groups import Group, compare
from segkit.comparison.writing import between, decimals, probability, signed
from segkit.replicates import Paired


def verdict(groups: Sequence[Group], score: str, level: float, keys: str) -> dict[str, Any]:
    """The best group against the second, over the seeds that both have.

    Args:
        groups: best first.
        score: its name.
        level: told apart means p < 1 - level.
        keys: what tells repeated runs apart, for the words.

    Returns:
        {"text", "apart"}; apart is None where nothing can be said.
    """
    scored = [group for group in groups if group.score.mean is not None]
    if not scored:
        return {"text": f"No run has a {score}: there is no evidence for it.", "apart": None}
    best = scored[0]
    text = f"Best: {best.label}, with {_of(best, score, level, keys)}."
    if len(scored) == 1:
        told = "It is the only group." if len(groups) == 1 else "No other group has that score."
        return {"text": f"{text} {told}", "apart": None}
    second = scored[1]
    pairs = compare(best, second, level)
    text += f" Second: {second.label}, with {decimals(second.score.mean)}."
    if pairs.p is None:
        return {"text": f"{text} {_untested(pairs, keys)}", "apart": None}
    apart = pairs.p < 1 - level
    told = "The two are told apart" if apart else "The two are not told apart"
    found = pairs.difference
    text += (
        f" {told}: {signed(found.mean)} ({between(found, signed)}), p = {_p(pairs.p)} of a paired "
        f"t test over {found.n} pairs of runs."
    )
    return {"text": text, "apart": apart}


def why_untested(pairs: Paired, keys: str) -> str:
    """Why there is no p value; "" if there is one."""
    return "" if pairs.p is not None else _untested(pairs, keys)


def _untested(pairs: Paired, keys: str) -> str:
    found = pairs.difference
    if found.n == 0:
        return f"They are not tested: no {keys} is the same in both."
    if found.n == 1:
        return (
            f"They are not tested: there is one pair of runs ({signed(found.mean)}), and nothing "
            f"that shows how much chance does. Repeat both with more seeds: {keys}=0,1,2."
        )
    return f"They are not tested: all {found.n} differences are {signed(found.mean)}."


def _of(group: Group, score: str, level: float, keys: str) -> str:
    found = group.score
    if found.low is None:
        return f"{score} {decimals(found.mean)} (one {keys}, so without interval)"
    return (
        f"{score} {decimals(found.mean)} ({100 * level:g} % interval {between(found)}, "
        f"{found.n} runs)"
    )


def _p(p: float) -> str:
    text = probability(p)
    return text.replace("<", "less than ") if text.startswith("<") else text

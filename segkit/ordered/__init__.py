"""Ordered classes: what each stands for, from scores to classes, and from probabilities back.

Grades, bins of a depth, heights: classes in an order, each with a number that it stands for.
"""

from segkit.ordered.bins import (
    Bins,
    check_order,
    checked_bins,
    checked_values,
    named_bins,
)
from segkit.ordered.coding import decode, encode

__all__ = [
    "Bins",
    "check_order",
    "checked_bins",
    "checked_values",
    "decode",
    "encode",
    "named_bins",
]

"""Data sets with different classes, joined into one."""

from segkit.data.joined.source import Joined, splits

__all__ = ["Joined", "splits"]

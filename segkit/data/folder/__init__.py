"""Folder data sets: what lies there, what is wrong with it, and its splits as sources."""

from segkit.data.folder.dataset import DataSet, examine
from segkit.data.folder.source import Folder, splits, warn
from segkit.data.problems import BadData

__all__ = ["BadData", "DataSet", "Folder", "examine", "splits", "warn"]

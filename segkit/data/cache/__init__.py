"""Decoded images, so that each file is decoded once: in memory, or in files that runs share."""

from segkit.data.cache.caches import (
    Cache,
    MemoryCache,
    NoCache,
    content_key,
    file_key,
    open_cache,
)
from segkit.data.cache.disk import DiskCache
from segkit.data.cache.entries import frozen

__all__ = [
    "Cache",
    "DiskCache",
    "MemoryCache",
    "NoCache",
    "content_key",
    "file_key",
    "frozen",
    "open_cache",
]

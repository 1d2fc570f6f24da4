"""Work on many items in threads: in order, with few results at once, under a bar on terminals."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterator, Sequence, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")
Result = TypeVar("Result")

_AHEAD = 2  # items a worker may be ahead of whoever takes the results


def ordered(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    text: str = "",
    workers: int | None = None,
) -> Iterator[Result]:
    """Yields function(item) for each item, in the order of the items.

    A few results at most wait to be taken, so memory does not grow with the number of items. An
    exception comes out where the result of its item would, and ends the work.

    Args:
        function: called in threads; it gains from them as far as it leaves Python's lock alone, as
            reading, decoding and hashing do.
        items: the arguments.
        text: what a bar on stderr says while this runs, on terminals only; "" for no bar.
        workers: number of threads; None: one a core, at least two (one may wait for the disk).
    """
    workers = workers or max(2, os.cpu_count() or 1)
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(30), MofNCompleteColumn()
    hidden = not text or not console.is_terminal
    bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden)
    pool = ThreadPoolExecutor(workers)
    try:
        with bar:
            task = bar.add_task(text, total=len(items))
            waiting: deque = deque()
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers * _AHEAD:
                    yield waiting.popleft().result()
                    bar.advance(task)
            while waiting:
                yield waiting.popleft().result()
                bar.advance(task)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)

"""What workers tell the process that had them started, and in which words it is told on."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import Any, Mapping, NamedTuple

from segkit.explaining import explain


class Mistake(NamedTuple):
    """What went wrong in a worker, if the user can mend it and starting again cannot."""

    rank: int
    host: str
    error: Exception


class Failure(NamedTuple):
    """What went wrong in workers, if starting again may mend it."""

    words: str


def portable(error: Exception) -> Exception:
    """The same words in an error that can be sent to another process."""
    return error if isinstance(error, OSError) else ValueError(explain(error))


def worded(mistake: Mistake, messages: Any) -> Exception:
    """The error of a mistake, which names the worker if the first one has not met with it.

    Args:
        mistake: the one that was told first.
        messages: the queue that the others come from.
    """
    end = time.monotonic() + 2
    while mistake.rank and time.monotonic() < end:
        with contextlib.suppress(queue.Empty):
            other = messages.get(timeout=0.2)
            if isinstance(other, Mistake) and other.rank == 0:
                return other.error
    if mistake.rank == 0:
        return mistake.error
    return ValueError(f"On worker {mistake.rank} ({mistake.host}): {explain(mistake.error)}")


def described(errors: Mapping[int, Exception]) -> str:
    """What went wrong, in a line.

    Args:
        errors: by number of the worker. Where one died, that is why the others failed.
    """
    rank, error = min(errors.items(), key=lambda item: (not _is_death(item[1]), item[0]))
    if _is_death(error):
        return f"Worker {rank} died"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"Worker {rank} failed ({type(error).__name__}: {first[:200].rstrip('.')})"


def given_up(error: Exception, restarts: int) -> Exception:
    """What to raise once Ray starts the workers no more."""
    errors = getattr(error, "worker_failures", {})
    if not any(map(_is_death, errors.values())):
        return RuntimeError(f"Training failed {restarts + 1} times. {error}")
    return ChildProcessError(
        f"{described(errors)}, after {restarts} restarts: it was killed, had no memory left, or "
        "crashed. The same command goes on from the last checkpoint; trainer.restarts=N allows "
        "more restarts."
    )


def _is_death(error: Exception) -> bool:
    from ray.exceptions import RayActorError

    # Ray may have met with it when it asked how the worker does.
    return isinstance(getattr(error, "health_check_failure", error), RayActorError)

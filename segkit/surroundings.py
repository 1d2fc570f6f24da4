"""What a verb of the command line runs in: its arguments, quiet libraries, nothing left behind."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path
from typing import IO, Any, Iterator

# What a run folder may hold before config.yaml makes it one.
BEFORE_A_RUN = (".claim", "normalization.json", "class_weights.json", "labels.json")
BEFORE_A_RUN += ("splits.csv", "coverage.json")


def quoted(text: str) -> str:
    """A text as a value in an override of Hydra, whatever is in it."""
    # Of backslashes only those before a quote are escaped.
    escaped = re.sub(r'(\\*)("|$)', lambda m: m[1] * 2 + m[2].replace('"', '\\"'), text)
    return f'"{escaped}"'


@contextlib.contextmanager
def of_a_verb(argv: list[str]) -> Iterator[None]:
    """What a verb runs in: its arguments, quiet libraries, warnings as one line in the log."""
    variables, arguments, plain = dict(os.environ), sys.argv, warnings.formatwarning
    ends = _end_by_signal()
    # Before TensorFlow is imported: its start-up notes are for its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions over, for our words
    sys.argv = argv
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}"
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            # In a sweep every job has a log of its own, so each is warned again.
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        if ends is not None:
            signal.signal(signal.SIGTERM, ends)
        logging.captureWarnings(False)
        warnings.formatwarning, sys.argv = plain, arguments
        os.environ.clear()
        os.environ.update(variables)


def _end_by_signal() -> Any:
    """Lets SIGTERM end this process like an error does, tidily; returns what it did before."""
    if threading.current_thread() is not threading.main_thread():
        return None  # signals are none of its business
    return signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def nothing_of_failed_starts(folder: Path | None, verb: str) -> Iterator[None]:
    """Removes a folder made for a run that never began; None: nothing is removed."""
    try:
        yield
    except BaseException as error:
        taken = isinstance(error.__cause__, FileExistsError)  # by another run
        if folder is not None and not taken:
            with contextlib.suppress(OSError):
                files = list(folder.iterdir())
                if {path.name for path in files} <= {f"{verb}.log", *BEFORE_A_RUN}:
                    for path in files:
                        path.unlink()
                    folder.rmdir()
        raise


@contextlib.contextmanager
def without_start_up_notes() -> Iterator[None]:
    """Holds back what C++ writes to stderr while TensorFlow starts; shows it if that fails.

    Its notes on processors and missing GPUs come before any log level is obeyed. On a terminal,
    one line says what is waited for.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as notes, os.fdopen(real, "w") as terminal:
        os.dup2(notes.fileno(), 2)
        try:
            with _waiting(terminal):
                yield
        except Exception:
            os.dup2(real, 2)
            notes.seek(0)
            sys.stderr.write(notes.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(real, 2)


def _waiting(terminal: IO[str]) -> contextlib.AbstractContextManager:
    if not terminal.isatty():
        return contextlib.nullcontext()
    from rich.console import Console
    from rich.live import Live
    from rich.spinner import Spinner

    # Nothing else is redirected: what is imported meanwhile may keep the stderr it finds.
    plain = {"redirect_stdout": False, "redirect_stderr": False, "transient": True}
    return Live(Spinner("dots", "starting TensorFlow"), console=Console(file=terminal), **plain)

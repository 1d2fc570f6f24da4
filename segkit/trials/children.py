"""A segkit command as a child process: started, followed, ended, and why it failed."""

from __future__ import annotations

import ctypes
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Mapping, Sequence

_LONGEST = 500  # characters of an error


def start(
    verb: str,
    overrides: Sequence[str],
    console: Path,
    lock: int,
    variables: Mapping[str, str] | None = None,
) -> subprocess.Popen:
    """Starts `segkit VERB OVERRIDES`, which gets SIGTERM when the thread that starts it ends.

    It has no terminal, so Ctrl-C is told to it by whoever gets that.

    Args:
        verb, overrides: as on the command line.
        console: a file; what the process says is added to it.
        lock: a file descriptor that the process inherits.
        variables: of the environment, added to those there are.
    """
    # HYDRA_FULL_ERROR is set while a verb runs, and would turn words into a traceback.
    kept = {name: value for name, value in os.environ.items() if name != "HYDRA_FULL_ERROR"}
    with open(console, "ab") as file:
        return subprocess.Popen(
            [*command(), verb, *overrides],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**kept, "PYTHONUNBUFFERED": "1", **(variables or {})},
            pass_fds=(lock,),
            start_new_session=True,
        )


def command() -> list[str]:
    """What is started, but for its arguments."""
    return [sys.executable, "-m", "segkit.trials.children", str(os.getpid())]


def reason(code: int, said: str) -> str:
    """Why a process failed, in one line.

    Args:
        code: its exit code; below 0: minus the signal that ended it.
        said: what it wrote to the console.
    """
    if code == -signal.SIGKILL:
        return "killed by SIGKILL: by hand, or because the machine was out of memory"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    # Words of ours; else the end of a traceback; else whatever came last.
    _, *ours = re.split(r"^segkit \w+: ", said, flags=re.MULTILINE)
    raised = re.findall(r"^[\w.]*(?:Error|Exception|Interrupt)\b.*$", said, re.MULTILINE)
    lines = [line for line in said.splitlines() if line.strip()]
    return shortened((ours or raised or lines or [f"exit code {code}, and nothing said"])[-1])


def shortened(words: str) -> str:
    """Words in one line, of bounded length."""
    line = " ".join(words.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


def _end_with(parent: int) -> None:
    """Lets SIGTERM end this process when its parent ends, however that happens (on Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it ended before that
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    _end_with(int(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    runpy.run_module("segkit.cli", run_name="__main__", alter_sys=True)

"""Trains once undisturbed and once killed with -9 ten times; run as a program by test_resuming.

Each attempt is a fork of this process, which has imported TensorFlow and computed nothing: that
saves the start-up ten times.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from segkit import training  # noqa: E402
from segkit.config import compose  # noqa: E402

KILLS = 10
TINY = [
    "data=article",
    "data.sizes={train: 20, val: 6}",
    "data.height=24",
    "data.width=24",
    "model.filters=4",
    "model.depth=1",
    "trainer.batch_size=4",
    "trainer.precision=float32",
    "trainer.gallery=2",
    "callbacks.tensorboard=null",
]
CONFIG = [
    *TINY,
    "mix=copy_paste",
    "loss=marginal_cross_entropy",
    f"trainer.epochs={KILLS + 2}",
    "trainer.ema=0.9",
    "callbacks.early_stopping.patience=50",
]


def start(folder: Path) -> int:
    """Forks a child that trains into the folder; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        training.run(compose("train", [f"output={folder}", *CONFIG]))
        code = 0
    finally:
        os._exit(code)


def ended(child: int) -> int | None:
    """The exit code of a child, or None while it lives."""
    done, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def kill_after(epochs: int, folder: Path, moments: random.Random) -> bool:
    """Kills a new attempt some time after it finished so many epochs; False if it ended before."""
    child, checkpoints = start(folder), folder / "checkpoints"
    while not any(int(p.name[:6]) >= epochs for p in checkpoints.glob("*.npz")):
        if ended(child) is not None:
            return False
        time.sleep(0.002)
    time.sleep(moments.uniform(0, 0.4))
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


if __name__ == "__main__":
    whole, killed = Path(sys.argv[1], "whole"), Path(sys.argv[1], "killed")
    assert os.waitstatus_to_exitcode(os.waitpid(start(whole), 0)[1]) == 0
    seed = time.time_ns()
    moments = random.Random(seed)
    kills = sum(kill_after(number, killed, moments) for number in range(1, KILLS + 1))
    assert os.waitstatus_to_exitcode(os.waitpid(start(killed), 0)[1]) == 0
    print(f"killed {kills} times, moments of seed {seed}")

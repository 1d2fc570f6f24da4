"""A process as one of several workers: how it finds the others, and what it does without them."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import subprocess
from typing import Iterator, Mapping, NamedTuple

_PORTS = (12000, 32000)  # above those of services, below those that systems hand out by themselves


class _Tasks(NamedTuple):
    """rank: of this process; addresses: of all of them, without ports; job: a number of the job."""

    rank: int
    hosts: list[str]
    job: int


def join() -> None:
    """Sets TF_CONFIG if this process is one of several that Slurm, or submitit, has started.

    Task k of the job step is worker k, and listens on port p + i if it is the i-th on its machine.

        p = SEGKIT_PORT, or 12000 + 16 (job mod 1250)

    Does nothing where TF_CONFIG is set, and in a process that `srun` has not started.

    Raises:
        ValueError: if the machines cannot be listed, or tasks are not in the order of machines.
    """
    if os.environ.get("TF_CONFIG"):
        return
    tasks = _slurm(os.environ) or _local(os.environ)
    if tasks is None:
        return
    addresses = _addresses(tasks)
    task = {"type": "worker", "index": tasks.rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})


def _slurm(variables: Mapping[str, str]) -> _Tasks | None:
    # Those of the step, not of the job: in a batch script without srun there is one process.
    if int(variables.get("SLURM_STEP_NUM_TASKS", 1)) < 2:
        return None
    machines = _machines(variables["SLURM_STEP_NODELIST"])
    counts = tasks_per_machine(variables["SLURM_STEP_TASKS_PER_NODE"])
    hosts = [host for host, count in zip(machines, counts) for _ in range(count)]
    rank, here = int(variables["SLURM_PROCID"]), variables.get("SLURMD_NODENAME")
    if here is not None and hosts[rank] != here:
        raise ValueError(
            f"Task {rank} runs on {here}, and would on {hosts[rank]} if tasks were in the order of "
            "machines. Start them with srun --distribution=block, or one on each machine."
        )
    return _Tasks(rank, hosts, int(variables["SLURM_JOB_ID"]))


def _local(variables: Mapping[str, str]) -> _Tasks | None:
    """What stands for Slurm on one machine: hydra/launcher=submitit_local."""
    count = int(variables.get("SUBMITIT_LOCAL_NTASKS", 1))
    if count < 2:
        return None
    rank, job = (int(variables[f"SUBMITIT_LOCAL_{key}"]) for key in ("GLOBALID", "JOB_ID"))
    return _Tasks(rank, ["127.0.0.1"] * count, job)


def _machines(nodes: str) -> list[str]:
    try:
        command = ["scontrol", "show", "hostnames", nodes]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"The machines of this Slurm job, {nodes}, cannot be listed ({error}). Set TF_CONFIG "
            "in each task, which leaves Slurm unasked."
        ) from error


def tasks_per_machine(text: str) -> list[int]:
    """What Slurm writes as `2(x3),1`, as 2, 2, 2, 1."""
    parts = (re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part) for part in text.split(","))
    return [int(part[1]) for part in parts for _ in range(int(part[2] or 1))]


def _addresses(tasks: _Tasks) -> list[str]:
    low, high = _PORTS
    given = os.environ.get("SEGKIT_PORT")
    if given is not None and not given.isdecimal():
        raise ValueError(f"SEGKIT_PORT must be a port. Received: {given!r}.")
    first = low + 16 * tasks.job % (high - low) if given is None else int(given)
    places = [tasks.hosts[:k].count(host) for k, host in enumerate(tasks.hosts)]
    return [f"{host}:{first + place}" for host, place in zip(tasks.hosts, places)]


class WorkerLost(ConnectionError):
    """Another worker ended, without which this one cannot go on."""


@contextlib.contextmanager
def in_words() -> Iterator[None]:
    """Says in one line what TensorFlow says of a worker that is gone.

    Raises:
        WorkerLost: in the place of TensorFlow's error.
    """
    try:
        yield
    except Exception as error:
        ours = type(error).__module__.startswith("tensorflow.")
        if ours and re.search("[Cc]ollective ops is aborted|Unavailable", f"{error!r} {error}"):
            raise WorkerLost(
                "Another worker ended, and training cannot go on without it; its own log says why. "
                "Start all of them again: they go on from the last checkpoint."
            ) from error
        raise


def leave_the_log() -> None:
    """Takes files off the log: of several workers, one writes."""
    for handler in logging.root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            logging.root.removeHandler(handler)
            handler.close()

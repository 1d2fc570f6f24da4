"""Ray: one of our own on this machine, or one that runs; and what its workers get."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

from omegaconf import DictConfig

log = logging.getLogger(__name__)

# Ray reads these when it is imported.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^A worker died or was killed",  # we say so ourselves
}
# Keeps all ports of a Ray of our own on 127.0.0.1. Told that address, it would look for another,
# which other machines reach.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@contextlib.contextmanager
def connected(trainer: DictConfig) -> Iterator[Any]:
    """Ray, while this is open: of our own, which ends with this, or a connection to a running one.

    Raises:
        ValueError: if Ray is not installed, or does not run where it should.
    """
    own = trainer.address is None
    with _environment(_QUIET | _LOOPBACK if own else _QUIET), contextlib.ExitStack() as stack:
        ray, before = _imported(), signal.getsignal(signal.SIGTERM)
        options = _own(trainer, stack) if own else {"address": _address(trainer.address)}
        stack.callback(ray.shutdown)
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, **options)
        except ConnectionError as error:
            raise _nothing_at(trainer.address) from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # Ray would end this process in its own way
        if own:
            _require_loopback(ray)
        yield ray


def _imported() -> Any:
    try:
        import ray
        import ray.train
    except ImportError as error:
        raise ValueError(
            f'trainer=ray needs Ray: pip install "segkit[ray]". Python says: {error}.'
        ) from error
    return ray


def _own(trainer: DictConfig, stack: contextlib.ExitStack) -> dict[str, Any]:
    # Ray puts sockets into its folder, and their paths may have 107 bytes.
    root = tempfile.gettempdir() if len(tempfile.gettempdir()) < 20 else "/tmp"
    folder = stack.enter_context(removed(Path(tempfile.mkdtemp(prefix="segkit-", dir=root))))
    # What it counts are promises; all processors are there for each worker.
    cpus = max(len(os.sched_getaffinity(0)), trainer.workers * (trainer.cpus_per_worker or 1))
    options = {"num_cpus": cpus, "include_dashboard": False, "_temp_dir": str(folder)}
    return {"address": "local", **options}


def _require_loopback(ray: Any) -> None:
    ((name, value),) = _LOOPBACK.items()
    here = ray.util.get_node_ip_address()
    if os.environ[name] == value and here not in ("127.0.0.1", "::1"):
        raise ValueError(
            f"Ray was imported too early to keep its ports on this machine: they are on {here}. "
            f"Set {name}={value} before Ray is imported; {name}=1 leaves them open."
        )


def _address(address: str) -> str:
    if address == "auto":
        return address
    if not re.fullmatch(r"[^/]+:\d+", str(address)):
        raise ValueError(
            f"trainer.address must be null, auto or HOST:PORT. Received: {address!r}. The command "
            "runs on a machine of the cluster, where the disk is the one that the workers see."
        )
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:  # Ray itself would try for minutes
        raise _nothing_at(address) from error
    return address


def _nothing_at(address: str) -> ValueError:
    return ValueError(
        f"There is no Ray at trainer.address={address}. Start one there with `ray start --head`, "
        "or leave trainer.address=null for one on this machine alone."
    )


def resources(ray: Any, trainer: DictConfig) -> dict[str, int]:
    """What each worker gets, `CPU` and `GPU`: what the config asks for, or as much as there is.

    Raises:
        ValueError: if there are GPUs, but too few of them.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = ([int(node.get(kind, 0)) for node in nodes] for kind in ("CPU", "GPU"))
    cpu = trainer.cpus_per_worker or largest_share(cpus, trainer.workers) or 1
    gpu = trainer.gpus_per_worker
    if gpu is None:
        gpu = largest_share(gpus, trainer.workers)
        if any(gpus) and not gpu:
            raise ValueError(
                f"trainer.workers={trainer.workers}, and Ray has {sum(gpus)} GPUs. Take fewer "
                "workers, or trainer.gpus_per_worker=0 to leave the GPUs alone."
            )
    room = sum(min(c // cpu, g // gpu if gpu else c) for c, g in zip(cpus, gpus))
    if room < trainer.workers:
        log.warning(
            "Ray has room for %d of %d workers with %d CPUs and %d GPUs each. The others are "
            "waited for.",
            room,
            trainer.workers,
            cpu,
            gpu,
        )
    return {"CPU": cpu, "GPU": gpu} if gpu else {"CPU": cpu}


def largest_share(counts: Sequence[int], workers: int) -> int:
    """The most that each worker can have of what machines have, each on one machine; or 0.

    Args:
        counts: of each machine.
        workers: how many there are.
    """
    for share in range(max(counts, default=0), 0, -1):
        if sum(count // share for count in counts) >= workers:
            return share
    return 0


@contextlib.contextmanager
def removed(folder: Path) -> Iterator[Path]:
    """A folder that is gone, with all in it, when this is closed."""
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """These variables, where they are not set otherwise, while this is open."""
    before = dict(os.environ)
    os.environ.update({name: v for name, v in variables.items() if name not in before})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

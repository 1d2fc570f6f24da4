"""The process that has Ray start workers, and shows what they do."""

from __future__ import annotations

import logging
import os
import queue
import sys
from pathlib import Path
from typing import Any, Callable

from omegaconf import DictConfig, OmegaConf

from segkit.clusters import fitting
from segkit.clusters.messages import Mistake, worded
from segkit.clusters.starting import connected, removed, resources
from segkit.contract import whole_number

log = logging.getLogger(__name__)


def starts_workers(config: DictConfig) -> bool:
    """Whether this process is to start those that train: with trainer=ray, unless it is one."""
    chosen = OmegaConf.select(config, "trainer.workers") is not None
    return chosen and not os.environ.get("TF_CONFIG")


def run_on_workers(config: DictConfig, train: Callable[[DictConfig], Any]) -> Any:
    """Lets Ray start workers that train together, and shows what the first of them logs.

    When a worker dies, Ray ends the others and starts all of them again; they go on from the
    newest checkpoint in the run folder, which all of them must find under the same path.

    Args:
        config: of the run; its keys trainer.{workers, address, restarts, cpus_per_worker,
            gpus_per_worker} are used here.
        train: a public function of a module, called in each worker with the config.

    Returns:
        What `train` returned in the first worker.

    Raises:
        ValueError, OSError: what `train` raised, in whichever worker; nothing is started again.
        ChildProcessError: if workers died more than `restarts` times.
        RuntimeError: with the traceback of another error in a worker, that often.
    """
    trainer = config.trainer
    for key, least in (("workers", 1), ("restarts", 0)):
        whole_number(f"trainer.{key}", trainer[key], least)
    for key, least in (("cpus_per_worker", 1), ("gpus_per_worker", 0)):
        if trainer[key] is not None:
            whole_number(f"trainer.{key}", trainer[key], least)
    folder = Path(config.output).resolve()
    variables = {k: v for k, v in os.environ.items() if k.startswith(("SEGKIT_", "TF_CPP_"))}
    job = {
        "config": OmegaConf.to_container(config, resolve=True) | {"output": str(folder)},
        "train": (train.__module__, train.__qualname__),
        "folder": os.getcwd(),
        "arguments": sys.argv,
        "variables": variables,
    }
    with connected(trainer) as ray, removed(folder / ".ray") as storage:
        return _follow(ray, trainer, job, storage)


def _follow(ray: Any, trainer: DictConfig, job: dict[str, Any], storage: Path) -> Any:
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    messages = Queue(actor_options={"num_cpus": 0})
    got = resources(ray, trainer)
    job |= {"messages": messages, "gpus": got.get("GPU", 0)}
    # In a process of its own: waiting for it here could not be given up.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    fit = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(fitting.fit)
    ended = fit.remote(job, trainer.workers, trainer.restarts, got, str(storage))
    restarts = 0
    while True:
        done, _ = ray.wait([ended], timeout=0)
        try:
            message = messages.get(timeout=0.2)
        except queue.Empty:
            if done:
                return _outcome(ray.get(ended))
            continue
        if isinstance(message, logging.LogRecord):
            logging.getLogger(message.name).handle(message)
        elif isinstance(message, Mistake):
            raise worded(message, messages)
        elif restarts < trainer.restarts:
            restarts += 1
            text = "%s. All workers start again, from the last checkpoint (%d of %d times)."
            log.warning(text, message.words, restarts, trainer.restarts)


def _outcome(found: Any) -> Any:
    if isinstance(found, Exception):
        raise found
    return found

"""A worker that Ray has started."""

from __future__ import annotations

import contextlib
import importlib
import logging
import logging.handlers
import os
import socket
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segkit import run_folders
from segkit.clusters.joining import WorkerLost
from segkit.clusters.messages import Mistake, portable

_PATIENCE = 60.0  # seconds in which processes that are being ended have ended


def work(job: dict[str, Any]) -> Any:
    """Trains in one worker; called by Ray, which has set TF_CONFIG.

    Args:
        job: as `segkit.clusters.driving.run_on_workers` makes it.
    """
    from ray.train import get_context

    rank = get_context().get_world_rank()
    # All of this before TensorFlow is imported.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # which Ray sets
    os.environ.update(job["variables"])
    sys.argv = job["arguments"]
    if not job["gpus"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    with contextlib.suppress(OSError):  # on another machine
        os.chdir(job["folder"])
    _log_to(job["messages"] if rank == 0 else None)
    config = OmegaConf.create(job["config"])
    OmegaConf.set_struct(config, True)
    config.trainer.resume = True  # what is there was left by workers that died
    try:
        if rank == 0:
            _wait_for(Path(config.output))
        module, name = job["train"]
        return getattr(importlib.import_module(module), name)(config)
    except WorkerLost:
        raise
    except (ValueError, OSError, OmegaConfBaseException) as error:
        job["messages"].put(Mistake(rank, socket.gethostname(), portable(error)))
        time.sleep(_PATIENCE)  # whoever reads it ends all; going on, Ray would start all again
        raise


def _log_to(messages: Any) -> None:
    """Sends the log, and nothing of other libraries but warnings, to a queue; None: nowhere."""
    handler = logging.NullHandler() if messages is None else logging.handlers.QueueHandler(messages)
    handler.addFilter(lambda r: r.name.startswith("segkit") or r.levelno >= logging.WARNING)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.INFO)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}"
    warnings.simplefilter("always", UserWarning)
    logging.captureWarnings(True)


def _wait_for(folder: Path) -> None:
    """Waits until a worker that is being ended has let go of the run folder."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            with run_folders.claimed(folder):
                return
        except FileExistsError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)

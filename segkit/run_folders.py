"""Folders of training runs: whose they are, and whether they are finished."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from pathlib import Path
from typing import Any, Iterator, Mapping

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"

# Keys that say where or how a run is shown, and nothing about what comes out.
FREE = ("output", "trainer.resume", "callbacks.progress", "trainer.address", "trainer.restarts")
FREE += ("trainer.cpus_per_worker", "trainer.gpus_per_worker")


def is_finished(folder: Path) -> bool:
    """Whether a run ended here: with a report, and no checkpoints left to go on from."""
    return (folder / "report.html").exists() and not any((folder / CHECKPOINTS).glob("*.npz"))


@contextlib.contextmanager
def claimed(folder: Path, sign: bool = True) -> Iterator[None]:
    """While this is open no other process can open it, on this machine or a shared disk.

    The claim ends with the process, however that ends. With `sign` it says whose it is.

    Raises:
        FileExistsError: if another process has it.
    """
    path = folder / ".claim"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.read(handle, 100).decode(errors="replace").strip()
            raise FileExistsError(
                f"Another run writes into {folder} ({owner or 'of an unknown process'}). Wait for "
                "it, or choose another folder with output=DIR."
            ) from error
        if sign:
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {os.uname().nodename}".encode())
        yield
    finally:
        os.close(handle)


def require_free(folder: Path, config: DictConfig) -> None:
    """Refuses a folder in which a run with this config cannot begin or go on.

    Raises:
        FileExistsError: if it holds a finished run, one that is not to go on, or one that was
            begun with another config; naming the keys that differ.
    """
    if not (folder / "config.yaml").exists() or not _anything_done(folder):
        return
    elsewhere = "choose another folder with output=DIR, or delete it"
    if is_finished(folder):
        raise FileExistsError(f"{folder} holds a finished run: {elsewhere}.")
    if not config.trainer.resume:
        raise FileExistsError(
            f"{folder} holds a run that did not finish. trainer.resume=true goes on with it; or "
            f"{elsewhere}."
        )
    differing = differences(folder, config)
    if differing:
        raise FileExistsError(
            f"{folder} holds a run that did not finish, and it was begun with another config: "
            f"{'; '.join(differing)}. Take the keys as they were to go on with it; or {elsewhere}."
        )


def differences(folder: Path, config: DictConfig) -> list[str]:
    """The keys in which a config differs from the one that a run was begun with, in words.

    Raises:
        ValueError: if the config of the run cannot be read.
    """
    path = folder / "config.yaml"
    try:
        recorded = OmegaConf.load(path)
        # Paths inside the run folder follow it, wherever it was moved.
        mine = OmegaConf.merge(config, {"output": recorded.output})
    except (OSError, ValueError, YAMLError, OmegaConfBaseException, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error
    there, here = (_flat(OmegaConf.to_container(c, resolve=True)) for c in (recorded, mine))
    missing = object()
    return [
        f"{key} was {_said(there.get(key, missing), missing)}, "
        f"now {_said(here.get(key, missing), missing)}"
        for key in [*there, *(key for key in here if key not in there)]
        if there.get(key, missing) != here.get(key, missing)
        and not any(key == free or key.startswith(f"{free}.") for free in FREE)
    ]


def go_on(config: DictConfig) -> bool:
    """Turns to the run that an interrupted command with this config left behind, if there is one.

    For commands that name no folder of their own: `config.output` becomes that of the run, and
    the log goes there. The folder that was made for a new run is removed if nothing else is in it.
    """
    twin = unfinished_twin(config) if config.trainer.resume else None
    if twin is None:
        return False
    made, config.output = Path(config.output), str(twin)
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()
        old = Path(handler.baseFilename)
        moved = logging.FileHandler(twin / old.name)
        moved.setFormatter(handler.formatter)
        root.addHandler(moved)
        if old.stat().st_size == 0:
            old.unlink()
    with contextlib.suppress(OSError):
        made.rmdir()
    log.info("The same command was interrupted in %s; it goes on there.", twin)
    return True


def unfinished_twin(config: DictConfig) -> Path | None:
    """The newest run beside `config.output` that was begun with this config and did not finish.

    One that is still at work is none.
    """
    here = Path(config.output)
    with contextlib.suppress(OSError):
        for folder in sorted(here.parent.iterdir(), reverse=True):
            if folder == here or not any((folder / CHECKPOINTS).glob("*.npz")):
                continue
            with contextlib.suppress(OSError, ValueError), claimed(folder, sign=False):
                if not differences(folder, config):
                    return folder
    return None


def _anything_done(folder: Path) -> bool:
    """Whether there is anything to lose: more than a start that failed left behind."""
    return any((folder / name).exists() for name in (CHECKPOINTS, "model.keras", "report.html"))


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, Mapping) or not node:
        return {prefix: node}
    flat = {}
    for key, value in node.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _said(value: Any, missing: object) -> str:
    return "not there" if value is missing else "null" if value is None else str(value)

"""The machine and the versions that a run was made with."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import segkit


def describe(started: float, best_epoch: int | None) -> dict[str, Any]:
    """What the run was made with and on, for `environment.json`."""
    return {
        "segkit": segkit.__version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "precision": keras.config.dtype_policy().compute_dtype,
        "command": " ".join([sys.argv[0], *map(shlex.quote, sys.argv[1:])]),
        "started": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started)),
        "seconds": round(time.time() - started, 1),
        "best_epoch": best_epoch,
    }


def processor() -> str:
    """The name of the processor, as far as it is known."""
    return _cpu().get("model name", platform.processor())


def _cpu() -> dict[str, str]:
    """The first processor of /proc/cpuinfo, as a dict; empty where there is no such file."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def fast_bfloat16() -> bool:
    """Whether the device computes bfloat16 in hardware: asked of it, not guessed."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        return details.get("compute_capability", (0, 0)) >= (8, 0)
    flags = _cpu().get("flags", "").split()
    return "amx_bf16" in flags or "avx512_bf16" in flags

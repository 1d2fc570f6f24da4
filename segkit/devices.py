"""Which devices compute, how many of them together, and in which precision."""

from __future__ import annotations

import json
import os
from typing import Sequence

import keras
import tensorflow as tf

from segkit import environment
from segkit.contract import whole_number

PRECISIONS = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def set_precision(precision: str) -> str:
    """Sets the precision of the layers built from now on, and returns the one chosen.

    Args:
        precision: float32, bfloat16 (activations; weights and statistics stay float32), or auto:
            bfloat16 where the device has it in hardware.

    Raises:
        ValueError: on any other word.
    """
    if precision == "auto":
        precision = "bfloat16" if environment.fast_bfloat16() else "float32"
    if precision not in PRECISIONS:
        raise ValueError(
            f"trainer.precision must be auto, {' or '.join(PRECISIONS)}. Received: {precision!r}."
        )
    keras.config.set_dtype_policy(PRECISIONS[precision])
    return precision


def set_threads(threads: int | None) -> None:
    """How many threads one operation may use; None leaves it to TensorFlow: one a core.

    Raises:
        ValueError: if TensorFlow computes already, with another number.
    """
    if threads is None:
        return
    whole_number("trainer.threads", threads, 1)
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise ValueError(
            f"trainer.threads must be set before TensorFlow computes. Received: {threads}, in a "
            "process in which it has begun. Start a new one."
        ) from error


def choose_strategy(devices: int | None = None) -> tf.distribute.Strategy:
    """The strategy of TensorFlow that trains on all devices there are.

    - In a cluster (the variable TF_CONFIG names more than one worker):
      `MultiWorkerMirroredStrategy`, on every device of every worker.
    - With several GPUs: `MirroredStrategy`.
    - Else the default strategy, which adds nothing.

    Args:
        devices: how many of this machine; None: all GPUs, or the processor. Without a GPU, 2 or
            more split the processor into so many logical devices, which is good for tests only.

    Raises:
        ValueError: if there are not so many, or TensorFlow computes already and its processor
            cannot be split any more.
    """
    if devices is not None:
        whole_number("trainer.devices", devices, 1)
    if len(workers()) > 1:
        if devices is not None:
            raise ValueError(
                "In a cluster every device of every worker is taken. Received: "
                f"trainer.devices={devices}. Leave it out; CUDA_VISIBLE_DEVICES hides some."
            )
        _gpus_share_memory()
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU") if _gpus_share_memory() else []
    if gpus and (devices or len(gpus)) > len(gpus):
        raise ValueError(f"trainer.devices={devices}, and this machine has {len(gpus)} GPUs.")
    count = devices or len(gpus) or 1
    if count == 1:
        return tf.distribute.get_strategy()
    if gpus:
        return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus[:count]])
    return tf.distribute.MirroredStrategy(
        _split_processor(count), cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def workers() -> list[str]:
    """The addresses of the workers of the cluster that this process belongs to, as TF_CONFIG says.

    Raises:
        ValueError: if TF_CONFIG cannot be read.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        return list(json.loads(text).get("cluster", {}).get("worker", [])) if text else []
    except (ValueError, AttributeError) as error:
        raise ValueError(
            "The variable TF_CONFIG must hold JSON with the workers of the cluster. "
            f"Received: {text!r}. Unset it to train on this machine alone."
        ) from error


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes files: the only one, or the first of several."""
    resolver = strategy.cluster_resolver
    return resolver is None or not resolver.task_id


def local_replicas(strategy: tf.distribute.Strategy) -> list[int]:
    """The numbers of the replicas that this process computes, among those of all processes."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return list(range(strategy.num_replicas_in_sync))
    here = strategy.num_replicas_in_sync // len(workers())
    return list(range(resolver.task_id * here, (resolver.task_id + 1) * here))


def highest(strategy: tf.distribute.Strategy, numbers: Sequence[int]) -> list[int]:
    """The highest that any worker has in the place of each of these numbers, int32.

    All workers must call it in the same place.
    """
    if len(workers()) < 2:
        return list(numbers)
    return _highest(strategy, tf.constant(numbers, tf.int32)).numpy().tolist()


@tf.function
def _highest(strategy: tf.distribute.Strategy, numbers: tf.Tensor) -> tf.Tensor:
    def gather() -> tf.Tensor:
        return tf.distribute.get_replica_context().all_gather(numbers[None], axis=0)

    rows = strategy.experimental_local_results(strategy.run(gather))[0]
    return tf.reduce_max(rows, axis=0)


def require_same(strategy: tf.distribute.Strategy, digest: str, advice: str) -> None:
    """Refuses to go on where the workers of a cluster have not the same.

    All workers must call it in the same place.

    Args:
        strategy: of all of them.
        digest: hexadecimal, of what must be the same.
        advice: what to do if it is not.

    Raises:
        ValueError: in every worker, with the advice.
    """
    mine = [int(digest[k : k + 7], 16) for k in range(0, 28, 7)]
    # The lowest is the highest of what is negative.
    if highest(strategy, [*mine, *(-n for n in mine)]) != [*mine, *(-n for n in mine)]:
        raise ValueError(advice)


def jit_pays(strategy: tf.distribute.Strategy) -> bool:
    """Whether XLA makes the whole step faster: on one GPU.

    On processors its convolutions are slower than those of oneDNN, and across replicas it cannot
    compile the sums.
    """
    return bool(tf.config.list_logical_devices("GPU")) and strategy.num_replicas_in_sync == 1


def _gpus_share_memory() -> bool:
    """Lets other processes have what memory of the GPUs this one does not need."""
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow computes already; it is too late to choose
            break
    return bool(gpus)


def _split_processor(count: int) -> list[str]:
    processor = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * count
    try:
        tf.config.set_logical_device_configuration(processor, parts)
    except RuntimeError as error:
        have = len(tf.config.list_logical_devices("CPU"))
        if have < count:
            raise ValueError(
                f"trainer.devices={count} must split the processor before TensorFlow computes. "
                f"Received: a process in which it has begun, with {have}. Start a new one."
            ) from error
    return [device.name for device in tf.config.list_logical_devices("CPU")[:count]]

"""Ray Train: starts the workers, and starts them again."""

from __future__ import annotations

from typing import Any

from segkit.clusters import working
from segkit.clusters.messages import Failure, described, given_up


def fit(
    job: dict[str, Any], workers: int, restarts: int, resources: dict[str, int], storage: str
) -> Any:
    """Has all workers do a job, and returns what the first one returned, or an error to raise.

    Args:
        job: as `segkit.clusters.driving.run_on_workers` makes it.
        workers: how many there are.
        restarts: how often they may start again.
        resources: of each, see `segkit.clusters.starting.resources`.
        storage: a folder that all see, for Ray.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig, UserCallback
    from ray.train.tensorflow import TensorflowTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    messages = job["messages"]

    class Reporter(UserCallback):
        def after_exception(self, run_context: Any, worker_exceptions: dict) -> None:
            messages.put(Failure(described(worker_exceptions)))

    trainer = TensorflowTrainer(
        working.work,
        train_loop_config=job,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu="GPU" in resources, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name="run",
            storage_path=storage,
            failure_config=FailureConfig(max_failures=restarts),
            callbacks=[Reporter()],
        ),
    )
    try:
        return trainer.fit().return_value
    except TrainingFailedError as error:
        return given_up(error, restarts)

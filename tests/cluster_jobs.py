"""What workers of test_clusters do in the place of training."""

import time


def fails_alone(config):
    """The second worker fails, and the first would wait for it."""
    from ray.train import get_context

    if get_context().get_world_rank() == 1:
        raise FileNotFoundError(2, "No such file or directory", "/there/only")
    time.sleep(600)

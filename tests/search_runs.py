"""A stand-in for the training of a search, and a search with it as a program of its own.

python search_runs.py FOLDER TRIALS PAUSE: each trial that begins is a line of FOLDER/begun.
"""

import json
import math
import os
import sys
import time

from hydra.core.override_parser.overrides_parser import OverridesParser

from segkit import search, trials
from segkit.config import compose

EPOCHS = 4
SPACE = "search.space={optimizer.learning_rate: {low: 1e-4, high: 1e-2, log: true}}"


def read(overrides):
    parser = OverridesParser.create()
    found = [parser.parse_override(override) for override in overrides]
    return {override.key_or_group: override.value() for override in found}


def score(values):
    """Best at a learning rate of 0.001, where it is 0.9."""
    return 0.9 - 0.1 * abs(math.log10(values.get("optimizer.learning_rate", 1e-3)) + 3)


def stand_in(pause=0.0, begun=None, top=score, fault=None):
    """A function that does in no time what `trials.run` does, with the scores of `top`.

    begun: called with the folder and the values of each trial.
    fault: what of (folder, values) is not None is the error of a trial.
    """

    def run(folder, verb, overrides, watch=None, *, stop=None, variables=None):
        folder.mkdir(parents=True, exist_ok=True)
        values = read(overrides)
        if begun is not None:
            begun(folder, values)
        error = fault(folder, values) if fault is not None else None
        if error is not None:
            return trials.Outcome("failed", error=error)
        (folder / "checkpoints").mkdir(exist_ok=True)
        (folder / "checkpoints" / "1.npz").touch()
        rows = ["epoch,val_iou_a,val_iou_b,val_loss,val_mean_iou"]
        for epoch in range(EPOCHS):
            if stop is not None and stop.is_set():
                return trials.Outcome("stopped")
            now = top(values) * (epoch + 1) / EPOCHS
            rows.append(f"{epoch},{now},NA,{1 - now},{now}")
            unfinished = folder / "history.unfinished"
            unfinished.write_text("\n".join(rows) + "\n")
            os.utime(unfinished, (epoch, epoch))  # as if epochs took seconds
            unfinished.replace(folder / "history.csv")
            if watch is not None and watch(folder):
                return trials.Outcome("pruned")
            time.sleep(pause)
        classes = [{"name": "a", "iou": now, "dice": 2 * now / (1 + now)}]
        classes.append({"name": "b", "iou": None, "dice": None})
        block = {"mean_iou": now, "mean_dice": 2 * now / (1 + now), "per_class": classes}
        (folder / "metrics.json").write_text(json.dumps({"val": block}))
        return trials.Outcome("finished", now, seconds=0.1)

    return run


def run(folder, *overrides, typed=()):
    """The search with learning rates, unless the overrides name another space."""
    space = [] if any(o.startswith("search.space=") for o in overrides) else [SPACE]
    given = [*space, f"output={folder}", *typed, *overrides]
    return search.search(compose("search", given), given)


def main():
    folder, count, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

    def note(trial, values):
        with open(os.path.join(folder, "begun"), "a") as file:
            file.write(f"{trial.name} {os.getpid()}\n")

    trials.run = stand_in(pause, begun=note)
    run(folder, f"search.trials={count}", "search.pruner=none")


if __name__ == "__main__":
    main()

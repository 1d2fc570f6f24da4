"""The `segkit` command: verbs, each a Hydra app."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Sequence

import segkit
from segkit import surroundings

# verb: (the module whose run(config) does it, what --help says)
VERBS = {
    "train": ("segkit.training", "train a model, evaluate it, and write a report"),
    "lr": ("segkit.lr_finding", "raise the learning rate step by step, and say which one suits"),
    "evaluate": (
        "segkit.evaluation",
        "score a model on any data, with intervals, and show where it errs",
    ),
    "calibrate": (
        "segkit.calibration",
        "tune temperature and decision thresholds on validation data",
    ),
    "predict": ("segkit.prediction", "segment files, folders, URLs, of any size"),
    "complete": (
        "segkit.completion",
        "fill what nobody annotated with what a model is sure of, in a new data set",
    ),
    "rounds": ("segkit.rounds", "train, complete the data, train again, as long as it gains"),
    "export": ("segkit.export", "write the model as ONNX, SavedModel, LiteRT or OpenVINO"),
    "audit": ("segkit.audit", "rank the cells whose annotation is probably missing, to review"),
    "compare": ("segkit.comparison", "all runs in folders: one table with intervals, and a page"),
    "search": ("segkit.search", "search the best values of config keys with Optuna"),
    "check": ("segkit.checking", "look at every file of a data set, and say what is wrong"),
    "preview": ("segkit.previewing", "show images beside what augmentation makes of them"),
    "synthesize": ("segkit.synthesis", "write a synthetic data set in the folder format"),
    "weights": ("segkit.weighting", "count classes and show the weights they give"),
}

USAGE = """segkit {version}: segmentation models from the annotations people actually have

usage: segkit VERB [key=value ...]

{verbs}

examples:
  segkit train                                       synthetic scenes, half the annotations hidden
  segkit check data=folder data.root=PATH            are your own images and masks in order?
  segkit train data=folder data.root=PATH            train on them
  segkit train loss=cross_entropy trainer.epochs=5   change a choice or a number
  segkit evaluate run=runs/DATE                      how good is it, and where does it err?
  segkit predict run=runs/DATE input=PATH            segment other images
  segkit train -m loss=cross_entropy,marginal_cross_entropy seed=0,1,2   a sweep

segkit VERB --help shows the choices there are and the keys of those that are made;
segkit train data=folder --help, those of your own data.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `segkit VERB [Hydra overrides]` and returns the exit code.

    0 done; 1 an error, explained on stderr; 2 no such verb; 3 done but for some parts, which are
    named; 130 stopped by Ctrl-C; 143 stopped by SIGTERM, as batch systems do. A second run of the
    same training goes on after 130 and 143.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = [f"  {verb:<12} {text}" for verb, (_, text) in VERBS.items()]
        print(USAGE.format(version=segkit.__version__, verbs="\n".join(rows)), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(segkit.__version__)
        return 0
    verb, *overrides = arguments
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        print(f"segkit: no verb {verb!r}.{hint} The verbs: {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    return _run(verb, _with_folders_as_key(overrides) if verb == "compare" else overrides)


def run(verb: str) -> None:
    """Runs a verb with the arguments of this process and exits; for the files in `scripts/`."""
    sys.exit(main([verb, *sys.argv[1:]]))


def _run(verb: str, overrides: list[str]) -> int:
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    with surroundings.of_a_verb([f"segkit {verb}", *overrides]):
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        app = hydra.main(version_base="1.3", config_path="pkg://segkit.conf", config_name=verb)
        try:
            if {"--help", "-h"} & set(overrides):
                _help(verb, overrides)
            elif {"-m", "--multirun"} & set(overrides):
                _sweep(verb, overrides)
            else:
                app(_task(verb, _names_a_folder(overrides)))()
        except KeyboardInterrupt:
            return _stopped(verb, "Ctrl-C", 130)
        except SystemExit as stop:
            if stop.code != 128 + signal.SIGTERM:
                raise
            return _stopped(verb, "SIGTERM", stop.code)
        except (HydraException, OmegaConfBaseException, OSError, ValueError, _Failed) as error:
            if full_errors:
                raise
            from segkit.explaining import NotAll, explain

            cause = error.args[0] if isinstance(error, _Failed) else error
            print(f"segkit {verb}: {explain(cause)}", file=sys.stderr)
            return 3 if isinstance(cause, NotAll) else 1
        except Exception as error:
            # Ctrl-C while Hydra starts comes out as whatever it stumbled over.
            if isinstance(error.__context__, KeyboardInterrupt):
                return _stopped(verb, "Ctrl-C", 130)
            raise
        return 0


def _with_folders_as_key(arguments: list[str]) -> list[str]:
    """Folders among the arguments, whose names may hold an =, as runs=[...] behind the rest."""
    plain = [a for a in arguments if not a.startswith("-") and ("=" not in a or Path(a).exists())]
    rest = [argument for argument in arguments if argument not in plain]
    return [*rest, f"runs=[{','.join(map(surroundings.quoted, plain))}]"] if plain else rest


def _help(verb: str, overrides: list[str]) -> None:
    from segkit import helping

    print(helping.text(verb, [o for o in overrides if "=" in o and not o.startswith("-")]), end="")


def _sweep(verb: str, overrides: list[str]) -> None:
    from segkit import sweeps
    from segkit.explaining import NotAll

    if verb != "train":
        raise ValueError("this verb does one thing at a time; leave -m out.")
    options = {text for text in overrides if text.startswith("-")} - {"-m", "--multirun"}
    if options:
        raise ValueError(
            f"a sweep takes no option but -m. Received: {' '.join(sorted(options))}. What Hydra "
            "can be told is written hydra.KEY=VALUE."
        )
    try:
        sweeps.run(verb, VERBS[verb][0], [o for o in overrides if not o.startswith("-")])
    except NotAll as error:
        raise _Failed(error) from error


def _stopped(verb: str, by: str, code: int) -> int:
    print(f"segkit {verb}: stopped by {by}", file=sys.stderr)
    return code


class _Failed(BaseException):
    """A mistake of the user's, on its way past Hydra, which would talk about jobs first."""


def _task(verb: str, named: bool):
    def task(config):
        from hydra.core.hydra_config import HydraConfig
        from omegaconf.errors import OmegaConfBaseException

        from segkit.explaining import NotAll

        hydra_config = HydraConfig.get()
        folder = None
        if hydra_config.runtime.choices["hydra"] == "run":
            config.output = hydra_config.runtime.output_dir
            folder = None if named else Path(config.output)
            if verb == "train" and not any(
                o.startswith("output=") for o in hydra_config.overrides.task
            ):
                from segkit import run_folders

                folder = None if run_folders.go_on(config) else folder
        # Imported here, behind Hydra's own answers: --help need not wait for TensorFlow.
        with surroundings.nothing_of_failed_starts(folder, verb):
            _require_one(hydra_config)
            with surroundings.without_start_up_notes():
                module = importlib.import_module(VERBS[verb][0])
            try:
                return module.run(config)
            except (OmegaConfBaseException, ValueError, OSError, NotAll) as error:
                raise _Failed(error) from error

    return task


def _require_one(hydra_config) -> None:
    """Refuses what is a sweep, and was not taken for one."""
    if hydra_config.mode.name == "MULTIRUN":
        raise _Failed(ValueError("segkit train -m runs a sweep; leave hydra.mode out."))
    typed = {text.lstrip("+").partition("=")[0] for text in hydra_config.overrides.task}
    missing = [k for k in hydra_config.sweeper.get("params") or {} if k.lstrip("+") not in typed]
    if missing:
        choice = hydra_config.runtime.choices.get("experiment")
        raise _Failed(
            ValueError(
                f"experiment={choice} is a sweep: add -m to run all of it, or for one run of it "
                f"give values to {', '.join(missing)}."
            )
        )


def _names_a_folder(overrides: list[str]) -> bool:
    """Whether `output` was given and is, or may be, a folder that is there already."""
    given = [o.partition("=")[2].strip("\"'") for o in overrides if o.startswith("output=")]
    return any("$" in path or "," in path or Path(path).exists() for path in given)


if __name__ == "__main__":
    sys.exit(main())

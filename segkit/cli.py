"""The `segkit` command: verbs, each a Hydra app."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import logging
import os
import sys
import tempfile
import warnings
from typing import Iterator, Sequence

import segkit

# verb: (the module whose run(config) does it, what --help says)
VERBS = {
    "train": ("segkit.training", "train a model, evaluate it, and write a report"),
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
  segkit train -m loss=cross_entropy,marginal_cross_entropy seed=0,1,2   a sweep

segkit VERB --help shows the choices there are and the keys of those that are made;
segkit train data=folder --help, those of your own data.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `segkit VERB [Hydra overrides]` and returns the exit code.

    0 done; 1 an error, explained on stderr; 2 no such verb; 130 stopped by Ctrl-C.
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
    return _run(verb, overrides)


def run(verb: str) -> None:
    """Runs a verb with the arguments of this process and exits; for the files in `scripts/`."""
    sys.exit(main([verb, *sys.argv[1:]]))


def _run(verb: str, overrides: list[str]) -> int:
    full_errors = os.environ.get("HYDRA_FULL_ERROR") == "1"
    with _surroundings([f"segkit {verb}", *overrides]):
        import hydra
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        app = hydra.main(version_base="1.3", config_path="pkg://segkit.conf", config_name=verb)
        try:
            app(_task(verb))()
        except KeyboardInterrupt:
            return _stopped(verb)
        except (HydraException, OmegaConfBaseException, OSError, _Failed) as error:
            if full_errors:
                raise
            from segkit.explaining import explain

            cause = error.args[0] if isinstance(error, _Failed) else error
            print(f"segkit {verb}: {explain(cause)}", file=sys.stderr)
            return 1
        except Exception as error:
            # Ctrl-C while Hydra starts comes out as whatever it stumbled over.
            if isinstance(error.__context__, KeyboardInterrupt):
                return _stopped(verb)
            raise
        return 0


def _stopped(verb: str) -> int:
    print(f"segkit {verb}: stopped by Ctrl-C", file=sys.stderr)
    return 130


class _Failed(BaseException):
    """A mistake of the user's, on its way past Hydra, which would talk about jobs first."""


@contextlib.contextmanager
def _surroundings(argv: list[str]) -> Iterator[None]:
    """What a verb runs in: its arguments, quiet libraries, warnings as one line in the log."""
    variables, arguments, plain = dict(os.environ), sys.argv, warnings.formatwarning
    # Before TensorFlow is imported: its start-up notes are for its developers.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions over, for our words
    sys.argv = argv
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}"
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            # In a sweep every job has a log of its own, so each is warned again.
            warnings.simplefilter("always", UserWarning)
            yield
    finally:
        logging.captureWarnings(False)
        warnings.formatwarning, sys.argv = plain, arguments
        os.environ.clear()
        os.environ.update(variables)


def _task(verb: str):
    def task(config):
        from hydra.core.hydra_config import HydraConfig
        from omegaconf.errors import OmegaConfBaseException

        hydra_config = HydraConfig.get()
        if hydra_config.runtime.choices["hydra"] == "run":
            config.output = hydra_config.runtime.output_dir  # one a job, in a sweep
        elif hydra_config.mode.name == "MULTIRUN":
            raise _Failed(ValueError("this verb does one thing at a time; leave -m out."))
        # Imported here, behind Hydra's own answers: --help need not wait for TensorFlow.
        with _without_start_up_notes():
            module = importlib.import_module(VERBS[verb][0])
        try:
            return module.run(config)
        except (OmegaConfBaseException, ValueError, OSError) as error:
            raise _Failed(error) from error

    return task


@contextlib.contextmanager
def _without_start_up_notes() -> Iterator[None]:
    """Holds back what C++ writes to stderr while TensorFlow starts; shows it if that fails.

    Its notes on processors and missing GPUs come before any log level is obeyed.
    """
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(real, 2)
            notes.seek(0)
            sys.stderr.write(notes.read().decode(errors="replace"))
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


if __name__ == "__main__":
    sys.exit(main())

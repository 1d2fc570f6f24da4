"""One file in a format, what belongs to it, and the proof that it computes what Keras does."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any, Mapping, NamedTuple

import numpy as np

from segkit import formats
from segkit.formats import example, parity, placing
from segkit.formats.probabilities import Probabilities

NAME = "model"  # of files that were not named


class Exported(NamedTuple):
    """One file that was written.

    path: the file, or the folder of a SavedModel.
    script: runs it without segkit.
    difference: the largest one in probability between it and Keras.
    """

    path: Path
    script: Path
    difference: float


class Subject(NamedTuple):
    """What is written, and how what came out is compared with Keras.

    module: the function to write.
    keras: the same, by Keras.
    batches: of images, to compare on.
    images: where they are from, in words.
    tolerance: the largest difference in probability with which a file is kept.
    """

    module: Probabilities
    keras: parity.Run
    batches: list[np.ndarray]
    images: str
    tolerance: float


def beside(name: str, path: Path) -> tuple[list[str], str, str]:
    """Names of the files of a format, of the JSON about them, and of the script.

    Args:
        name: of the format.
        path: the file that the format is known by.
    """
    weights = [path.with_suffix(".bin").name] if name == "openvino" else []
    stem = "" if path.stem in (NAME, name) else f"{path.stem}_"
    return [*weights, path.name], f"{path.name}.json", f"predict_{stem}{name}.py"


def write(name: str, path: Path, subject: Subject, about: Mapping[str, Any]) -> Exported:
    """Writes a file and what belongs to it, over what is there; nothing if it is not as it should.

    All is written to a hidden folder beside, compared, and moved into place.

    Args:
        name: of the format.
        path: the file, or the folder of a SavedModel.
        subject: what to write.
        about: what it is to say about itself.

    Raises:
        ValueError: if the format cannot express the model, or its probabilities are too far off.
        OSError: if it cannot be written, or the disk is full.
    """
    made = formats.named(name)
    files, json_name, script_name = beside(name, path)
    with placing.stage(path.parent) as hidden:
        difference = _difference(name, made, hidden / path.name, subject, about)
        compared = {
            "images": subject.images,
            "shapes": [list(batch.shape) for batch in subject.batches],
            "largest_difference": difference,
            "tolerance": subject.tolerance,
        }
        text = json.dumps({**about, "compared_with_keras": compared}, indent=1)
        (hidden / json_name).write_text(text + "\n", encoding="utf-8")
        script = example.script(name, path.name, about)
        (hidden / script_name).write_text(script, encoding="utf-8")
        placing.place(hidden, path.parent, [*files, json_name, script_name])
    return Exported(path, path.parent / script_name, difference)


def _difference(
    name: str, made: formats.Format, file: Path, subject: Subject, about: Mapping[str, Any]
) -> float:
    """Writes the file, and how far its probabilities are from those of Keras."""
    try:
        with placing.without_notes():
            made.write(subject.module, file, about)
            runner = made.runner(file)
            found = parity.largest_difference(subject.keras, runner, subject.batches)
    except OSError:
        raise
    except ValueError as error:
        raise ValueError(f"format={name}: {error}") from error
    except Exception as error:  # each converter and each runtime has classes of its own
        if placing.is_full(file.parent):
            raise OSError(errno.ENOSPC, "no space left") from error
        said = str(error).strip().split("\n")[0][:300]
        raise ValueError(
            f"format={name} cannot express this model ({type(error).__name__}: {said}). Take "
            "another format; or fix the size of the images, size=[H,W], for one that needs it."
        ) from error
    if found > subject.tolerance:
        raise ValueError(
            f"The {name} file gives probabilities that are up to {found:.2g} from those of Keras, "
            f"and tolerance={subject.tolerance:g} is allowed. It was not kept. Take another "
            "format, or allow more if that is roundoff."
        )
    return found

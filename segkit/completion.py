"""What `segkit complete` does: a new data set in which a model filled what nobody annotated."""

from __future__ import annotations

import json
import logging
import os
from typing import Any, Mapping

from omegaconf import DictConfig, OmegaConf

from segkit.explaining import NotAll
from segkit.pseudo_labels import telling
from segkit.pseudo_labels.choosing import NothingUnknown
from segkit.pseudo_labels.completing import Completed, complete

log = logging.getLogger(__name__)

_SHOWN = 10  # damaged files that the last message names


def run(config: DictConfig) -> Completed | None:
    """Does what `segkit complete` does.

    Args:
        config: composed from `conf/complete.yaml`.

    Returns:
        What was filled; None if nothing was unknown.

    Raises:
        ValueError, OSError: naming what is wrong with a run, the data or the config.
        NotAll: naming the images that could not be read; all others are completed.
    """
    options = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    options.pop("data", None)
    if not isinstance(options["dry_run"], bool):
        raise ValueError(f"dry_run must be true or false. Received: {options['dry_run']!r}.")
    try:
        made = complete(config.get("data"), options)
    except NothingUnknown:
        log.info(
            "There is nothing to complete: every class was looked for in every image of the split "
            "%s. Nothing was written.",
            options["split"],
        )
        return None
    found = made.filled
    _tell(made, options)
    if found.failed:
        names = list(found.failed)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise NotAll(
            f"{len(names)} images could not be read and stay as they were: "
            f"{', '.join(names[:_SHOWN])}{more}. All others are completed."
        )
    return made


def _tell(made: Completed, options: Mapping[str, Any]) -> None:
    """Says what was filled, what to look at, and what to type next."""
    found, tally = made.filled, made.filled.tally
    log.info(telling.table(found))
    for note in telling.notes(found):
        log.warning(note)
    log.info(
        "%d of %d images changed, %.0f%% of the unknown cells filled: %s",
        tally.changed,
        tally.images,
        100 * tally.share_filled,
        made.page,
    )
    if options["dry_run"]:
        return
    if tally.changed:
        log.info("Train on it: %s", train_command(made, options["output"]))
    else:
        log.warning(
            "Nothing was sure enough to be filled: %s holds what was given.", made.page.parent
        )


def train_command(made: Completed, output: str) -> str:
    """What to type to train on the new data set."""
    model = made.opened.model
    size = model.runs[0].size if model else None
    told = "null" if size is None else f"[{size[0]},{size[1]}]"
    command = f"segkit train data=folder data.root={os.fspath(output)} data.size={told}"
    settings = made.opened.settings
    channels, values = settings.get("channels", 3), settings.get("value_range")
    if channels != 3:
        command += f" data.channels={channels}"
    if values is not None and made.opened.root is not None:  # the files are as they were
        command += f" data.value_range={json.dumps(values, separators=(',', ':'))}"
    return command

"""Writing a synthetic data set in the folder format."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from segkit import sources
from segkit.data import writing

log = logging.getLogger(__name__)


def run(config: DictConfig) -> None:
    """Does what `segkit synthesize output=DIR` does.

    Writes DIR/SPLIT/images, masks (as annotated) and truth (with everything outlined),
    DIR/classes.json and DIR/annotations.csv, so that `data=folder data.root=DIR` trains on it.

    Args:
        config: composed from `conf/synthesize.yaml`.

    Raises:
        FileExistsError: if DIR holds a data set already and `overwrite` is false.
    """
    splits = sources.open_splits(config.data)
    root = Path(config.output)
    for name, source in splits.items():
        writing.write(source, root / name, overwrite=config.overwrite)
        log.info("%s: %d images", root / name, len(source))
        writing.write_labels(source.labels, root)
    log.info("Train on it: segkit train data=folder data.root=%s data.size=null", root)

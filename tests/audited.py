"""Images with squares of two classes, and what a model that knows them would say of them."""

import json

import numpy as np
from PIL import Image

from segkit.contract import Sample
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"])


def probabilities(ids, labels=LABELS, sure=0.9):
    """(H, W, C): the class at each pixel with probability `sure`."""
    rest = (1 - sure) / (labels.num_classes - 1)
    return np.where(ids[..., None] == np.arange(labels.num_classes), sure, rest).astype("float32")


def square(ids, id_, top, left, edge=6):
    ids[top : top + edge, left : left + edge] = id_
    return ids


def sample(mask, annotated=(True, True, True), name="image"):
    image = np.repeat(mask[..., None] * 80, 3, axis=-1).astype(np.uint8)
    return Sample(image, mask, np.array(annotated), None, name)


def empty(shape=(24, 24)):
    return np.zeros(shape, np.uint8)


def write_folder(root, stems, masks, extra="", names=("background", "cell", "nucleus")):
    """A folder data set whose images are the full ids in grey, and masks what is given."""
    root.mkdir(parents=True, exist_ok=True)
    for part in ("images", "masks"):
        (root / part).mkdir()
    for stem, (ids, mask) in zip(stems, masks):
        Image.fromarray(np.repeat(ids[..., None] * 80, 3, -1).astype(np.uint8)).save(
            root / "images" / f"{stem}.png"
        )
        Image.fromarray(mask).save(root / "masks" / f"{stem}.png")
    described = {"names": list(names), "background": 0, "ignore_index": 255}
    (root / "classes.json").write_text(json.dumps(described))
    if extra:
        (root / "annotations.csv").write_text(extra)
    return root

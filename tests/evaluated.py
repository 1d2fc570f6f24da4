"""Images whose ids can be read off, and a predictor that does, for the tests of the evaluation."""

from types import SimpleNamespace

import numpy as np

from segkit.contract import Sample
from segkit.inference import decide
from segkit.labels import LabelSpace

LABELS = LabelSpace(["background", "cell", "nucleus"])


class Discs:
    """Squares of both classes that move from image to image; the red channel is the id."""

    def __init__(
        self, count=6, groups=(), annotated=(True, True, True), truth=False, labels=LABELS
    ):
        self.count, self.groups, self.labels = count, list(groups), labels
        self._annotated, self._truth = np.array(annotated), truth

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        ids = np.zeros((16, 20), np.uint8)
        ids[2:8, 1 + index : 7 + index] = 1
        ids[9:14, 3:9] = 2
        image = np.repeat(ids[..., None], 3, axis=-1)
        mask = np.where(self._annotated[ids], ids, 0).astype(np.uint8)
        truth = ids if self._truth else None
        return Sample(image, mask, self._annotated.copy(), truth, f"disc_{index}")

    def annotation(self, index):
        return self[index][1:3]


class Overlapping(Discs):
    """The same squares as independent classes, the second across the first; the red channel holds
    a bit a class."""

    def __init__(self, count=6, annotated=(True, True), **options):
        labels = LabelSpace(["cell", "nucleus"], background=None, exclusive=False)
        super().__init__(count, annotated=annotated, labels=labels, **options)

    def __getitem__(self, index):
        planes = np.zeros((16, 20, 2), np.uint8)
        planes[2:10, 1 + index : 9 + index, 0] = 1
        planes[6:14, 3:11, 1] = 1
        image = np.repeat((planes @ np.uint8([1, 2]))[..., None], 3, axis=-1)
        mask = planes * self._annotated.astype(np.uint8)
        truth = planes if self._truth else None
        return Sample(image, mask, self._annotated.copy(), truth, f"disc_{index}")


class Oracle:
    """A predictor that reads the ids off the image, and shifts what it is told to shift."""

    decisions = None

    def __init__(self, labels=LABELS, shift=lambda index: 0, sure=1.0):
        self.labels = labels
        self.runs = [SimpleNamespace(labels=labels)]
        self._shift, self._sure = shift, sure

    def each(self, images):
        for index, image in enumerate(images):
            ids = np.roll(image[..., 0], self._shift(index), axis=1)
            classes = len(self.labels.names)
            rest = (1 - self._sure) / (classes - 1)
            yield np.where(ids[..., None] == np.arange(classes), self._sure, rest).astype("float32")

    def decide(self, probabilities):
        return decide(probabilities, exclusive=self.labels.exclusive)


class PlaneOracle(Oracle):
    """The same for `Overlapping`."""

    def each(self, images):
        for index, image in enumerate(images):
            bits = np.roll(image[..., :1], self._shift(index), axis=1)
            there = (bits & np.uint8([1, 2])) > 0
            yield np.where(there, self._sure, 1 - self._sure).astype("float32")

"""All losses of segkit and what is true of each: the table that the property tests run over."""

from functools import partial
from typing import Callable, NamedTuple

import keras
import numpy as np
from scipy.stats import energy_distance

from segkit import losses
from segkit.contract import UNKNOWN
from segkit.losses import reference

WEIGHTS = [0.5, 1.0, 2.0, 3.0]


class Row(NamedTuple):
    """One loss with one choice of options."""

    make: Callable  # (**options) -> the loss
    twin: Callable  # its NumPy twin: (target, logits, class_weights) -> (B,)
    plain: Callable  # what it equals when nothing is missing, from elsewhere: (t, logits) -> (B,)
    # Whether it cannot tell the candidates of a pixel apart.
    label_set: bool = False
    # (target, logits) -> cells whose logits must have no gradient, beyond those of ignored pixels.
    silent: Callable | None = None


def softmax(z):
    return keras.ops.convert_to_numpy(keras.ops.softmax(z, axis=-1))


def sigmoid(z):
    return keras.ops.convert_to_numpy(keras.ops.sigmoid(z))


def area(x):
    return x.sum((1, 2), dtype="float64")


def of_keras(loss, t, z):
    """Keras' value per pixel (or cell), averaged over each image."""
    per_pixel = np.asarray(loss(t.astype("float32"), z))
    return per_pixel.mean(tuple(range(1, per_pixel.ndim)))


def cross_entropy(smoothing=0.0):
    return partial(
        of_keras,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=smoothing, reduction=None
        ),
    )


def focal(smoothing=0.0):
    return partial(
        of_keras,
        keras.losses.CategoricalFocalCrossentropy(
            alpha=1, gamma=2, from_logits=True, label_smoothing=smoothing, reduction=None
        ),
    )


def dice(t, p):
    return 1 - (2 * area(t * p) + 1) / (area(t) + area(p) + 1)


def soft_dice(t, z):
    return dice(t, softmax(z)).mean(-1)


def tversky(t, z):
    p = softmax(z)
    both, false_positive, false_negative = area(t * p), area((1 - t) * p), area(t * (1 - p))
    index = (both + 0.5) / (both + 0.2 * false_positive + 0.9 * false_negative + 0.5)
    return (1 - index).mean(-1)


def squared_dice(t, z):
    p = softmax(z)
    cost = 1 - (2 * area(t * p) + 1) / (area(t) + area(p**2) + 1)
    return np.where(area(t) > 0, cost, 0).mean(-1)


def bce(smoothing=0.0):
    return partial(
        of_keras,
        keras.losses.BinaryCrossentropy(
            from_logits=True, label_smoothing=smoothing, reduction=None
        ),
    )


def bce_dice(smoothing=0.0):
    return lambda t, z: bce(smoothing)(t, z) + dice(t, sigmoid(z)).mean(-1)


def squared_error(smoothing=0.0):
    squared = keras.losses.MeanSquaredError(reduction=None)
    return lambda t, z: of_keras(squared, t * (1 - smoothing) + smoothing / 2, sigmoid(z))


def cosine(smooth=1.0, smoothing=0.0):
    def plain(t, z):
        """Keras' of one vector an image, with one more cell that is on in both."""
        goals = t * (1 - smoothing) + smoothing / 2
        one_more = np.full((len(t), 1), smooth**0.5, "float32")
        vectors = [
            np.concatenate([x.reshape(len(t), -1), one_more], 1) for x in (goals, sigmoid(z))
        ]
        return 1 + np.asarray(keras.losses.CosineSimilarity(reduction=None)(*vectors))

    return plain


def earth_movers(t, z):
    """SciPy's distance of distributions is sqrt(2 sum (F - G)^2)."""
    classes = np.arange(t.shape[-1])
    pairs = zip(t.reshape(-1, len(classes)), softmax(z).reshape(-1, len(classes)))
    distances = [energy_distance(classes, classes, label, p) for label, p in pairs]
    return np.reshape(distances, (len(t), -1)).mean(1) / np.sqrt(2 * len(classes))


def exclusion(t, z):
    s = sigmoid(z)
    cost = 2 * area((1 - t) * s) / (area(1 - t) + area(s) + 1)
    return cost[:, 1:].mean(-1)


def weighted_sum(t, z):
    return cross_entropy()(t, z) + 0.5 * soft_dice(t, z)


def unknown_cells(target, logits):
    return target == UNKNOWN


def unknown_pixels(target, logits):
    return (target == UNKNOWN).any(-1)


def pixels_seen_as_unknown(target, logits):
    return np.take_along_axis(target, logits.argmax(-1)[..., None], -1)[..., 0] == UNKNOWN


def row(make, twin, plain, label_set=False, silent=None, **options):
    return Row(partial(make, **options), partial(twin, **options), plain, label_set, silent)


def make_sum(**options):
    terms = [losses.MarginalCrossEntropy(), losses.SoftDice()]
    return losses.WeightedSum(terms, [1.0, 0.5], **options)


def twin_of_sum(target, logits, class_weights=None):
    terms = [reference.marginal_cross_entropy, reference.soft_dice]
    return reference.weighted_sum(target, logits, terms, [1.0, 0.5], class_weights)


CE = (losses.CrossEntropy, reference.cross_entropy)
GATED = (losses.GatedCrossEntropy, reference.gated_cross_entropy)
MARGINAL = (losses.MarginalCrossEntropy, reference.marginal_cross_entropy)
FOCAL = (losses.FocalCrossEntropy, reference.focal_cross_entropy)
BCE = (losses.BinaryCrossEntropy, reference.binary_cross_entropy)
BCE_DICE = (losses.BCEDice, reference.bce_dice)
SQUARED = (losses.MeanSquaredError, reference.mean_squared_error)
COSINE = (losses.CosineSimilarity, reference.cosine_similarity)
EARTH_MOVERS = (losses.EarthMovers, reference.earth_movers)
EXCLUSION = (losses.Exclusion, reference.exclusion)
TVERSKY = (losses.Tversky, reference.tversky)

ESTIMATED = (losses.EstimatedCrossEntropy, reference.estimated_cross_entropy)
ESTIMATED_DICE = (losses.EstimatedDice, reference.estimated_dice)

# "smoothed" in the name: with label_smoothing, so that a perfect prediction costs something.
TABLE = {
    "CrossEntropy": row(*CE, cross_entropy()),
    "CrossEntropy smoothed": row(*CE, cross_entropy(0.2), label_smoothing=0.2),
    "GatedCrossEntropy": row(*GATED, cross_entropy(), silent=pixels_seen_as_unknown),
    "GatedCrossEntropy everywhere": row(
        *GATED, cross_entropy(), label_set=True, silent=unknown_pixels, gate="everywhere"
    ),
    "GatedCrossEntropy soft": row(*GATED, cross_entropy(), gate="soft"),
    "GatedCrossEntropy soft smoothed": row(
        *GATED, cross_entropy(0.2), gate="soft", label_smoothing=0.2
    ),
    "MarginalCrossEntropy": row(*MARGINAL, cross_entropy(), label_set=True),
    "MarginalCrossEntropy smoothed": row(
        *MARGINAL, cross_entropy(0.2), label_set=True, label_smoothing=0.2
    ),
    "FocalCrossEntropy": row(*FOCAL, focal(), label_set=True),
    "FocalCrossEntropy smoothed": row(*FOCAL, focal(0.2), label_set=True, label_smoothing=0.2),
    "EstimatedCrossEntropy": row(*ESTIMATED, cross_entropy(), annotated_share=0.6),
    "EstimatedCrossEntropy smoothed": row(
        *ESTIMATED, cross_entropy(0.2), annotated_share=0.3, label_smoothing=0.2
    ),
    "SoftDice": row(losses.SoftDice, reference.soft_dice, soft_dice),
    "Tversky": row(*TVERSKY, tversky, alpha=0.2, beta=0.9),
    "MarginalDice": row(losses.MarginalDice, reference.marginal_dice, soft_dice, label_set=True),
    "EstimatedDice": row(*ESTIMATED_DICE, soft_dice, annotated_share=0.6),
    "LeafDice": row(losses.LeafDice, reference.leaf_dice, squared_dice, label_set=True),
    "EarthMovers": row(*EARTH_MOVERS, earth_movers, label_set=True),
    "BCEDice": row(*BCE_DICE, bce_dice(), silent=unknown_cells),
    "BCEDice smoothed": row(*BCE_DICE, bce_dice(0.2), silent=unknown_cells, label_smoothing=0.2),
    "BinaryCrossEntropy": row(*BCE, bce(), silent=unknown_cells),
    "BinaryCrossEntropy smoothed": row(*BCE, bce(0.4), silent=unknown_cells, label_smoothing=0.4),
    "MeanSquaredError": row(*SQUARED, squared_error(), silent=unknown_cells),
    "MeanSquaredError smoothed": row(
        *SQUARED, squared_error(0.4), silent=unknown_cells, label_smoothing=0.4
    ),
    "CosineSimilarity": row(*COSINE, cosine(0.3), silent=unknown_cells, smooth=0.3),
    "CosineSimilarity smoothed": row(
        *COSINE, cosine(1.0, 0.4), silent=unknown_cells, label_smoothing=0.4
    ),
    # What it reads is never among the candidates of a pixel.
    "Exclusion": row(*EXCLUSION, exclusion, label_set=True, silent=unknown_cells),
    "WeightedSum": Row(make_sum, twin_of_sum, weighted_sum),
}


def make(name, **options):
    return TABLE[name].make(**options)


def values(name, target, logits, **options):
    """The loss of each image, (B,)."""
    return keras.ops.convert_to_numpy(make(name, reduction=None, **options)(target, logits))

"""`segkit train` on classes that overlap: everything at once, and what is refused before."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from segkit import losses, preflight, runs, scoring, sources, training
from segkit.callbacks.overlays import GREY, STRENGTH, painted
from segkit.config import build, compose
from segkit.contract import LABELLED, UNKNOWN
from segkit.data.copy_paste import CopyPaste
from segkit.data.label_dropout import LabelDropout
from segkit.data.mixing import CutMix
from segkit.data.pipeline import batches
from segkit.data.tiles import Tiles
from segkit.labels import LabelSpace
from segkit.synthetic import HiddenAnnotations, Overlapping
from segkit.targets import encode

SPACE = LabelSpace(["cell", "nucleus"], background=None, exclusive=False)
TINY = [
    "data=overlapping",
    "data.sizes={train: 16, val: 6}",
    "data.classes=6",
    "data.height=32",
    "data.width=32",
    "model.filters=4",
    "model.depth=2",
    "trainer.epochs=1",
]
EVERYTHING = [
    "loss=bce_dice",
    "data.missing.rate=0.3",
    "class_weights=median_frequency",
    "patches=centred",
    "patches.size=24",
    "augment=strong",
    "augment.label_dropout=0.2",
    "mix=copy_paste",
    "trainer.bounds=true",
    "trainer.gallery=2",
    "callbacks.tensorboard.images=1",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    training.run(compose("train", [f"output={folder}", *TINY, *EVERYTHING]))
    return folder


def test_a_run_with_everything_writes_what_others_do(run):
    labels = LabelSpace.from_json(run / "labels.json")
    assert not labels.exclusive and labels.num_classes == 6
    assert yaml.safe_load((run / "config.yaml").read_text())["data"]["exclusive"] is None
    blocks = json.loads((run / "metrics.json").read_text())
    assert set(blocks) == {"val", "val/truth"}
    for block in blocks.values():
        assert [row["name"] for row in block["per_class"]] == list(labels.names)
        assert np.shape(block["confusion"]) == (6, 6)
    low, high = blocks["val"]["mean_iou_bounds"]
    assert low <= blocks["val"]["mean_iou"] <= high
    history = pd.read_csv(run / "history.csv")
    names = {f"val_{kind}_{name}" for kind in ("iou", "loss") for name in labels.names}
    assert names <= set(history) and (run / "report.html").stat().st_size > 10_000
    assert list(run.glob("tensorboard/validation/*"))


def test_the_scores_are_those_of_the_model_from_a_half(run):
    config = compose("train", [*TINY, *EVERYTHING])
    source = sources.open_splits(config.data)["val"]
    found = scoring.evaluate(
        runs.load_model(run / "model.keras"), source, tile=build(config.patches).size, bounds=True
    )
    recorded = json.loads((run / "metrics.json").read_text())
    again = json.loads(json.dumps(found.to_dict("val", source.labels)))
    for split, block in recorded.items():
        for row, other in zip(block["per_class"], again[split]["per_class"]):
            assert (row["images"], row["pixels"]) == (other["images"], other["pixels"])
            assert row["iou"] == pytest.approx(other["iou"], abs=1e-3)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ([], "marginal_cross_entropy, marginal_dice, over a softmax.*Type loss=binary_cross"),
        (["loss=estimated_cross_entropy"], "estimated_cross_entropy, over a softmax"),
        (["loss=bce_dice_exclusion"], "exclusion pushes a class down.*classes that may overlap"),
        (["loss=earth_movers"], "earth_movers, over a softmax.*labels.exclusive=true"),
    ],
)
def test_losses_for_one_class_a_pixel_are_refused_before(overrides, words, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "survey", None)
    with pytest.raises(ValueError, match=words):
        training.run(compose("train", [f"output={tmp_path}", *TINY, *overrides]))


def test_a_loss_over_an_order_needs_one():
    labels = LabelSpace(["background", "a", "b"])
    with pytest.raises(ValueError, match="earth_movers measures.*background, a, b, without values"):
        preflight.require_fitting(losses.EarthMovers(), labels)
    graded = LabelSpace(["none", "mild", "severe"], background=None, values=[0, 1, 2])
    preflight.require_fitting(losses.EarthMovers(), graded)


@pytest.mark.parametrize(
    "loss", [losses.BCEDice, losses.BinaryCrossEntropy, losses.CosineSimilarity]
)
def test_losses_with_a_sigmoid_suit_both_kinds(loss):
    for labels in (SPACE, LabelSpace(["background", "a"])):
        preflight.require_fitting(loss(), labels)


@pytest.fixture(scope="module")
def hidden():
    return HiddenAnnotations(Overlapping(8, 32, 32, classes=8, size=[0.2, 0.3]), rate=0.4)


@pytest.mark.parametrize("mixing", [CutMix(1.0), CopyPaste(0.4)])
def test_mixing_moves_all_planes_of_a_pixel_together(hidden, mixing):
    """What is known of a pixel comes from one image, and changes where the image does."""
    mixing = mixing.bound(hidden.labels) if hasattr(mixing, "bound") else mixing
    samples = [hidden[i] for i in range(8)]
    images = np.stack([sample.image for sample in samples])
    masks, looked = (np.stack([sample[k] for sample in samples]) for k in (1, 2))
    target = encode(masks, looked, hidden.labels)
    mixed, changed = mixing(images, target, (0, 0, 0))
    rows = {row.tobytes() for row in target.reshape(-1, 8)}
    assert {row.tobytes() for row in changed.reshape(-1, 8)} <= rows
    moved = (changed != target).any(-1)
    assert 0 < moved.mean() < 1 and (mixed != images).any(-1)[moved].mean() > 0.9


def test_label_dropout_forgets_whole_planes(hidden):
    dropout, sample = LabelDropout(0.5, hidden.labels), hidden[1]
    found = dropout(sample, (0, 0, 1))
    gone = sample.annotated & ~found.annotated
    assert gone.any()
    target = encode(found.mask[None], found.annotated[None], hidden.labels)
    assert (target[..., gone] == UNKNOWN).all()
    np.testing.assert_array_equal(found.mask[..., ~gone], sample.mask[..., ~gone])


def test_planes_of_many_classes_follow_their_image():
    """An object stays where its image goes, under transforms that OpenCV does in pieces."""
    source = Overlapping(4, 48, 48, classes=120, shapes=["circle", "cross"], difficulty=0)
    config = compose("train", ["augment=strong"])
    images, target = next(iter(batches(source, 4, seed=1, augmentation=build(config.augment))))
    target = target.numpy()
    assert target.shape == (4, 48, 48, 120) and set(np.unique(target)) == {-1, 0, 1}
    for image, states in zip(images.numpy(), target):
        inside = (states == LABELLED).any(-1)
        color = image.max(-1) - image.min(-1)
        judged = (states != UNKNOWN).any(-1)
        assert color[inside].mean() > 3 * color[judged & ~inside].mean()


def test_tiles_ignore_what_others_judge(hidden):
    tiles = Tiles(hidden, 24)
    assert len(tiles) == 8 * 4 and tiles[0].mask.shape == (24, 24, 8)
    judged = sum((tiles[k].mask != tiles.labels.ignore_index).all(-1).sum() for k in range(4))
    assert judged == 32 * 32


def test_an_overlay_has_the_mean_colour_of_all_classes_of_a_pixel():
    image = np.full((1, 4, 3), 100, np.uint8)
    target = np.array([[[1, 0], [1, 1], [0, 0], [-1, -1]]], np.int8)
    one, other = np.array(SPACE.palette, float)
    found = painted(image, target, SPACE).astype(float)[0]
    for pixel, color in zip(found, (one, (one + other) / 2, None, np.array(GREY))):
        expected = 100 if color is None else 100 + STRENGTH * (color - 100)
        np.testing.assert_allclose(pixel, expected, atol=0.51)

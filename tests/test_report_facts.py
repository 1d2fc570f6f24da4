"""The parts of the report that compute: facts, curves, colours, the code of masks, names."""

import base64

import numpy as np
import pytest

from segkit.labels import LabelSpace
from segkit.report import facts, gallery, plots, settings
from segkit.report.colors import DARK_SURFACE, LIGHT_SURFACE, MIN_CONTRAST, contrast, readable


def test_headline_by_hand():
    rows = [{"name": "a", "iou": 0.5}, {"name": "b", "iou": None}, {"name": "c", "iou": 0.25}]
    metrics = {"val": {"mean_iou": 0.375, "per_class": rows}, "val/truth": {"mean_iou": 0.3}}
    top = facts.headline(metrics, None)
    assert (top["mean_iou"], top["truth_iou"], top["worst"]["name"]) == (0.375, 0.3, "c")
    assert top["silent"] == ["b"] and top["split"] == "validation"


def test_the_truth_is_compared_over_the_classes_that_have_evidence():
    known = [{"name": "a", "iou": 0.5}, {"name": "b", "iou": None}, {"name": "c", "iou": 0.25}]
    full = [{"name": "a", "iou": 0.6}, {"name": "b", "iou": 0.9}, {"name": "c", "iou": 0.3}]
    metrics = {"val": {"mean_iou": 0.375, "per_class": known}}
    metrics["val/truth"] = {"mean_iou": 0.6, "per_class": full}
    top = facts.headline(metrics, None)
    assert top["truth_iou"] == 0.6 and top["truth_alike"] == pytest.approx(0.45)


def test_share_of_known_cells_by_hand():
    """Background in all 10 images, another class in 2 + 3 of 10: 5 of 10 cells, not 15 of 20."""
    cells = [("background", 10, 0, 0), ("cell", 2, 3, 5)]
    rows = [
        {"name": n, "annotated": p + a, "present": p, "verified_absent": a, "unknown": u}
        for n, p, a, u in cells
    ]
    recorded = {"train": {"images": 10, "classes": rows}}
    (split,) = facts.coverage(recorded, LabelSpace(["background", "cell"]))
    assert split["known_share"] == 0.5
    assert split["rows"][1]["shares"] == {"present": 0.2, "verified_absent": 0.3, "unknown": 0.5}


def test_mix_ups_are_the_largest_wrong_shares():
    rows = [{"name": name} for name in "abc"]
    block = {"per_class": rows, "confusion": [[6, 2, 2], [0, 0, 0], [9, 0, 1]]}
    (matrix,) = facts.confusions({"val": block})
    found = [(c["annotated"], c["predicted"], c["share"]) for c in matrix["mix_ups"]]
    assert found == [("c", "a", 0.9), ("a", "b", 0.2), ("a", "c", 0.2)]


@pytest.mark.parametrize(
    "scores, best",
    [([0.1, None, 0.4, 0.4], (2, 0.4)), ([None, None], None), ([0.0], (0, 0.0)), ([], None)],
)
def test_best_epoch(scores, best):
    history = [{"epoch": float(n), "val_mean_iou": value} for n, value in enumerate(scores)]
    assert plots.best_epoch(history) == best


def test_curves_leave_out_columns_without_values():
    history = [{"epoch": 0.0, "loss": 2.0, "val_loss": None}, {"epoch": 1.0, "loss": 1.0}]
    (chart,) = plots.learning_curves(history, LabelSpace(["a", "b"]))
    assert chart["alt"] == "Loss over 2 epochs: training from 2 to 1."
    assert chart["light"] != chart["dark"]


def test_curves_mark_the_best_epoch_and_spell_out_no_class_name():
    history = [{"epoch": n + 1.0, "val_mean_iou": 0.1 * n, "val_iou_a$b": 0.5} for n in range(3)]
    charts = plots.learning_curves(history, LabelSpace(["a$b", "c"]))
    assert [chart["title"] for chart in charts] == ["Mean IoU", "IoU per class, validation"]
    for chart in charts:
        picture = base64.b64decode(chart["light"].partition(",")[2]).decode()
        # Matplotlib draws text as outlines and notes it in a comment.
        assert "<!-- best: 3 -->" in picture and "a$b" not in picture


@pytest.mark.parametrize("dark, surface", [(False, LIGHT_SURFACE), (True, DARK_SURFACE)])
@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (255, 255, 0), (0, 0, 90)])
def test_every_colour_becomes_readable(color, dark, surface):
    code = readable(color, dark)
    assert contrast([int(code[i : i + 2], 16) for i in (1, 3, 5)], surface) >= MIN_CONTRAST


def test_mask_code_by_hand():
    """Runs 3x3, 200x2, 0x1; 200 = 0b1_1001000 takes two bytes: 0x48 | 0x80, then 0x01."""
    code = base64.b64decode(gallery.encode_mask(np.array([[3, 3, 3], [200, 200, 0]], np.uint8)))
    assert list(code) == [3, 3, 0xC8, 0x01, 2, 0, 1]


def test_weights_stand_beside_their_counts():
    row = {"name": "a", "pixels": 9, "present": 4, "image_pixels": 90, "weight": 2.0}
    weights = facts.weights({"scheme": "fixed", "classes": [row, {"name": "b", "weight": 0.5}]})
    assert weights["rows"][0]["present"] == 4 and not weights["scaled"]
    assert [entry["share"] for entry in weights["rows"]] == [1.0, 0.25]
    assert list(weights["counts"]) == ["pixels", "present", "image_pixels"]
    assert weights["left_out"] == {} and weights["at_random"]


def test_stored_pixels_that_do_not_count():
    rows = [{"name": "background", "pixels": 70, "stored_pixels": 100}]
    rows += [{"name": "a", "pixels": 20, "stored_pixels": 20}]
    weights = facts.weights({"scheme": "none", "at_random": False, "classes": rows})
    assert weights["left_out"] == {"background": 30} and not weights["at_random"]
    assert list(weights["counts"]) == ["pixels", "stored_pixels"]


def test_bounds_stand_beside_their_scores():
    rows = [{"name": "a", "iou": 0.5, "iou_bounds": [0.25, 0.75]}]
    rows += [{"name": "b", "iou": None, "iou_bounds": [None, None]}]
    block = {"mean_iou": 0.5, "mean_iou_bounds": [0.25, 0.75], "per_class": rows}
    with_bounds, without = facts.scores({"val": block, "test": {"per_class": [{"name": "a"}]}})
    assert with_bounds["has_bounds"] and not without["has_bounds"]
    assert [row["known"]["bounds"] for row in with_bounds["rows"]] == [[0.25, 0.75], [None, None]]
    assert with_bounds["means"]["known"]["bounds"] == [0.25, 0.75]


def test_lists_of_parts_are_named_by_their_parts():
    parts = [{"_target_": "albumentations.HorizontalFlip", "p": 0.5}, {"_target_": "a.Crop"}]
    (row,) = settings.choices({"augment": {"_target_": "x.Augmentation", "transforms": parts}})
    assert (row["name"], row["settings"]) == (
        "Augmentation",
        [("transforms", "HorizontalFlip, Crop")],
    )


@pytest.mark.parametrize(
    "section, name",
    [
        ({"_target_": "segkit.losses.SoftDice", "smooth": 1}, "SoftDice"),
        (
            {
                "_target_": "segkit.losses.WeightedSum",
                "losses": [{"_target_": "a.b.CrossEntropy"}, {"_target_": "a.b.SoftDice"}],
            },
            "CrossEntropy + SoftDice",
        ),
        ({"_target_": "segkit.synthetic.scenes.splits"}, "scenes"),
        ({"_target_": "segkit.data.folder.splits", "root": "/somewhere/lungs"}, "lungs"),
        ("plain", "plain"),
        (None, ""),
    ],
)
def test_title_names_data_and_loss(section, name):
    assert settings.title({"data": section, "loss": section}, {})["data"] == name
